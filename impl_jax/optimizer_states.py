"""The state of optax's optimizers: its parts recognized by their fields, read by path, and written.

A part is known by what its fields are called, so that a state is read from a checkpoint, too, which keeps the names
alone; a live one has a class besides. Chains, masks, partitions, injected hyperparameters and accumulation are looked
into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..common.errors import UsageError, WeightsError, listed, nearest
from ..common.optimizers import (
    BACK,
    NO_STATE,
    OptimizerState,
    Owner,
    TensorState,
    agreed,
    agreed_settings,
    count_of,
    misfits,
    no_counterpart,
    of_another,
    one_within,
    unheld,
)
from ..common.tables import shape_text
from .trees import Keys, arrays_of, dotted, filled, is_array, placed, whole_array

# What of optax holds moments by fields that others call alike: those have another class where they are no dicts.
_CLASSES = (
    "ScaleByAdamState ScaleByRStdDevState ScaleByRmsState TraceState ScaleByRssState ScaleByAdaDeltaState FactoredState"
)
# The parts that hold moments, by their fields: those that are trees like the parameters, each with its neutral name.
_MOMENTS: dict[frozenset[str], dict[str, str]] = {
    frozenset({"count", "mu", "nu"}): {"mu": "mu", "nu": "nu"},
    frozenset({"mu", "nu"}): {"mu": "mean", "nu": "square"},
    frozenset({"nu"}): {"nu": "square"},
    frozenset({"trace"}): {"trace": "trace"},
    frozenset({"sum_of_squares"}): {"sum_of_squares": "sum_of_squares"},
    frozenset({"e_g", "e_x"}): {"e_g": "e_g", "e_x": "e_x"},
    frozenset({"count", "v_row", "v_col", "v"}): {"v_row": "v_row", "v_col": "v_col", "v": "v"},
}
# No chain has more parts.
_LONGEST = 1000
_EXPECTED = "a state of optax's, such as `optimizer.init(params)`, an nnx.Optimizer or a TrainState"
_SCHEDULE = frozenset({"count"})
_UNUSED = (
    "PyTorch keeps nothing for a parameter that has had no gradient: keep nothing for it here either, by optax.masked, "
    "or optax.partition with optax.set_to_zero()."
)
# The parts that hold others, by the fields that lead to these, and those that count updates.
_INNER = ("inner_state", "inner_states", "inner_opt_state")
_COUNTS = ("count", "gradient_step")
_AROUND = frozenset(
    (
        *_INNER,
        "hyperparams",
        "hyperparams_states",
        "mini_step",
        "acc_grads",
        "skip_state",
        "notfinite_count",
        "last_finite",
        "total_notfinite",
    )
)
# Fields that lead to a state which something else, that is kept beside it, makes another one.
_WRAPPED = frozenset({"base_optimizer_state", "fast_state", "adv_state"})
# What accumulation keeps between updates.
_WAITING = frozenset({"mini_step", "acc_grads"})
_REFUSED: dict[frozenset[str], tuple[str, str]] = {
    frozenset({"count", "mu", "nu", "nu_max"}): (
        "AMSGrad",
        "PyTorch takes the maximum before the bias correction and optax after it: no arguments make them equal.",
    ),
    frozenset({"count", "nu"}): ("RMSprop with a bias correction", "PyTorch's RMSprop has none."),
    frozenset({"step_sizes", "prev_updates"}): ("Rprop", "optax.rprop takes each step one update later."),
    frozenset({"scale", "best_value", "plateau_count", "cooldown_count", "count", "avg_value"}): (
        "a reduction on plateaus",
        "PyTorch's is a scheduler, with a state of its own: carry the rest of the chain.",
    ),
    frozenset({"count", "ema"}): ("an average of updates", "PyTorch's optimizers keep none."),
}


class _Part(NamedTuple):
    """A state within the state: its fields, where it is, and what surrounds it.

    settings: where the hyperparameters of an injection around it are.
    scheduled: those of them that have a schedule, so that what is stored is the last update's.
    """

    keys: Keys
    node: Any
    fields: frozenset[str]
    settings: Keys | None
    scheduled: frozenset[str]

    @property
    def moments(self) -> Mapping[str, str]:
        return _MOMENTS.get(self.fields, {})


class _Leaf(NamedTuple):
    """An array of a moment: its place, what it is, and whose."""

    keys: Keys
    array: Any
    moment: str
    owner: Owner
    part: _Part


def read(optimizer: Any, owners: Mapping[str, Owner], model: Any = None) -> OptimizerState:
    """What an optax state keeps by its parameters' paths; of an `nnx.Optimizer` or a TrainState, what its own does.

    Raises:
        NotExpressibleError: a part that PyTorch has not, or gradients that are accumulated and not yet used.
        UsageError: no state of optax's.
        WeightsError: a moment of what is none of the map's tensors.
    """
    state, counted = _state_of(optimizer)
    _check_between_updates(state)
    parts = list(_parts(state))
    strange = [dotted(part.keys) for part in parts if is_array(part.node)]
    if strange and not any(part.moments for part in parts):
        raise UsageError("", _EXPECTED, f"arrays that none has: {listed(strange, 6)}")
    counts = [count_of(array, dotted(keys)) for part in parts for keys, array in _counts(part)]
    if not counts and counted is not None:
        counts = [counted]
    tensors: dict[str, TensorState] = {}
    for path, leaves in _by_path(parts, owners).items():
        tensors[path] = _tensor_state(path, leaves, parts, state)
    every = [] if tensors else [TensorState({}, settings=_settings(state, part)) for part in parts]
    step = agreed(counts, "", "counts of updates") if counts else None
    return OptimizerState(tensors, step, agreed_settings(every, ""))


def _tensor_state(path: str, leaves: Sequence[_Leaf], parts: Sequence[_Part], state: Any) -> TensorState:
    moments = {name: whole_array(dotted(leaf.keys), leaf.array) for name, leaf in _by_moment(path, leaves).items()}
    factors: dict[int, np.ndarray] = {}
    shape = leaves[0].owner.shape
    if "v_row" in moments and shape is not None:
        row, column, whole = (moments.pop(name) for name in ("v_row", "v_col", "v"))
        if whole.shape != shape:
            longest, second = _factored(shape)
            factors = {longest: row, second: column}
        else:
            moments["v"] = whole
    steps = [count_of(array, path) for leaf in leaves for _, array in _counts(leaf.part)]
    injected = [_settings(state, leaf.part) for leaf in leaves]
    return TensorState(
        moments,
        factors,
        agreed(steps, path, "counts of updates"),
        agreed_settings([TensorState({}, settings=each) for each in injected], path),
        has_rate="trace" in moments and _trace_has_rate(next(x for x in leaves if x.moment == "trace").part, parts),
    )


def _settings(state: Any, part: _Part) -> dict[str, float]:
    """The hyperparameters that are injected around a part, are numbers, and have no schedule."""
    if part.settings is None:
        return {}
    held = {name: list(_abstract(each, ())) for name, each in _members(_at(state, part.settings)).items()}
    numbers = {name: each[0][1] for name, each in held.items() if len(each) == 1 and each[0][1].size == 1}
    return {name: float(number) for name, number in numbers.items() if name not in part.scheduled}


def write(optimizer: Any, state: OptimizerState, owners: Mapping[str, Owner], model: Any = None) -> Any:
    """A state like that one, of `optimizer.init`, live or abstract, with what another optimizer keeps; an
    `nnx.Optimizer` itself, in place, or a new TrainState.

    Raises:
        NotExpressibleError, UsageError: as `read`, and a state that another optimizer keeps.
        WeightsError: one message for all moments that are missing, extra or misshapen.
    """
    like, _ = _state_of(optimizer)
    parts = list(_parts(like))
    # Of what the other side has not, that state keeps its own.
    by_path = {path: each for path, each in _by_path(parts, owners).items() if each[0].owner.shape is not None}
    faults = [
        f"the optimizer keeps nothing for {path}"
        for path, each in state.tensors.items()
        if path not in by_path and (each.moments or each.factors)
    ]
    faults += [f"{path} {NO_STATE}" for path in by_path if path not in state.tensors]
    arrays: dict[Keys, Any] = {}
    for path, leaves in by_path.items():
        if path in state.tensors:
            faults += _fill(arrays, path, leaves, state.tensors[path], parts)
    if faults:
        raise misfits(faults, _UNUSED)
    for part in parts:
        arrays |= {keys: _number(_step(part, by_path, state), array) for keys, array in _counts(part)}
    arrays |= _injected(like, parts, by_path, state)
    # PyTorch accumulates in the gradients themselves: nothing waits here.
    arrays |= {keys: _number(0, array) for keys, array in _abstract(like, ()) if _WAITING & {*keys}}
    made = filled(like, arrays)
    _check_values(made, "a live state for the optimizer that is to go on", "Of this the other one keeps nothing.")
    return _with_state(optimizer, made, state.step)


def content(optimizer: Any) -> Any:
    """What of an optimizer is saved: of an `nnx.Optimizer` or a TrainState the optax state and the step alone."""
    if isinstance(optimizer, nnx.Optimizer):
        held = nnx.state(optimizer)
        return nnx.State({name: held[name] for name in ("opt_state", "step")})
    if hasattr(optimizer, "opt_state"):
        return {"opt_state": optimizer.opt_state, "step": np.asarray(optimizer.step)}
    return optimizer


def _fill(
    arrays: dict[Keys, Any], path: str, leaves: Sequence[_Leaf], found: TensorState, parts: Sequence[_Part]
) -> list[str]:
    """The arrays of one tensor into `arrays`, by their places; what does not fit is returned."""
    own = _by_moment(path, leaves)
    given = dict(found.moments)
    if "v_row" in own:
        given = _as_factored(path, own, found)
    if set(given) != set(own):
        wanted = TensorState({name: np.zeros(()) for name in own}).kept_by
        raise of_another(path, found.kept_by, wanted)
    if "trace" in own and found.has_rate != _trace_has_rate(own["trace"].part, parts):
        given["trace"] = _rescaled(path, given["trace"], found)
    faults = []
    for name, leaf in own.items():
        if given[name].shape != tuple(leaf.array.shape):
            shape, needed = shape_text(given[name].shape), shape_text(tuple(leaf.array.shape))
            faults.append(f"{path} has a {name} of shape {shape} and needs {needed}")
        else:
            with np.errstate(over="ignore"):
                kept = given[name].astype(leaf.array.dtype)
            faults += unheld(path, name, given[name], kept)
            arrays[leaf.keys] = _placed(kept, leaf.array)
    return faults


def _by_moment(path: str, leaves: Sequence[_Leaf]) -> dict[str, _Leaf]:
    found = {leaf.moment: leaf for leaf in leaves}
    if len(found) < len(leaves):
        twice = next(leaf.moment for leaf in leaves if found[leaf.moment] is not leaf)
        raise no_counterpart(path, f"two parts with a {twice} of it", "PyTorch keeps one for each tensor.")
    return found


def _as_factored(path: str, own: Mapping[str, _Leaf], found: TensorState) -> dict[str, np.ndarray]:
    """Adafactor's three fields of one tensor."""
    none = np.zeros((1,), np.float32)
    if not found.factors:
        return {"v_row": none, "v_col": none, "v": found.moments["v"]} if set(found.moments) == {"v"} else {}
    shape = own["v"].owner.shape or ()
    if tuple(own["v"].array.shape) == shape:
        why = "Make optax's with min_dim_size_to_factor=1, which factors all matrices, as PyTorch does."
        raise no_counterpart(path, "factored moments, of which optax keeps the whole", why)
    longest, second = _factored(shape)
    if set(found.factors) != {longest, second}:
        axes = " and ".join(str(each) for each in sorted(found.factors))
        why = "PyTorch's Adafactor factors the last two axes, optax's the two longest of its own tensor."
        raise no_counterpart(path, f"moments factored along the axes {axes} of the port's tensor", why)
    return {"v_row": found.factors[longest], "v_col": found.factors[second], "v": none}


def _factored(shape: tuple[int, ...]) -> tuple[int, int]:
    """The axes over which optax takes the averages of a tensor: the longest for `v_row`, the second for `v_col`."""
    *_, second, longest = np.argsort(shape).tolist()
    return longest, second


def _rescaled(path: str, trace: np.ndarray, found: TensorState) -> np.ndarray:
    """A trace with the rate in it, of one without, or the other way."""
    if not found.rate:
        known = "0" if found.rate == 0 else "not known"
        why = "optax.rmsprop's trace has the learning rate in it, PyTorch's has not."
        raise no_counterpart(path, f"a trace whose learning rate is {known}", why)
    return trace / -found.rate if found.has_rate else trace * -found.rate


def _trace_has_rate(trace: _Part, parts: Sequence[_Part]) -> bool:
    """Whether the rate is taken before the trace, as in optax.rmsprop, or after it, as in optax.sgd.

    Raises:
        NotExpressibleError: it cannot be told, or the rate has a schedule, whose past values are in the trace.
    """
    siblings = [part for part in parts if part.keys[:-1] == trace.keys[:-1] and not part.fields & {*_INNER}]
    own = siblings.index(next(part for part in siblings if part.keys == trace.keys))
    scaled = [n for n, part in enumerate(siblings) if part.moments and n < own]
    between = siblings[scaled[-1] + 1 : own] if scaled else []
    is_last = own == len(siblings) - 1
    if scaled and between and is_last:
        if "learning_rate" in trace.scheduled or any(part.fields == _SCHEDULE for part in between):
            why = "PyTorch's momentum is of the rates of now; write optax.trace before the schedule."
            raise no_counterpart(dotted(trace.keys), "a trace of updates whose learning rate has a schedule", why)
        return True
    if between or (is_last and not scaled and len(siblings) > 1):
        why = "Write the chain as optax.sgd or optax.rmsprop does."
        raise no_counterpart(dotted(trace.keys), "a trace of which it is not clear whether it has the rate in it", why)
    return False


def _parts(
    node: Any, keys: Keys = (), settings: Keys | None = None, scheduled: frozenset[str] = frozenset()
) -> Iterator[_Part]:
    """The parts of a state in the order in which their transformations act."""
    held = _members(node)
    fields = frozenset(map(str, held))
    if fields in _REFUSED:
        raise no_counterpart(dotted(keys), *_REFUSED[fields])
    if fields in _MOMENTS and hasattr(node, "_fields") and type(node).__name__ not in _CLASSES.split():
        raise _unknown(node, keys)
    if fields & _WRAPPED:
        raise _unknown(node, keys)
    if fields in _MOMENTS or fields == _SCHEDULE or not held:
        yield _Part(keys, node, fields, settings, scheduled)
    elif fields & {*_INNER}:
        if fields - _AROUND - {*_COUNTS}:
            raise _unknown(node, keys)
        yield _Part(keys, node, fields, settings, scheduled)
        if "hyperparams" in held:
            settings = (*keys, "hyperparams")
            scheduled = frozenset(map(str, _members(held.get("hyperparams_states"))))
        for name in _INNER:
            if name in held:
                yield from _parts(held[name], (*keys, name), settings, scheduled)
    elif hasattr(node, "_fields"):
        raise _unknown(node, keys)
    else:
        below = [(each, [*_parts(each, (*keys, key), settings, scheduled)]) for key, each in _in_order(held)]
        # Beside the parameters of a checkpoint there may be anything, and beside a part of a chain only parts.
        is_chain = all(key.isdecimal() for key in fields) and any(part.moments for _, parts in below for part in parts)
        for each, parts in below:
            if is_chain and any(is_array(part.node) for part in parts):
                raise _unknown(each, parts[0].keys[: len(keys) + 1])
            yield from parts


def _members(node: Any) -> Mapping[Any, Any]:
    """What a state holds by its fields, a chain by number; nothing of what is empty, masked or an array."""
    if hasattr(node, "_asdict"):
        return node._asdict()
    if isinstance(node, Mapping | nnx.State):
        return dict(node.items())
    return dict(enumerate(node)) if isinstance(node, list | tuple) else {}


def _in_order(held: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A chain that was read from a file has its numbers as text, in another order, and lacks what is empty."""
    if not held or not all(str(key).isdecimal() for key in held):
        return list(held.items())
    by_number = {int(key): (key, each) for key, each in held.items()}
    if max(by_number) > _LONGEST:
        raise UsageError("", f"a chain of at most {_LONGEST} parts", f"one with the number {max(by_number):,}")
    return [by_number.get(number, (number, None)) for number in range(max(by_number) + 1)]


def _unknown(node: Any, keys: Keys) -> Exception:
    fields = listed([*map(str, _members(node))], separator=", ")
    name = type(node).__name__ if hasattr(node, "_fields") else f"a part with {fields}"
    return no_counterpart(dotted(keys), name if fields else type(node).__name__, "PyTorch keeps nothing like it.")


def _check_between_updates(state: Any) -> None:
    _check_values(state, "a state with values")
    for keys, array in _abstract(state, ()):
        if "mini_step" in keys and (waiting := count_of(array, dotted(keys))):
            why = "Carry after an update: PyTorch accumulates in the gradients themselves."
            raise no_counterpart(dotted(keys), f"{waiting} gradients accumulated", why)


def _check_values(state: Any, expected: str, remedy: str = "") -> None:
    for keys, array in _abstract(state, ()):
        if isinstance(array, jax.ShapeDtypeStruct):
            raise UsageError(dotted(keys), expected, "an abstract one", remedy)


def _counts(part: _Part) -> Iterator[tuple[Keys, Any]]:
    """Where a part counts the updates, as an injection or an accumulation does, too."""
    held = _members(part.node)
    for name in _COUNTS:
        if name in held:
            yield from _abstract(held[name], (*part.keys, name))
    for place, array in _abstract(held.get("hyperparams_states"), (*part.keys, "hyperparams_states")):
        if "count" in place:
            yield place, array


def _abstract(tree: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """The arrays of a tree, those without values among them."""
    return arrays_of(tree, keys, lambda leaf: is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct))


def _by_path(parts: Sequence[_Part], owners: Mapping[str, Owner]) -> dict[str, list[_Leaf]]:
    """The moments of each of the map's tensors."""
    found: dict[str, list[_Leaf]] = {}
    strange: dict[str, None] = {}
    for part in parts:
        for name, moment in part.moments.items():
            keys = (*part.keys, name)
            leaves = {place: array for place, array in _abstract(_members(part.node)[name], keys)}
            below = {place: _path(place[len(keys) :], owners) for place in leaves}
            before = _before([*below.values()], owners)
            for place, path in below.items():
                if before + path not in owners:
                    strange[before + path] = None
                    continue
                owner = owners[before + path]
                found.setdefault(owner.path, []).append(_Leaf(place, leaves[place], moment, owner, part))
    if strange:
        shown = listed([each or "one without a path" for each in strange])
        remedy = nearest(next(iter(strange)), owners)
        raise WeightsError("", "moments of the map's tensors", f"{shown}, which it has not", remedy)
    return found


def _path(keys: Keys, owners: Mapping[str, Owner]) -> str:
    """A Variable holds its array under a key of its own."""
    return dotted(keys[:-1] if keys and keys[-1] in ("value", "raw_value") and dotted(keys) not in owners else keys)


def _before(below: Sequence[str], owners: Mapping[str, Owner]) -> str:
    """What stands before the paths of the parameters in the map, as Linen's collection does."""
    first = dict.fromkeys(path.partition(".")[0] + "." for path in owners)
    found = [before for before in ("", *first) if all(before + path in owners for path in below)]
    if len(found) > 1 and found[0]:
        both = f"{below[0]!r}, which is below {listed([each[:-1] for each in found], 6, ', ')}"
        raise UsageError("", "moments by the paths of the map", both, "Make the optimizer's state of the whole tree.")
    return found[0] if found else ""


def _step(part: _Part, by_path: Mapping[str, Sequence[_Leaf]], state: OptimizerState) -> int:
    own = [path for path, leaves in by_path.items() if any(leaf.part.keys == part.keys for leaf in leaves)]
    steps = [state.tensors[path].step for path in own if path in state.tensors]
    step = agreed(steps, dotted(part.keys), "counts of updates")
    step = state.step if step is None else step
    if step is None:
        expected = "the number of updates, which the optimizer counts"
        raise UsageError("step", expected, "none in the state", "Give step= or --step.")
    return step


def _injected(
    like: Any, parts: Sequence[_Part], by_path: Mapping[str, Sequence[_Leaf]], state: OptimizerState
) -> dict[Keys, Any]:
    """The hyperparameters that are injected, by their places, where the state has them."""
    whose: dict[Keys, list[TensorState]] = {}
    for path, leaves in by_path.items():
        for leaf in leaves:
            if leaf.part.settings and path in state.tensors:
                whose.setdefault(leaf.part.settings, []).append(state.tensors[path])
    found = {}
    for keys, scheduled in dict.fromkeys((part.settings, part.scheduled) for part in parts):
        if keys is None:
            continue
        # What keeps no moments, as SGD may, has no paths: it is of all.
        known = agreed_settings(whose.get(keys) or [*state.tensors.values()], dotted(keys))
        for name, each in _members(_at(like, keys)).items():
            places = list(_abstract(each, (*keys, name)))
            if name in known and name not in scheduled and len(places) == 1:
                found[places[0][0]] = _number(known[name], places[0][1])
    return found


def _at(node: Any, keys: Keys) -> Any:
    for key in keys:
        node = _members(node)[key]
    return node.get_value() if isinstance(node, nnx.Variable) else node


def _number(value: float, like: Any) -> Any:
    return _placed(np.full(tuple(like.shape), value), like)


def _placed(array: np.ndarray, like: Any) -> Any:
    if isinstance(like, jax.ShapeDtypeStruct):
        return jax.device_put(jnp.asarray(array, like.dtype), like.sharding)
    return placed(array, like)


def _state_of(optimizer: Any) -> tuple[Any, int | None]:
    """The optax state of an `nnx.Optimizer` or of a TrainState, with the number of updates; any other is one itself.

    Raises:
        UsageError: it is none.
    """
    if hasattr(optimizer, "opt_state") and hasattr(optimizer, "step"):
        return optimizer.opt_state, _number_in(optimizer.step)
    if (
        isinstance(optimizer, Mapping | nnx.State | list | tuple)
        and not _is_rule(optimizer)
        and not _is_torch(optimizer)
    ):
        held = one_within(optimizer, _nested, lambda node: _nested(node) is not None and "opt_state" in node)
        return (optimizer, None) if held is None else (held["opt_state"], _number_in(held.get("step")))
    raise UsageError("", _EXPECTED, type(optimizer).__name__, BACK if _is_torch(optimizer) else "")


def _nested(node: Any) -> Any:
    """What a mapping holds by its keys; None of all else."""
    return node.items() if isinstance(node, Mapping | nnx.State) else None


def _is_torch(optimizer: Any) -> bool:
    """Whether it is one of PyTorch's, or its state_dict."""
    is_dict = isinstance(optimizer, Mapping) and "param_groups" in optimizer
    return is_dict or hasattr(optimizer, "param_groups")


def _number_in(step: Any) -> int | None:
    """A number of updates, also in a Variable; None where it has no value."""
    held = step if isinstance(step, int) else next((array for _, array in arrays_of(step)), None)
    return None if held is None else count_of(held, "step")


def _is_rule(optimizer: Any) -> bool:
    """Whether it is a GradientTransformation, whose state `init` gives."""
    return hasattr(optimizer, "init") and hasattr(optimizer, "update")


def _with_state(optimizer: Any, state: Any, step: int | None) -> Any:
    if isinstance(optimizer, nnx.Optimizer):
        variables: Callable[[Any], bool] = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
        pairs = zip(*(jax.tree.leaves(each, is_leaf=variables) for each in (optimizer.opt_state, state)), strict=True)
        for own, new in pairs:
            own.set_value(new.get_value())
        if step is not None:
            optimizer.step.set_value(_number(step, optimizer.step.get_value()))
        return optimizer
    if hasattr(optimizer, "opt_state") and hasattr(optimizer, "replace"):
        return optimizer.replace(opt_state=state, step=optimizer.step if step is None else step)
    if hasattr(optimizer, "opt_state"):
        return replace(optimizer, opt_state=state)
    return state
