"""The state of PyTorch's optimizers: read by the names of their parameters, and written from another framework's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import nn

from ..common.arrays import as_numpy
from ..common.errors import UsageError, listed
from ..common.optimizers import (
    BACK,
    FIELDS,
    NO_STATE,
    OptimizerState,
    Owner,
    TensorState,
    agreed_settings,
    count_of,
    misfits,
    no_counterpart,
    of_another,
    one_within,
    unheld,
)
from ..common.tables import shape_text
from ..common.trees import entries
from .access import tensor
from .parts import bare

# What the groups of each optimizer have that those of the others, asked in this order, have not.
_MARKS = (
    ("NAdam", "momentum_decay"),
    ("Muon", "ns_steps"),
    ("LBFGS", "history_size"),
    ("Rprop", "etas"),
    ("ASGD", "lambd"),
    ("Adafactor", "beta2_decay"),
    ("Adadelta", "rho"),
    ("Adagrad", "lr_decay"),
    ("RMSprop", "alpha"),
    ("Adam", "amsgrad"),
    ("RAdam", "decoupled_weight_decay"),
    ("SGD", "dampening"),
    ("Adamax", "weight_decay"),
)
_WHY = {
    "AMSGrad": "PyTorch takes the maximum before the bias correction and optax after it: no arguments make them equal.",
    "NAdam": "optax.nadam does not decay its momentum as PyTorch's does.",
    "Rprop": "optax.rprop takes each step one update later.",
    "Muon": "optax corrects the bias of its momentum.",
    "dampening": "optax's trace has no dampening: start it anew, or train on with dampening=0.",
}
_NAMING = (
    "Give the model that has them (reference_model=, port_model= or --model), or make the optimizer with "
    "`model.named_parameters()`."
)
_NAMING_GROUPS = (
    "Give them in the order of the groups in the model's place, or load the state_dict into an optimizer that is made "
    "as it was, and give that one."
)
# What a group's settings are called in optax, by the class; each has its `lr`, and some a decay that is AdamW's.
_ADAM = {"b1": "betas", "b2": "betas", "eps": "eps"}
_SETTINGS: dict[str, dict[str, str]] = {
    "SGD": {"momentum": "momentum"},
    **dict.fromkeys(("Adam", "Adamax", "RAdam"), _ADAM),
    "RMSprop": {"decay": "alpha", "eps": "eps", "momentum": "momentum"},
    "Adagrad": {},
    "Adafactor": {},
    "Adadelta": {"rho": "rho", "eps": "eps", "weight_decay": "weight_decay"},
}
_UNUSED = "Of a live optimizer, what has `requires_grad=False` needs none."


class _Slot(NamedTuple):
    """A parameter of an optimizer: its number, name and group, what is kept for it, and itself in a live one."""

    number: int
    path: str
    group: Mapping[str, Any]
    kept: Mapping[str, Any]
    parameter: torch.Tensor | None
    group_number: int

    @property
    def is_frozen(self) -> bool:
        return self.parameter is not None and not self.parameter.requires_grad


def read(optimizer: Any, owners: Mapping[str, Owner], model: Any = None) -> OptimizerState:
    """What a `torch.optim.Optimizer`, or its state_dict, keeps by its parameters' paths.

    model: the module whose parameters it has, or their names in the order of the groups; unnecessary where it was made
        with `named_parameters()`.

    Raises:
        UsageError: no optimizer, or its parameters have no known names.
        NotExpressibleError: an optimizer that optax has not, or not with these settings.
        WeightsError: a moment of another shape than its parameter.
    """
    tensors, steps = {}, []
    for slot in _slots(optimizer, owners, model):
        name = kind(slot.group)
        _check_expressible(name, slot)
        if "step" in slot.kept:
            steps.append(count_of(slot.kept["step"], slot.path))
        if slot.kept or (name == "SGD" and not slot.group["momentum"]):
            if slot.path in tensors:
                why = "Each has only its own part of the gradient: tie them, as the map has them."
                raise no_counterpart(slot.path, "two parameters that are one in the map", why)
            is_counted = "step" in slot.kept and _is_counted(name, slot.group)
            tensors[slot.path] = _tensor_state(name, slot, steps[-1] if is_counted else None)
    return OptimizerState(tensors, max(steps, default=None))


def kind(group: Mapping[str, Any]) -> str:
    """The class of torch.optim whose settings a group of parameters has; Adam is AdamW too.

    Raises:
        NotExpressibleError: none of those that are known.
    """
    found = _marked(group)
    if not found:
        settings = listed([key for key in group if key not in ("params", "param_names")], separator=", ")
        raise no_counterpart("", f"a group of an unknown optimizer, with {settings}", "Carry it by hand.")
    return found


def _marked(group: Mapping[str, Any]) -> str:
    """The class by a group's settings; empty where none has them."""
    return next((name for name, mark in _MARKS if mark in group and _has_settings(name, group)), "")


def _has_settings(name: str, group: Mapping[str, Any]) -> bool:
    return name not in _SETTINGS or all(own in group for own in _names_of_settings(name, group).values())


def _is_counted(name: str, group: Mapping[str, Any]) -> bool:
    """Whether its formulas go by the number of updates; the others only count it."""
    return name in ("Adam", "Adamax", "RAdam", "Adafactor") or bool(group.get("lr_decay"))


def _check_expressible(name: str, slot: _Slot) -> None:
    if slot.group.get("amsgrad"):
        name = "AMSGrad"
    if name == "SGD" and slot.group["momentum"] and slot.group["dampening"]:
        raise no_counterpart(slot.path, f"SGD with dampening={slot.group['dampening']}", _WHY["dampening"])
    if name in _WHY or name not in FIELDS:
        raise no_counterpart(slot.path, name, _WHY.get(name, "See `paritree optimizers`."))


def _tensor_state(name: str, slot: _Slot, step: int | None) -> TensorState:
    arrays = {key: _array(value) for key, value in slot.kept.items() if key != "step" and value is not None}
    factors = {
        axis: np.squeeze(arrays.pop(key), axis)
        for key, axis in (("row_var", -1), ("col_var", -2))
        if arrays.get(key) is not None
    }
    rank = next((factor.ndim + 1 for factor in factors.values()), 0)
    moments = {field_of(name, key): array for key, array in arrays.items()}
    decays = bool(slot.group.get("weight_decay"))
    by_axis = {axis + rank: factor for axis, factor in factors.items()}
    return TensorState(moments, by_axis, step, _settings(name, slot.group), decays)


def _array(value: Any) -> np.ndarray:
    """A moment; that of sparse gradients is sparse itself, and as if they were not."""
    return as_numpy(value.to_dense() if isinstance(value, torch.Tensor) and value.is_sparse else value)


def _names_of_settings(name: str, group: Mapping[str, Any]) -> dict[str, str]:
    """optax's names of a group's settings, each with PyTorch's."""
    decay = {"weight_decay": "weight_decay"} if group.get("decoupled_weight_decay") else {}
    return {"learning_rate": "lr", **_SETTINGS[name], **decay}


def _settings(name: str, group: Mapping[str, Any]) -> dict[str, float]:
    found = {other: group[own] for other, own in _names_of_settings(name, group).items()}
    return {key: float(each[key == "b2"] if key in ("b1", "b2") else each) for key, each in found.items()}


def field_of(name: str, key: str) -> str:
    """optax's name of what PyTorch keeps under a key. RMSprop's are apart from Adam's, which are called alike in optax.

    Raises:
        NotExpressibleError: a key that the optimizer has not.
    """
    if name == "RMSprop" and key in ("square_avg", "grad_avg"):
        return {"square_avg": "square", "grad_avg": "mean"}[key]
    if key not in FIELDS[name]:
        raise no_counterpart("", f"{key!r} in the state of {name}", "It is of another optimizer.")
    return FIELDS[name][key]


def write(optimizer: Any, state: OptimizerState, owners: Mapping[str, Owner], model: Any = None) -> Any:
    """The optimizer with that state, in place; of a state_dict a new one. Its settings stay, except those that
    the state has.

    Raises:
        UsageError, NotExpressibleError: as `read`, and a state that another optimizer keeps.
        WeightsError: one message for all parameters without a state, and all states without a parameter.
    """
    slots = list(_slots(optimizer, owners, model))
    left = dict(state.tensors)
    faults, kept = [], {}
    for slot in slots:
        name = kind(slot.group)
        _check_expressible(name, slot)
        found = left.pop(slot.path, None)
        wanted = _wanted(name, slot)
        is_mapped = slot.path in owners and owners[slot.path].shape is not None
        if found is None and wanted and is_mapped and not slot.is_frozen:
            faults.append(f"{slot.path} {NO_STATE}")
        elif found is None or (not wanted and not found.moments and not found.factors):
            continue
        else:
            kept[slot.number] = _kept(name, slot, found, state.step, wanted)
            faults += _unheld(name, slot, kept[slot.number])
    faults += [f"{path} is no parameter of the optimizer" for path in left]
    if faults:
        raise misfits(faults, _UNUSED)
    groups = [
        _with_settings(
            group, [state.tensors[each.path] for each in slots if _is_in(each, number, state)], state.settings
        )
        for number, group in enumerate(content(optimizer)["param_groups"])
    ]
    after = {"state": kept, "param_groups": groups}
    if not isinstance(optimizer, torch.optim.Optimizer):
        return {**content(optimizer), **after}
    optimizer.load_state_dict(after)
    return optimizer


def _wanted(name: str, slot: _Slot) -> dict[str, str]:
    """PyTorch's keys of what the optimizer keeps with its settings, each with optax's name."""
    keys = {
        "SGD": ("momentum_buffer",) * bool(slot.group.get("momentum")),
        "RMSprop": (
            "square_avg",
            *("grad_avg",) * bool(slot.group.get("centered")),
            *("momentum_buffer",) * bool(slot.group.get("momentum")),
        ),
    }.get(name, tuple(key for key in FIELDS[name] if key != "step"))
    return {key: field_of(name, key) for key in keys}


def _kept(
    name: str, slot: _Slot, found: TensorState, counted: int | None, wanted: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    needed = {"v"} if name == "Adafactor" and not found.factors else set(wanted.values())
    if (name != "Adafactor" and found.factors) or (not found.factors and set(found.moments) != needed):
        raise of_another(slot.path, found.kept_by, name)
    if found.is_shifted and slot.group.get("weight_decay"):
        why = "Weight decay goes by the value, which is another."
        raise no_counterpart(slot.path, "a tensor whose value is the other side's with a number added", why)
    moments = dict(found.moments)
    if found.has_rate and "trace" in moments:
        moments["trace"] = moments["trace"] / -_rate_of(slot, found)
    made = {key: moments[field] for key, field in wanted.items() if field in moments}
    for key, axis in (("row_var", -1), ("col_var", -2)):
        if found.factors:
            rank = next(factor.ndim + 1 for factor in found.factors.values())
            if set(found.factors) != {rank - 1, rank - 2}:
                axes = " and ".join(str(each) for each in sorted(found.factors))
                why = "PyTorch's Adafactor factors the last two, optax's the two longest of its own tensor."
                raise no_counterpart(slot.path, f"moments factored along the axes {axes} of {rank}", why)
            made[key] = np.expand_dims(found.factors[rank + axis], axis)
    tensors = {key: tensor(array) for key, array in made.items()}
    if name == "SGD":
        return tensors
    step = found.step if found.step is not None else counted
    if step is None and _is_counted(name, slot.group):
        raise UsageError(
            "step", f"the number of updates, which {name} goes by", "none in the state", "Give step= or --step."
        )
    # Where optax counts nothing, no formula of PyTorch's goes by it either.
    return {"step": torch.tensor(float(step or 0), dtype=torch.float32), **tensors}


def _unheld(name: str, slot: _Slot, kept: Mapping[str, torch.Tensor]) -> list[str]:
    """What a parameter's own type, in which PyTorch keeps its moments, does not hold."""
    if slot.parameter is None or not slot.parameter.is_floating_point():
        return []
    dtype = slot.parameter.dtype
    return [
        fault
        for key, moment in kept.items()
        if key != "step"
        for fault in unheld(slot.path, field_of(name, key), as_numpy(moment), as_numpy(moment.to(dtype)))
    ]


def _rate_of(slot: _Slot, found: TensorState) -> float:
    rate = found.rate if found.rate is not None else float(slot.group["lr"])
    if not rate:
        raise no_counterpart(slot.path, "a trace with a learning rate of 0 in it", "What it was before cannot be told.")
    return rate


def _is_in(slot: _Slot, number: int, state: OptimizerState) -> bool:
    return slot.group_number == number and slot.path in state.tensors


def _with_settings(
    group: Mapping[str, Any], states: Sequence[TensorState], of_all: Mapping[str, float]
) -> dict[str, Any]:
    """A group with what the states of its parameters have been trained with, where they know it."""
    known = {**of_all, **agreed_settings(states, "")}
    after = dict(group)
    for name, own in _names_of_settings(kind(group), group).items():
        without = sum(name not in each.settings for each in states)
        if 0 < without < len(states):
            found = f"{name}={known[name]:g} for some of a group's parameters, and none for {without} of {len(states)}"
            raise no_counterpart("", found, "Make a group of each part of the optimizer.")
        if name in ("b1", "b2"):
            after[own] = tuple(_setting(known, each, old) for each, old in zip(("b1", "b2"), group[own], strict=True))
        else:
            after[own] = _setting(known, name, group[own])
    return after


def _setting(known: Mapping[str, float], name: str, old: Any) -> Any:
    """A group's number, or the one that is known; what is no more than the same in float32 stays."""
    if name not in known or np.float32(float(old)) == np.float32(known[name]):
        return old
    return torch.full_like(old, known[name]) if isinstance(old, torch.Tensor) else known[name]


def content(optimizer: Any) -> Mapping[str, Any]:
    """The state_dict, alone or within a checkpoint.

    Raises:
        UsageError: no optimizer and none's state, or the states of several.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer.state_dict()
    if isinstance(optimizer, Mapping) and (held := one_within(optimizer, entries, _is_state_dict)) is not None:
        _check_form(held)
        return held
    expected = "a torch.optim.Optimizer or its state_dict, with 'state' and 'param_groups'"
    if isinstance(optimizer, Mapping):
        raise UsageError("", expected, f"a mapping with {listed([*map(repr, optimizer)], 6, ', ')}")
    is_optax = isinstance(optimizer, tuple) or hasattr(optimizer, "opt_state")
    raise UsageError("", expected, type(optimizer).__name__, BACK if is_optax else "")


def _is_state_dict(node: Any) -> bool:
    return isinstance(node, Mapping) and {"state", "param_groups"} <= set(node)


def _check_form(held: Mapping[str, Any]) -> None:
    """Raises UsageError for a state_dict that is not as PyTorch's optimizers make them."""
    states, groups = held["state"], held["param_groups"]
    is_one = isinstance(states, Mapping) and all(isinstance(each, Mapping) for each in states.values())
    if not is_one or not isinstance(groups, list | tuple) or not all(_is_group(group) for group in groups):
        expected = "a state_dict whose 'state' is a mapping for each parameter, and whose groups have 'params' and 'lr'"
        raise UsageError("", expected, "another", "Save `optimizer.state_dict()` again.")


def _holds(entries: Any, of: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(entries, list | tuple) and all(isinstance(each, of) for each in entries)


def _is_group(group: Any) -> bool:
    """Whether it has its parameters, and the settings that are carried, as numbers."""
    if not isinstance(group, Mapping) or not _holds(group.get("params"), int | str):
        return False
    betas = group.get("betas", (0.0, 0.0))
    is_formed = _holds(group.get("param_names", []), str) and isinstance(betas, list | tuple) and len(betas) == 2
    if not is_formed or any(getattr(value, "shape", ()) not in ((), (1,)) for value in group.values()):
        return False
    name = kind(group)
    wanted = _names_of_settings(name, group).values() if name in _SETTINGS else ("lr",)
    return all(_holds(betas if key == "betas" else [group.get(key)], int | float | torch.Tensor) for key in wanted)


def _slots(optimizer: Any, owners: Mapping[str, Owner], model: Any) -> Iterator[_Slot]:
    held = content(optimizer)
    names = _unwrapped(_names(optimizer, held["param_groups"], model), owners)
    live = _live(optimizer, held["param_groups"])
    for group_number, group in enumerate(held["param_groups"]):
        for number in group["params"]:
            name = names[number]
            path = owners[name].path if name in owners else name
            # torch.distributed's checkpoints have every key as text.
            kept = held["state"].get(number, held["state"].get(str(number), {}))
            yield _Slot(number, path, group, kept, live.get(number), group_number)


def _live(optimizer: Any, groups: Sequence[Mapping[str, Any]]) -> dict[int, torch.Tensor]:
    """The parameters of a live optimizer by their numbers.

    Raises:
        NotExpressibleError: it is of another library, whatever its groups look like.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        return {}
    is_own = type(optimizer).__module__.startswith("torch.optim.")
    if not is_own and not isinstance(optimizer, getattr(torch.optim, _marked(groups[0]), ())):
        why = "Its formulas are not those of torch.optim's; of one that wraps another give that one."
        raise no_counterpart("", f"a {type(optimizer).__module__}.{type(optimizer).__name__}", why)
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    return dict(zip(numbers, held, strict=True))


def _names(optimizer: Any, groups: Sequence[Mapping[str, Any]], model: Any) -> Mapping[Any, str]:
    """The name of each parameter by its number; torch.distributed's state_dicts have the names for numbers."""
    numbers = [number for group in groups for number in group["params"]]
    if numbers and all(isinstance(number, str) for number in numbers):
        return {name: name for name in numbers}
    has_names = all("param_names" in group for group in groups)
    if model is None and not has_names:
        raise UsageError("", "an optimizer that knows its parameters' names", "one that does not", _NAMING)
    if isinstance(model, nn.Module) and isinstance(optimizer, torch.optim.Optimizer):
        return _by_identity(optimizer, numbers, model)
    if _holds(model, str):
        return _in_order(numbers, model)
    if model is not None and not isinstance(model, nn.Module):
        expected = "an nn.Module, or a list of the names of the optimizer's parameters"
        raise UsageError("", expected, type(model).__name__, _NAMING)
    own = [] if model is None else list(model.named_parameters())
    saved = [name for group in groups for name in group["param_names"]] if has_names else []
    if has_names and (model is None or len(groups) > 1 or {*saved} <= {name for name, _ in own}):
        return _in_order(numbers, saved)
    if len(groups) > 1:
        found = f"{len(groups)} groups without"
        raise UsageError("", "the names of the parameters of each group", found, _NAMING_GROUPS)
    if len(own) != len(numbers):
        # The other usual way to make one.
        own = [(name, parameter) for name, parameter in own if parameter.requires_grad]
    return _in_order(numbers, [name for name, _ in own])


def _unwrapped(names: Mapping[Any, str], owners: Mapping[str, Owner]) -> Mapping[Any, str]:
    """The names without those of wrappers, such as DistributedDataParallel's `module`, which the map does not know."""
    found = {number: name if name in owners else bare(name) for number, name in names.items()}
    while not any(name in owners for name in found.values()):
        if len({name.partition(".")[0] for name in found.values()}) != 1 or not any(found.values()):
            return names
        found = {number: name.partition(".")[2] for number, name in found.items()}
    return found


def _in_order(numbers: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    if len(numbers) != len(names):
        found = f"{len(names):,} names for {len(numbers):,} parameters"
        raise UsageError("", "a name for each parameter of the optimizer", found, _NAMING)
    return dict(zip(numbers, names, strict=True))


def _by_identity(optimizer: torch.optim.Optimizer, numbers: Sequence[int], model: nn.Module) -> dict[int, str]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    strange = [shape_text(tuple(parameter.shape)) for parameter in held if id(parameter) not in known]
    if strange:
        found = f"{len(strange):,} that are not: of shape {listed(strange, separator=', ')}"
        raise UsageError("", "an optimizer over the model's own parameters", found, "Make it of this model's.")
    return {number: known[id(parameter)] for number, parameter in zip(numbers, held, strict=True)}
