"""Recording: a live model as a side that notes whatever it is asked, with the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ...common.errors import ParitreeError
from ...common.wing import (
    Accident,
    Call,
    CallRecorder,
    Cotangents,
    Inputs,
    Optimizer,
    Pass,
    Passer,
    Probe,
    Prober,
    RoundTrip,
    SideWing,
    Site,
    SiteProber,
    StoredTensor,
    Trace,
    Tracer,
    Trainer,
    Training,
    reported,
    steady,
)
from ..values import rounded
from . import forms as forms
from .activations import Activations
from .record import Record, draws_address, precision_text, versions
from .replay import Answering, asked_with, asking

Answer = TypeVar("Answer")


class Recorder(Answering):
    """A live model that is being recorded.

    given: the model or a factory of it. live: the model, of seed 0 if it is a factory's.
    side: the functions of its own wing. inputs, call, train_call: those that it will be asked with.
    activations: how many bytes of them are kept at the most; None for none at all.
    """

    def __init__(
        self,
        given: Any,
        live: Any,
        side: SideWing,
        inputs: Inputs,
        call: Call | None = None,
        train_call: Call | None = None,
        activations: int | None = None,
    ) -> None:
        self.wing = side.NAME
        self.is_factory = given is not live
        self._given, self._live, self._side = given, live, side
        self._arrays: dict[str, np.ndarray] = {}
        self._runs: dict[str, forms.Form] = {}
        self._trips: list[forms.Form] = []
        self._draws: dict[str, forms.Form] = {}
        self._inputs = forms.inputs_form(inputs, self._put)
        self._activations = None if activations is None else Activations(self._put, activations)
        self._trace = partial(side.tracer, live, inputs, call)
        # What is compiled with TF32 is another program.
        self._probers = cache(lambda dtype, tf32: side.prober(live, inputs, call, dtype=dtype))

    def record(self, notes: Sequence[str] = (), seed: int = 0) -> Record:
        """All that was asked until now. notes: what could not be, and why. seed: that of the check that asked."""
        content = {
            "wing": self.wing,
            "is_factory": self.is_factory,
            "versions": versions(),
            "notes": list(notes),
            "seed": seed,
            "inputs": self._inputs,
            "natives": forms.stored_tensors_form(self.stored_tensors(), self._put),
            "runs": dict(self._runs),
            "round_trips": list(self._trips),
            "draws": dict(self._draws),
        }
        if self._activations is not None:
            content["activations"] = self._activations.form
        return Record(content, dict(self._arrays))

    def __call__(self, seed: int) -> Recorder:
        """Itself, as the model of seed 0; another one is not recorded.

        Raises:
            ValueError: another seed.
        """
        if seed:
            raise ValueError(f"only the model of seed 0 is recorded, not that of {seed}")
        return self

    @property
    def has_activations(self) -> bool:
        """Whether any call of a module was recorded."""
        return self._activations is not None and bool(self._activations.form["modules"])

    def stored_tensors(self) -> dict[str, StoredTensor]:
        return self._side.stored_tensors(self._live)

    def prober(self, inputs: Inputs, call: Call | None, dtype: str) -> Prober:
        def run(
            weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True, rounded: int = 0
        ) -> Probe:
            if rounded:
                # It asks what rounding does, which a record is not asked.
                with self._running():
                    return self._probers(dtype, asked_with().tf32)(weights, cotangents, rounded=rounded)
            found = self._probe(weights, cotangents, gradients, dtype)
            if dtype == "float32" and not asked_with().tf32:
                self._probe_exactly(weights, cotangents, gradients)
                self._keep_activations(weights)
            return found

        return run

    def _probe(self, weights: Mapping[str, Any], cotangents: Cotangents, gradients: bool, dtype: str) -> Probe:
        def asked() -> Probe:
            with self._running():
                return self._probers(dtype, asked_with().tf32)(weights, cotangents, gradients=gradients)

        def form(probe: Probe) -> forms.Form:
            shapes = [array.shape for array in probe.outputs.values()]
            return forms.probe_form(probe, forms.digest_for(cotangents, shapes) if gradients else None, self._put)

        return self._noted(forms.address("probe", precision_text(dtype), weights), asked, form)

    def _probe_exactly(self, weights: Mapping[str, Any], cotangents: Cotangents, gradients: bool) -> None:
        """The same run in float64, which is asked for where rounding may be what makes a difference."""
        with asking(asked_with().device, "float64"):
            try:
                self._probe(weights, cotangents, gradients, "float64")
            except Accident:
                raise
            except ParitreeError:
                # Noted as the answer: some programs run in one type alone.
                return

    def _keep_activations(self, weights: Mapping[str, Any]) -> None:
        """Those of the same run, in float64 if the model runs in it; none of a program that cannot be watched."""
        addresses = {dtype: forms.address("trace", dtype, weights) for dtype in ("float64", "float32")}
        if self._activations is None or any(address in self._activations for address in addresses.values()):
            return
        for dtype, address in addresses.items():
            with asking(asked_with().device, dtype), self._running():
                try:
                    with reported(""):
                        traces = steady(partial(self._traced, weights, dtype))
                except Accident:
                    raise
                except ParitreeError:
                    continue
            self._activations.add(address, traces)
            return

    def _traced(self, weights: Mapping[str, Any], dtype: str) -> tuple[Trace, ...]:
        return self._trace(dtype=dtype)(weights)

    def tracer(self, inputs: Inputs, call: Call | None, dtype: str) -> Tracer:
        """The live model's: its answers are not recorded."""

        def run(weights: Mapping[str, Any], recorder: Callable[..., CallRecorder] = CallRecorder) -> Any:
            with self._running():
                return self._side.tracer(self._live, inputs, call, dtype=dtype)(weights, recorder)

        return run

    def site_prober(self, inputs: Inputs, call: Call | None, dtype: str) -> SiteProber:
        def run(
            weights: Mapping[str, Any], cotangents: Cotangents, paths: Iterable[str]
        ) -> dict[str, tuple[Site, ...]]:
            made = _Heard(cotangents)

            def asked() -> dict[str, tuple[Site, ...]]:
                with self._running():
                    return self._side.site_prober(self._live, inputs, call, dtype=dtype)(weights, made, paths)

            address = forms.address("sites", precision_text(dtype), weights)
            return self._noted(
                address, asked, lambda sites: forms.sites_form(sites, made.shapes, made.digest, self._put)
            )

        return run

    def trainer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Trainer:
        train = self._trainer(inputs, call, dtype, train_call)

        def run(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
            found = train(weights, targets, optimizer, steps)
            if dtype in ("float32", "float64"):
                # Asked for where a port's parameters went another way, which may be rounding's doing; one tells it.
                tensors = self.stored_tensors()
                is_free = lambda path: tensors[path].trainable and not tensors[path].frozen  # noqa: E731
                for near in islice(rounded(weights, is_free), 1):
                    train(near, targets, optimizer, steps)
            return found

        return run

    def _trainer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Trainer:
        def run(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
            goals = _Heard(targets)

            def asked() -> Training:
                with self._running():
                    made = self._side.trainer(self._live, inputs, call, dtype=dtype, train_call=train_call)
                    return made(weights, goals, optimizer, steps)

            about = {"optimizer": forms.optimizer_text(optimizer), "steps": steps}
            return self._noted(
                forms.address("training", precision_text(dtype), weights, **about),
                asked,
                lambda trained: forms.training_form(trained, goals.shapes, goals.digest, self._put),
            )

        return run

    def passer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Passer:
        @cache
        def made() -> Passer:
            return self._side.passer(self._live, inputs, call, dtype=dtype, train_call=train_call)

        def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
            about = {"training": training, "dropout": dropout, "seed": seed}

            def asked() -> Pass:
                with self._running():
                    return made()(weights, **about)

            address = forms.address("pass", precision_text(dtype), weights, **about)
            return self._noted(address, asked, lambda passed: forms.pass_form(passed, self._put))

        return run

    def round_trips(self) -> Iterator[RoundTrip]:
        self._trips = []
        try:
            with reported("", "a model that can be saved and loaded"):
                for trip in self._side.round_trips(self._live):
                    self._trips.append(forms.trip_form(trip, self._put))
                    yield trip
        except ParitreeError as error:
            self._trips.append(forms.error_form(error))
            raise

    def draws(self, seeds: Sequence[int], device: str, target: int | None) -> dict[str, np.ndarray]:
        found = self._side.draws(self._given, seeds, device=device, target=target)
        self._draws[draws_address(seeds, target)] = {"draws": forms.arrays_form(found, self._put)}
        return found

    def _running(self) -> Any:
        entered = asked_with()
        return self._side.running(entered.device, entered.dtype, entered.tf32)

    def _put(self, array: np.ndarray) -> str:
        key = forms.digest(array)
        if key not in self._arrays:
            # A framework may go on writing to what it gave.
            self._arrays[key] = np.array(array, order="C")
        return key

    def _noted(self, address: str, asked: Callable[[], Answer], form: Callable[[Answer], forms.Form]) -> Answer:
        try:
            with reported(""):
                found = steady(asked)
        except ParitreeError as error:
            self._runs.setdefault(address, forms.error_form(error))
            raise
        self._runs[address] = _joined(self._runs.get(address, {}), form(found))
        return found


class _Heard:
    """Cotangents or targets, with the outputs' shapes that they were asked for."""

    def __init__(self, made: Cotangents) -> None:
        self._made = made
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, shapes: Sequence[tuple[int, ...]]) -> Sequence[np.ndarray]:
        self.shapes = [tuple(shape) for shape in shapes]
        return self._made(shapes)

    @property
    def digest(self) -> str:
        return forms.digest_for(self._made, self.shapes)


def _joined(before: forms.Form, now: forms.Form) -> forms.Form:
    """A run that was asked twice: with the gradients and the sites that one of the two has."""
    if "sites" in now:
        return {**now, "sites": {**before.get("sites", {}), **now["sites"]}}
    return {**before, **now} if "error" not in before else now
