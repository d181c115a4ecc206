"""Sides whose weight norms are seen as their products: a pair under a map that has the products of one side's factors.

The side runs its own program. In the place of a weight it is given a direction along the weight and the magnitude that
makes the two that weight, and its gradient by the weight is told by those by the two; see `normed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from ..common import paths
from ..common.tables import counted
from ..common.wing import (
    Advance,
    CallRecorder,
    Gradients,
    Optimizer,
    PairError,
    Pass,
    Passer,
    Probe,
    Prober,
    RoundTrip,
    SelfAnswering,
    SideWing,
    Site,
    SiteProber,
    Stepper,
    StoredTensor,
    Tape,
    TapeArrays,
    Taper,
    TapeUses,
    Trace,
    Tracer,
    Trainer,
    Training,
    Updated,
    Updater,
    is_floating,
)
from .closeness import relative_error
from .maps import Factors, Map, product, spelled, weight_norms
from .normed import Arrays, Norm
from .side import Side

# How near a value of a pass is to the weight that it is: in units of its type's rounding, and at the least.
_ROUNDINGS, _LEAST = 16.0, 2.0**-20


def with_products(reference: Side, port: Side, made: Map) -> tuple[Side, Side, Map]:
    """The sides with products in the place of the factors whose products the map has, and the map about these alone.

    Raises:
        PairError: a side that has such factors is a record.
    """
    rows = tuple(replace(row, reference_factors=(), port_factors=()) for row in made.rows)
    about = made if rows == made.rows else replace(made, rows=rows)
    return _seen(reference, made, made.by_reference), _seen(port, made, made.by_port), about


def norms_of(side: Side) -> Mapping[str, Norm]:
    """How a side stores what is seen as a product, by the products' paths."""
    return side.wing.norms if isinstance(side.wing, Merging) else {}


def stored_as_it_is(side: Side) -> Side:
    """The side with its factors."""
    return replace(side, wing=side.wing.inner, _ready={}) if isinstance(side.wing, Merging) else side


def told_norms(side: Side) -> str:
    """That a side's weight norms are seen as their products; empty where they are not."""
    found = norms_of(side)
    if not found:
        return ""
    other = "port" if side.role == "reference" else "reference"
    many = f"{counted(len(found), 'weight norm')}, such as that of {min(found)}"
    return (
        f"the {side.role} has {many}, where the {other} has the products: these are compared. "
        f"How the {side.role} trains its magnitudes and directions is another thing"
    )


def _seen(side: Side, made: Map, own: Mapping[str, Any]) -> Side:
    shapes = {path: each.array.shape for path, each in side.tensors.items()}
    found = {path: factors for path, factors in weight_norms(shapes, made).items() if path in own}
    if not found:
        return side
    if isinstance(side.model, SelfAnswering):
        expected = f"a {side.role} that runs at any values, where the map has the products of its weight norms"
        remedy = "Record the model with these as weights (torch's remove_weight_norm, remove_parametrizations)."
        raise PairError(side.role, expected, "a record, of runs at a magnitude and a direction each", remedy)
    return seen_as_products(side, found)


def seen_as_products(side: Side, factors: Mapping[str, Factors]) -> Side:
    """The side, live, with the products of these factors in their place. factors: of its tensors, by product's path."""
    norms = {path: Norm.of(each, side.tensors, side.wing.NAME) for path, each in factors.items()}
    return replace(side, wing=Merging(side.wing, norms), _ready={})


class Merging:
    """The functions of a `SideWing` for a side of which products are seen. inner: its own. norms: by product's path."""

    def __init__(self, inner: SideWing, norms: Mapping[str, Norm]) -> None:
        self.inner, self.norms = inner, norms
        self.NAME = inner.NAME
        self._products = {path: name for name, norm in norms.items() for path in norm.factors}

    def stored_tensors(self, model: Any) -> dict[str, StoredTensor]:
        """The model's tensors, products at the places of their directions."""
        return self._merged(self.inner.stored_tensors(model))

    def with_stored_tensors(self, model: Any, arrays: Arrays) -> Any:
        """The model with factors of the products that are given."""
        return self.inner.with_stored_tensors(model, self._parted(arrays))

    # What makes a run ready is given on as it is: `SideWing` says what it is.

    def prober(self, model: Any, *given: Any, **named: Any) -> Prober:
        run = self.inner.prober(model, *given, **named)

        def probe(weights: Arrays, cotangents: Any, *, gradients: bool = True, rounded: int = 0) -> Probe:
            parts = self._parted(weights)
            found = run(parts, cotangents, gradients=gradients, rounded=rounded)
            return found._replace(gradients=self._by_products(model, parts, found.gradients))

        return probe

    def tracer(self, *given: Any, **named: Any) -> Tracer:
        run = self.inner.tracer(*given, **named)

        def trace(weights: Arrays, recorder: Callable[..., CallRecorder] = CallRecorder) -> tuple[Trace, ...]:
            return tuple(self._traces(run(self._parted(weights), recorder)))

        return trace

    def taper(self, *given: Any, **named: Any) -> Taper:
        run = self.inner.taper(*given, **named)

        def tape(weights: Arrays, *, with_rules: bool = False) -> Tape:
            return self._tape(run(self._parted(weights), with_rules=with_rules), weights)

        return tape

    def trainer(self, *given: Any, **named: Any) -> Trainer:
        run = self.inner.trainer(*given, **named)

        def train(weights: Arrays, targets: Any, optimizer: Optimizer, steps: int) -> Training:
            return self._trained(run(self._parted(weights), targets, optimizer, steps))

        return train

    def stepper(self, *given: Any, **named: Any) -> Stepper:
        run = self.inner.stepper(*given, **named)
        return lambda weights, targets, steps: self._trained(run(self._parted(weights), targets, steps))

    def updater(self, *given: Any, **named: Any) -> Updater:
        """Factors get zeros: by which steps they would make their product another one is not asked."""
        ready = self.inner.updater(*given, **named)

        def begun(weights: Arrays) -> Advance:
            parts = self._parted(weights)
            advance = ready(parts)

            def step(given: Gradients) -> Updated:
                others = {path: array for path, array in given.arrays.items() if path not in self.norms}
                factors = [path for name in self.norms if name in given.arrays for path in self.norms[name].factors]
                zeros = {path: np.zeros(np.shape(parts[path])) for path in factors}
                found = advance(given._replace(arrays=others | zeros))
                return Updated(self._joined(found.parameters), self._joined(found.averages))

            return step

        return begun

    def passer(self, *given: Any, **named: Any) -> Passer:
        run = self.inner.passer(*given, **named)

        def made(weights: Arrays, *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
            found = run(self._parted(weights), training=training, dropout=dropout, seed=seed)
            return found._replace(changed=self._named(found.changed))

        return made

    def round_trips(self, model: Any) -> Iterator[RoundTrip]:
        for trip in self.inner.round_trips(model):
            yield trip._replace(stored_tensors=self._merged(trip.stored_tensors))

    def site_prober(self, *given: Any, **named: Any) -> SiteProber:
        run = self.inner.site_prober(*given, **named)

        def probe(weights: Arrays, cotangents: Any, paths: Iterable[str]) -> dict[str, tuple[Site, ...]]:
            parts, wanted = self._parted(weights), tuple(paths)
            there = [path for path in wanted if path not in self.norms or self.norms[path].is_trained]
            asked = [each for path in there for each in (self.norms[path].factors if path in self.norms else (path,))]
            found = run(parts, cotangents, asked)
            return {path: self._sites(path, parts, found) if path in self.norms else found[path] for path in wanted}

        return probe

    def draws(self, *given: Any, **named: Any) -> dict[str, np.ndarray]:
        """Of a product as many as there are of both factors."""
        return self._joined(
            self.inner.draws(*given, **named),
            lambda magnitudes, directions: np.stack(
                [product(*each) for each in zip(magnitudes, directions, strict=False)]
            ),
        )

    def devices(self) -> tuple[str, ...]:
        return self.inner.devices()

    def running(self, *given: Any, **named: Any) -> AbstractContextManager[None]:
        return self.inner.running(*given, **named)

    def own_gradients(self, *given: Any, **named: Any) -> Callable[[Arrays], dict[str, np.ndarray]]:
        return self.inner.own_gradients(*given, **named)

    def sharded_tensors(self, model: Any, arrays: Arrays) -> dict[str, StoredTensor]:
        return self._merged(self.inner.sharded_tensors(model, self._parted(arrays)))

    def _parted(self, weights: Arrays) -> dict[str, Any]:
        """The arrays with factors of the products."""
        found: dict[str, Any] = {}
        for path, array in weights.items():
            found.update(self.norms[path].parts(array) if path in self.norms else {path: array})
        return found

    def _joined(
        self, arrays: Mapping[str, np.ndarray], join: Callable[[Any, Any], np.ndarray] = product
    ) -> dict[str, np.ndarray]:
        """The arrays with the products of the factors that are there."""
        found = {path: array for path, array in arrays.items() if path not in self._products}
        for path, norm in self.norms.items():
            if arrays.keys() >= {*norm.factors}:
                found[path] = join(*(arrays[factor] for factor in norm.factors))
        return found

    def _by_products(self, model: Any, given: Arrays, gradients: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not gradients:
            return {}
        own = self.inner.stored_tensors(model) if any(path not in given for path in self._products) else {}
        parts = {path: given[path] if path in given else own[path].array for path in self._products}
        found = {path: array for path, array in gradients.items() if path not in self._products}
        return found | {path: norm.gradient(parts, gradients) for path, norm in self.norms.items() if norm.is_trained}

    def _named(self, paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._products.get(path, path) for path in paths))

    def _merged(self, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        found: dict[str, StoredTensor] = {}
        for path, each in tensors.items():
            name = self._products.get(path)
            if name is None:
                found[path] = each
            elif path == self.norms[name].factors.direction:
                found[name] = _product_of(name, tensors[self.norms[name].factors.magnitude], each)
        return found

    def _trained(self, found: Training) -> Training:
        return found._replace(stored_tensors=self._merged(found.stored_tensors))

    def _sites(self, path: str, given: Arrays, found: Mapping[str, tuple[Site, ...]]) -> tuple[Site, ...]:
        """Those of the weight norm, each the sites of both factors."""
        norm = self.norms[path]
        magnitudes, directions = (found.get(factor, ()) for factor in norm.factors)
        if len(magnitudes) != len(directions):
            return ()
        return tuple(
            Site(
                each.operation,
                norm.gradient(given, dict(zip(norm.factors, (one.gradient, each.gradient), strict=True))),
            )
            for one, each in zip(magnitudes, directions, strict=True)
        )

    def _traces(self, traces: Sequence[Trace]) -> Iterator[Trace]:
        """The calls, without those that only make a product of its factors."""
        inside: int | None = None
        for trace in traces:
            if inside is not None and trace.depth > inside:
                continue
            subtree = self._named(trace.subtree)
            inside = trace.depth if self._makes_product(trace, subtree) else None
            if inside is None:
                yield replace(trace, holds=self._named(trace.holds), subtree=subtree)

    def _makes_product(self, trace: Trace, subtree: tuple[str, ...]) -> bool:
        return not trace.inputs and len(subtree) == 1 and subtree[0] in self.norms

    def _tape(self, tape: Tape, weights: Arrays) -> Tape:
        """The tape on which products are parameters, and their factors are none that a map knows."""
        # A framework may keep the direction under the tensor's own name.
        values = [
            replace(each, kind="constant") if each.kind == "parameter" and each.operation in self._products else each
            for each in tape.values
        ]
        for path in self.norms.keys() & weights.keys():
            weight = np.asarray(weights[path], np.float64)
            made = (place for place, each in enumerate(values) if each.kind == "made" and _is(each.array, weight))
            place = next(made, None)
            if place is not None:
                values[place] = replace(values[place], kind="parameter", operation=path, made_of=())

        def settle(instead: TapeArrays, uses: TapeUses) -> Tape:
            return self._tape(tape.settle(instead, uses), weights)

        return tape._replace(values=tuple(values), settle=settle)


def _is(array: np.ndarray, weight: np.ndarray) -> bool:
    if array.shape != weight.shape or not is_floating(array):
        return False
    near = max(_ROUNDINGS * float(ml_dtypes.finfo(array.dtype).eps), _LEAST)
    return relative_error(array.astype(np.float64), weight) <= near


def _product_of(path: str, magnitude: StoredTensor, direction: StoredTensor) -> StoredTensor:
    known = {other: name for each in (magnitude.path, *magnitude.aliases) for name, other in spelled(each)}
    return StoredTensor(
        path,
        product(magnitude.array, direction.array),
        direction.trainable or magnitude.trainable,
        magnitude.saved and direction.saved,
        tuple(known.get(alias, alias) for alias in direction.aliases),
        paths.split(path),
        magnitude.frozen and direction.frozen,
    )
