"""A side of a pair: its live model, and what it can be made ready for, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from ..common import paths
from ..common.errors import NotExpressibleError, ParitreeError
from ..common.tables import ModuleRow, Row, modules_in_order
from ..common.wing import (
    Advance,
    Call,
    CallRecorder,
    Cotangents,
    Gradients,
    Inputs,
    Optimizer,
    Pass,
    Plan,
    Probe,
    SideWing,
    Site,
    StepFunction,
    StoredTensor,
    Tape,
    TapeArrays,
    TapeUses,
    Trace,
    Training,
    Updated,
    Updater,
    is_factory,
    is_floating,
    model_of,
    name_of,
    noting,
    reported,
    side_name,
    steady,
)
from .collections import collections
from .pair import Pair, plan_of
from .precision import STRICT, Setting
from .records import Record
from .values import cotangents
from .wings import load_wing, mesh_set, planned, side_wing

Weights = Mapping[str, np.ndarray]
Made = TypeVar("Made")
# Of models with more numbers a run takes longer than to compile.
_FEW_NUMBERS = 5_000_000


class Holder(NamedTuple):
    """A module that holds tensors: its class, and how many numbers the first floating-point input of a call has."""

    name: str
    given: int


def _holder(trace: Trace) -> Holder:
    return Holder(trace.name, next((array.size for array in trace.inputs.values() if is_floating(array)), 0))


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a pair.

    role: `reference` or `port`.
    given: the side as the pair has it. model: live, of seed 0 if a factory makes it; it is not changed.
    setting: what a run is made at, unless another one is asked for.
    training_steps: how many a training has, if the pair says so.
    is_loaded: whether the pair says that it was given the reference's weights.
    plan: how it is sharded, of a port whose pair says so. Without more it is run on one device all the same.
    gradients_call: gives gradients as its own training takes them.
    """

    role: str
    wing: SideWing
    given: Any
    model: Any
    inputs: Inputs
    call: Call | None = None
    train_call: Call | None = None
    optimizer: Any = None
    step: StepFunction | None = None
    training_steps: int | None = None
    setting: Setting = STRICT
    is_loaded: bool = False
    plan: Plan | None = None
    gradients_call: Call | None = None
    notes: dict[str, None] = field(default_factory=dict, repr=False)
    _ready: dict[Any, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(pair: Pair, role: str, plan: Plan | None = None) -> Side:
        """Raises UsageError for what is no model; PairError for a factory that raises."""
        given = getattr(pair, role)
        with mesh_set(plan):
            model = model_of(given, role=role)
        call, train_call = getattr(pair, f"{role}_call"), getattr(pair, f"{role}_train_call")
        is_loaded = pair.loaded and role == "port"
        own = getattr(pair, f"{role}_optimizer"), getattr(pair, f"{role}_step"), pair.training_steps
        wing = side_wing(model)
        side = Side(role, wing, given, model, pair.inputs, call, train_call, *own, is_loaded=is_loaded)
        return replace(side, plan=plan, gradients_call=pair.port_gradients if role == "port" else None)

    def at(self, setting: Setting) -> Side:
        """The same side, run at another setting; what is made ready for one of the two is ready for both."""
        return self if setting == self.setting else replace(self, setting=setting)

    def spread(self) -> Side:
        """The same side over all devices of its plan, which it must have."""
        assert self.plan is not None
        return replace(self, plan=self.plan.spread, notes={}, _ready={})

    def given_others(self, inputs: Inputs) -> Side:
        """The same side, run on other inputs."""
        return replace(self, inputs=inputs, _ready={})

    @property
    def number(self) -> int:
        """0 of the reference, 1 of the port."""
        return ("reference", "port").index(self.role)

    @property
    def factory(self) -> Callable[[int], Any] | None:
        return self.given if is_factory(self.given) else None

    @property
    def kind(self) -> str:
        """What it is, for a report: `torch`, `nnx`, `recorded torch`."""
        return side_name(self.model)

    @cached_property
    def stored_tensors(self) -> dict[str, StoredTensor]:
        with reported(self.role):
            return self.wing.stored_tensors(self.model)

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """What a map is about: the saved tensors of floating-point numbers, each tie once."""
        return {path: native for path, native in self.stored_tensors.items() if native.saved and native.is_floating}

    @cached_property
    def rows(self) -> dict[str, Row]:
        """By a tensor's path the row that its model's table has for it, which knows the layer; empty where a side has
        no table, as a bare pytree or a record."""
        try:
            table = load_wing(name_of(self.model)).table(self.model)
        except ParitreeError:
            return {}
        found = {".".join(map(str, row.native_path)): row for row in table}
        return {path: found[own] for path in self.tensors if (own := self._without_collection(path)) in found}

    @property
    def unseen(self) -> str:
        """Why the calls of its modules cannot be watched, and what to do; empty where they can."""
        if not isinstance(self.model, Record) or self.model.activations:
            return ""
        how = "paritree.record(..., activations=True), or paritree record --activations"
        return f"In which module is not to be seen in a record without activations: record it with them ({how})."

    @property
    def ignored(self) -> tuple[str, ...]:
        """The paths of the others: counters and constants."""
        return tuple(path for path in self.stored_tensors if path not in self.tensors)

    def shape(self, path: str) -> tuple[int, ...]:
        return self.tensors[path].array.shape

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of all parameters, in order."""
        return [native.array.shape for native in self.tensors.values() if native.trainable]

    @cached_property
    def is_small(self) -> bool:
        """Whether a run of it takes less time than what is made ready for one."""
        return sum(native.array.size for native in self.tensors.values()) <= _FEW_NUMBERS

    def is_free(self, path: str) -> bool:
        """Whether it is a parameter that training moves; what is frozen is most often a constant of the program."""
        return self.stored_tensors[path].trainable and not self.stored_tensors[path].frozen

    def is_frozen(self, path: str) -> bool:
        """Whether training leaves the parameter alone; the other side's program may stop its gradient instead."""
        return self.stored_tensors[path].frozen

    def paths_for(self, path: str) -> tuple[str, str]:
        """The reference's and the port's path of a finding that is about this side alone."""
        return (path, "") if self.role == "reference" else ("", path)

    def module(self, path: str) -> str:
        """The path of the module that a tensor stands in, without a collection in front of it."""
        return paths.parent(self._without_collection(path))

    def _without_collection(self, path: str) -> str:
        key, _, inside = path.partition(".")
        return inside if self.wing.NAME == "linen" or key in self._collections else path

    @cached_property
    def _collections(self) -> frozenset[str]:
        """Of a bare pytree; what Linen's are it says itself."""
        is_tree = self.wing.NAME == "pytree"
        return collections({path: self.shape(path) for path in self.tensors}) if is_tree else frozenset()

    @contextmanager
    def running(self, setting: Setting) -> Iterator[None]:
        device = setting.device_of(self.role)
        running = self.wing.running(device, setting.dtype, setting.has_tf32, self.plan)
        with running, reported(self.role), noting(self.notes):
            try:
                yield
            except NotExpressibleError as error:
                if error.path:
                    raise
                raise NotExpressibleError(self.role, error.expected, error.found, error.remedy) from None

    @contextmanager
    def making(self, setting: Setting) -> Iterator[None]:
        """What surrounds its factory, whose models are of the caller's types wherever they are made."""
        running = self.wing.running(setting.device_of(self.role), None, False, self.plan)
        with running, reported(self.role), noting(self.notes):
            yield

    def probe(
        self,
        weights: Weights,
        setting: Setting | None = None,
        *,
        gradients: bool = True,
        rounded: int = 0,
        given: Cotangents = cotangents,
    ) -> Probe:
        """Outputs and gradients at the given weights.

        rounded: see `Prober`. given: makes the cotangents of the outputs.
        """
        return self._run(
            "prober", setting or self.setting, lambda run: run(weights, given, gradients=gradients, rounded=rounded)
        )

    def outputs(self, weights: Weights, setting: Setting | None = None) -> dict[str, np.ndarray]:
        """Of a run; of a small compiled program with the gradients, since to compile another one takes longer."""
        whole = self.wing.NAME != "torch" and self.is_small
        return self.probe(weights, setting, gradients=whole).outputs

    def traced(
        self,
        weights: Weights,
        setting: Setting | None = None,
        recorder: Callable[..., CallRecorder] = CallRecorder,
    ) -> tuple[Trace, ...]:
        """What the calls of its modules took and gave; nothing for a bare pytree, which has none."""
        return self._run("tracer", setting or self.setting, lambda run: run(weights, recorder))

    def modules(self) -> tuple[ModuleRow, ...]:
        """The modules that one forward pass calls at the model's own values, each behind the one that it lies in."""
        sizes = {path: each.array.size for path, each in self.stored_tensors.items() if each.trainable}
        found: dict[str, ModuleRow] = {}
        for trace in self.traced({}):
            seen = found.get(trace.path)
            outputs = tuple(each.shape for each in trace.outputs.values()) if seen is None else seen.outputs
            held = sum(sizes.get(path, 0) for path in dict.fromkeys(trace.subtree))
            found[trace.path] = ModuleRow(trace.path, trace.name, 0, outputs, 1 + (seen.calls if seen else 0), held)
        return tuple(modules_in_order(list(found.values())))

    def taped(self, weights: Weights, setting: Setting, *, with_rules: bool = False) -> Tape:
        """All values of a pass, which can be replayed; `with_rules`, with cotangents."""
        tape = self._run("taper", setting, lambda run: run(weights, with_rules=with_rules))
        return self._kept_running(tape, setting)

    def _kept_running(self, tape: Tape, setting: Setting) -> Tape:
        def replay(instead: TapeArrays, uses: TapeUses, most: float) -> dict[int, np.ndarray]:
            with self.running(setting):
                return steady(lambda: tape.replay(instead, uses, most))

        def settle(instead: TapeArrays, uses: TapeUses) -> Tape:
            with self.running(setting):
                return self._kept_running(steady(lambda: tape.settle(instead, uses)), setting)

        def cotangents_of(given: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
            with self.running(setting):
                return tape.cotangents(given)

        return tape._replace(replay=replay, settle=settle, cotangents=cotangents_of)

    def holders(self, weights: Weights, setting: Setting) -> dict[str, Holder]:
        """By the path of each tensor the module that holds it, of those that are called; none where none is seen."""

        def make() -> dict[str, Holder]:
            return {path: _holder(trace) for trace in reversed(self.traced(weights, setting)) for path in trace.holds}

        return self._made("holders", setting, make)

    def sites(self, weights: Weights, setting: Setting, paths: Sequence[str]) -> dict[str, tuple[Site, ...]]:
        """The sites of the parameters at `paths`, with each one's share of the gradient."""
        return self._run("site_prober", setting, lambda run: run(weights, cotangents, paths))

    def sharded_tensors(self, weights: Weights, setting: Setting) -> dict[str, StoredTensor]:
        """What it holds of these weights once it is sharded as its plan says."""
        with self.running(setting):
            return self.wing.sharded_tensors(self.model, weights)

    def own_gradients(self, weights: Weights, setting: Setting) -> dict[str, np.ndarray]:
        """Those that its own training takes, by path, and the loss as `loss`; it must have a call for them."""
        assert self.gradients_call is not None
        call: Call = self.gradients_call

        def make() -> Any:
            return self.wing.own_gradients(self.model, self.inputs, call, dtype=setting.dtype)

        with self.running(setting):
            return steady(lambda: self._made("own_gradients", setting, make)(weights))

    def train(
        self, weights: Weights, targets: Cotangents, optimizer: Optimizer, steps: int, setting: Setting
    ) -> Training:
        """What some steps in training mode leave, dropout switched off."""
        return self._run(
            "trainer", setting, lambda run: run(weights, targets, optimizer, steps), train_call=self.train_call
        )

    def stepped(self, weights: Weights, targets: Cotangents, steps: int, setting: Setting) -> Training:
        """What steps of its own leave, by its step function or else its optimizer, in training mode without dropout."""
        return self._run(
            "stepper",
            setting,
            lambda run: run(weights, targets, steps),
            train_call=self.train_call,
            optimizer=self.optimizer,
            step=self.step,
        )

    def updates(self, weights: Weights, setting: Setting) -> Advance:
        """Steps of its own optimizer from these values, each with the gradients that it is given.

        Raises:
            PairError: an optimizer that is none of this model's, or that cannot be fed so. NotExpressibleError: of a
                record; or, from a step, counts that cannot be set forward.
        """

        def ready() -> Updater:
            return self.wing.updater(self.model, self.optimizer, dtype=setting.dtype)

        with self.running(setting):
            advance = self._made("updater", setting, ready)(weights)

        def step(given: Gradients) -> Updated:
            with self.running(setting):
                return advance(given)

        return step

    def passed(
        self, weights: Weights, setting: Setting, *, training: bool, dropout: bool = False, seed: int = 0
    ) -> Pass:
        """What one forward pass in a mode gives."""
        return self._run(
            "passer",
            setting,
            lambda run: run(weights, training=training, dropout=dropout, seed=seed),
            train_call=self.train_call,
        )

    def draws(self, seeds: Sequence[int], setting: Setting, target: int) -> dict[str, np.ndarray]:
        """Initial values by path, at least `target` entries of each if the seeds suffice: (draws, *native shape)."""
        with self.making(setting):
            return self.wing.draws(self.given, seeds, device=setting.device_of(self.role), target=target)

    @property
    def _called(self) -> tuple[Any, Inputs, Call | None]:
        return self.model, self.inputs, self.call

    def _run(self, what: str, setting: Setting, run: Callable[[Any], Made], **others: Any) -> Made:
        """What a run of the side gives. what: the function of its wing that makes it ready, with `others`.

        Raises:
            Accident: what its own code raises once and not again, which no other run is to hide, or an exit.
        """

        def ready() -> Any:
            return getattr(self.wing, what)(*self._called, dtype=setting.dtype, **others)

        with self.running(setting):
            return steady(lambda: run(self._made(what, setting, ready)))

    def _made(self, what: str, setting: Setting, make: Callable[[], Made]) -> Made:
        key = (what, setting)
        if key not in self._ready:
            self._ready[key] = make()
        return cast(Made, self._ready[key])


def sides_of(pair: Pair) -> tuple[Side, Side]:
    """The reference and the port, made now.

    Raises:
        UsageError: what is no model; PairError: a factory that raises, or a record as the port.
    """
    # Before a factory seeds the generators.
    plan = planned(plan_of(pair))
    return Side.of(pair, "reference"), Side.of(pair, "port", plan)
