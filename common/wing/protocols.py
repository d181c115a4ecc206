"""What the rooms above the wings ask of one: which functions it has, and with which arguments.

A wing is a package that satisfies `Wing`: functions that take any live model of its framework. A side of a pair needs
less of it, a `SideWing`, and may be something that no wing knows, a bare pytree; or it answers for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..draws import Stream
from ..spec import Echo, Layer, Rule
from ..tables import Row, Table
from .runs import Call, Inputs, Prober, Site, SiteProber
from .sharding import Plan
from .stored import RoundTrip, StoredTensor
from .tapes import Taper
from .traces import Tracer
from .training import Passer, Stepper, Trainer
from .updates import StepFunction, Updater


class SideWing(Protocol):
    """What a pair asks of each of its sides, as functions of a live model: its tensors, and runs of it.

    Of all that makes a model ready to run (`prober`, `tracer`, `taper`, `trainer`, `passer`, `site_prober`):

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it the model is called with the inputs, in inference mode.
    train_call: the call in training mode, which is `call` unless given.
    weights, of the run: native arrays for any of the model's owners; the others keep the values they have.

    Raises:
        DtypeError: no floating-point type of that name, or one that is not enabled.
        WeightsError: from the run, weights for no owner or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.

    Of `draws`, target: how many entries of a tensor are enough: it is kept from as many of the first seeds as give that
    many, from two at least, and no more models are made than that takes. Without it all are kept from all seeds.

    Of `running`, dtype: what the types are that a program makes of numbers alone; None for the caller's own, which are
    those of a model that a factory makes. plan: how the model is sharded; everything is then made ready and run so.

    `own_gradients`: the model made ready for a call of its own that gives gradients, alone or after a loss:
    `run(weights)` gives them by path, and the loss as `loss`; in training mode, without dropout.
    `sharded_tensors`: what a copy of the model with these arrays holds, once it is sharded as the plan says.
    """

    NAME: str

    def stored_tensors(self, model: Any) -> dict[str, StoredTensor]: ...
    def with_stored_tensors(self, model: Any, arrays: Mapping[str, Any]) -> Any: ...
    def prober(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober: ...
    def tracer(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer: ...
    def taper(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Taper: ...
    def trainer(
        self,
        model: Any,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
    ) -> Trainer: ...
    def passer(
        self,
        model: Any,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
    ) -> Passer: ...
    def stepper(
        self,
        model: Any,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
        optimizer: Any = None,
        step: StepFunction | None = None,
    ) -> Stepper: ...
    def updater(self, model: Any, optimizer: Any, *, dtype: str = "float64") -> Updater: ...
    def round_trips(self, model: Any) -> Iterator[RoundTrip]: ...
    def site_prober(
        self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32"
    ) -> SiteProber: ...
    def draws(
        self, factory: Any, seeds: Sequence[int], *, device: str = "cpu", target: int | None = None
    ) -> dict[str, np.ndarray]: ...
    def devices(self) -> tuple[str, ...]: ...
    def running(
        self, device: str = "cpu", dtype: str | None = "float32", tf32: bool = False, plan: Plan | None = None
    ) -> AbstractContextManager[None]: ...
    def own_gradients(
        self, model: Any, inputs: Inputs, call: Call, *, dtype: str = "float32"
    ) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]: ...
    def sharded_tensors(self, model: Any, arrays: Mapping[str, Any]) -> dict[str, StoredTensor]: ...


class Modes(Protocol):
    """What a framework's `modes.py` gives: its modes that a caller may be in, put aside.

    `hindrance`: the name of what cannot be put aside; empty for nothing. `ordinary`: surrounds what runs or makes a
    model. `random_kept`: the framework's global generators are as they were afterwards.
    """

    def hindrance(self) -> str: ...
    def ordinary(self) -> AbstractContextManager[None]: ...
    def random_kept(self) -> AbstractContextManager[None]: ...


class Wing(SideWing, Protocol):
    """A wing's functions, as the rooms above use them. A model is whatever `build` returns.

    What changes a model returns the model to go on with: the same object in torch and NNX, a new one in Linen.
    """

    def build(
        self,
        model: Layer,
        *,
        seed: int = 0,
        dtype: str = "float32",
        device: str = "cpu",
        stream: Stream = "portable",
    ) -> Any: ...
    def initialize(
        self,
        model: Any,
        rules: Rule | Iterable[Rule],
        *,
        seed: int = 0,
        echo: Echo | None = None,
        stream: Stream = "portable",
    ) -> Any: ...
    def table(self, model: Any, inputs: Sequence[np.ndarray] | None = None) -> Table: ...
    def weights(self, model: Any) -> dict[str, np.ndarray]: ...
    def load(self, model: Any, weights: Mapping[str, np.ndarray]) -> Any: ...
    def call(self, model: Any, inputs: Sequence[np.ndarray]) -> np.ndarray: ...
    def value_and_gradients(
        self, model: Any, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> tuple[float, dict[str, np.ndarray]]: ...
    def site_gradients(
        self, model: Any, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> dict[str, tuple[Site, ...]]: ...
    def step(
        self,
        model: Any,
        inputs: Sequence[np.ndarray],
        targets: np.ndarray,
        *,
        learning_rate: float = 0.1,
        seed: int = 0,
    ) -> tuple[Any, float]: ...
    def identical(self, model: Any, one: str, other: str) -> bool: ...
    def sample(
        self, row: Row, *, seeds: Sequence[int], device: str = "cpu", stream: Stream = "portable"
    ) -> np.ndarray: ...
    def settings(self) -> dict[str, str]: ...


@runtime_checkable
class SelfAnswering(Protocol):
    """A side that brings its own functions: what was recorded of a model, say.

    wing: that of the model: `torch`, `linen`, `nnx` or `pytree`.
    is_factory: whether it stands for a factory. It is then called with a seed, and 0 gives itself.
    """

    wing: str
    is_factory: bool

    @property
    def side_wing(self) -> SideWing: ...
