"""Sides that answer for a model: a record of it, and a live one that is being recorded.

These are the functions of a `SideWing`; each asks the side itself. The modules `recorded_torch`, `recorded_linen`,
`recorded_nnx` and `recorded_pytree` have them under the name of the wing that the model is of, since a map's direction
and its paths are that wing's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import NotExpressibleError
from ...common.wing import (
    Call,
    Inputs,
    Passer,
    Plan,
    Prober,
    RoundTrip,
    SideWing,
    SiteProber,
    StepFunction,
    Stepper,
    StoredTensor,
    Taper,
    Tracer,
    Trainer,
    Updater,
)


class Running(NamedTuple):
    """What `running` was entered with."""

    device: str = "cpu"
    dtype: str | None = "float32"
    tf32: bool = False


_PLAIN = Running()
_RUNNING: ContextVar[Running] = ContextVar("running", default=_PLAIN)


class Answering(ABC):
    """A side that answers itself what a wing's functions are asked about a live model.

    wing: that of the model: `torch`, `linen`, `nnx` or `pytree`.
    is_factory: whether it stands for a factory. It is then called with a seed, and 0 gives itself.
    """

    wing: str
    is_factory: bool

    @property
    def side_wing(self) -> SideWing:
        return Replay(self.wing)

    @abstractmethod
    def __call__(self, seed: int) -> Answering: ...
    @abstractmethod
    def stored_tensors(self) -> dict[str, StoredTensor]: ...
    @abstractmethod
    def prober(self, inputs: Inputs, call: Call | None, dtype: str) -> Prober: ...
    @abstractmethod
    def tracer(self, inputs: Inputs, call: Call | None, dtype: str) -> Tracer: ...
    @abstractmethod
    def site_prober(self, inputs: Inputs, call: Call | None, dtype: str) -> SiteProber: ...
    @abstractmethod
    def trainer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Trainer: ...
    @abstractmethod
    def passer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Passer: ...
    @abstractmethod
    def round_trips(self) -> Iterator[RoundTrip]: ...
    @abstractmethod
    def draws(self, seeds: Sequence[int], device: str, target: int | None) -> dict[str, np.ndarray]: ...


class Replay:
    """The functions of a `SideWing` for a side that answers itself."""

    def __init__(self, wing: str) -> None:
        self.NAME = wing

    def stored_tensors(self, model: Answering) -> dict[str, StoredTensor]:
        """Every tensor of the model by its path."""
        return model.stored_tensors()

    def with_stored_tensors(self, model: Answering, arrays: Mapping[str, Any]) -> Answering:
        """What cannot be done: the answers are about the values that the model was asked at."""
        remedy = "Carry them into the model itself."
        raise NotExpressibleError("", "a live model to put values into", "a record", remedy)

    def prober(self, model: Answering, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
        """The outputs and gradients."""
        return model.prober(inputs, call, dtype)

    def tracer(self, model: Answering, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
        """The calls of modules."""
        return model.tracer(inputs, call, dtype)

    def taper(self, model: Answering, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Taper:
        """What cannot be done: the values of a pass are not recorded."""
        raise NotExpressibleError("", "a live model, whose values can be seen", "a record", "Compare with the model.")

    def site_prober(
        self, model: Answering, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32"
    ) -> SiteProber:
        """The sites of parameters with their shares of the gradient."""
        return model.site_prober(inputs, call, dtype)

    def trainer(
        self,
        model: Answering,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
    ) -> Trainer:
        """What steps of an optimizer leave."""
        return model.trainer(inputs, call, dtype, train_call)

    def stepper(
        self,
        model: Answering,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
        optimizer: Any = None,
        step: StepFunction | None = None,
    ) -> Stepper:
        """What cannot be done: a caller's own steps are not recorded."""
        raise NotExpressibleError("", "a live model, which can make steps", "a record", "Compare with the model.")

    def updater(self, model: Answering, optimizer: Any, *, dtype: str = "float64") -> Updater:
        """What cannot be done: the steps of a caller's own optimizer are not recorded."""
        raise NotExpressibleError(
            "", "a live model, whose optimizer can make steps", "a record", "Compare with the model."
        )

    def passer(
        self,
        model: Answering,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
    ) -> Passer:
        """What a pass in either mode gives."""
        return model.passer(inputs, call, dtype, train_call)

    def round_trips(self, model: Answering) -> Iterator[RoundTrip]:
        """What came back from each way of saving."""
        return model.round_trips()

    def draws(
        self, factory: Answering, seeds: Sequence[int], *, device: str = "cpu", target: int | None = None
    ) -> dict[str, np.ndarray]:
        """The initial values, `(draws, *native shape)` by path."""
        return factory.draws(seeds, device, target)

    def devices(self) -> tuple[str, ...]:
        """None of its own, so that it is present on all: what was recorded on one is the reference on any other."""
        return ()

    @contextmanager
    def running(
        self, device: str = "cpu", dtype: str | None = "float32", tf32: bool = False, plan: Plan | None = None
    ) -> Iterator[None]:
        """How the side is asked; one that is live enters its own wing's. It is no port, so that it has no plan."""
        with asking(device, dtype, tf32):
            yield

    def own_gradients(self, model: Answering, inputs: Inputs, call: Call, *, dtype: str = "float32") -> Any:
        raise NotExpressibleError("", "a live model with a call for gradients", "a record")

    def sharded_tensors(self, model: Answering, arrays: Mapping[str, Any]) -> dict[str, StoredTensor]:
        raise NotExpressibleError("", "a live model to be sharded", "a record")


@contextmanager
def asking(device: str = "cpu", dtype: str | None = "float32", tf32: bool = False) -> Iterator[None]:
    """What `asked_with` tells as long as the context lasts."""
    entered = _RUNNING.set(Running(device, dtype, tf32))
    try:
        yield
    finally:
        _RUNNING.reset(entered)


def asked_with() -> Running:
    """What `Replay.running` was entered with."""
    return _RUNNING.get()
