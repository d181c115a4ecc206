"""How a shape flows through a spec: unknown widths are filled in, and layers that do not fit their input are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import paths
from ..errors import InitializerError, SpecError
from .layer import UNKNOWN, Features, Layer
from .program import Argument, Name, Program, Step, bound, inputs_of
from .references import References, Shared, Tied


def flow(spec: Layer, *inputs: Features, check_references: bool = True) -> tuple[Layer, Features]:
    """Send shapes through the model: the spec with every unknown width filled in, and the output's shape.

    inputs: each input's shape without the batch axis; all of them UNKNOWN if none is given.
    check_references: False while a part of a model is looked at, whose references may lead out of it.

    Raises:
        SpecError: widths that do not chain; its path is the layer that cannot take its input.
        PathError: a reference that leads nowhere.
    """
    walk = _Flow(References(spec), check_references)
    out = walk.through("", spec, inputs or (UNKNOWN,) * inputs_of(spec)[0])

    def copy(path: str, layer: Layer) -> Layer:
        pairs = [(name, copy(paths.join(path, name), child)) for name, child in layer.children()]
        return layer.with_children(pairs) if layer.container else walk.filled.get(path, layer)

    return (copy("", spec) if walk.filled else spec), out


class _Flow:
    def __init__(self, references: References, strict: bool) -> None:
        self.references = references
        self.strict = strict
        self.filled: dict[str, Layer] = {}

    def through(self, path: str, layer: Layer, inputs: Sequence[Features]) -> Any:
        if layer.program is not None:
            return self._program(path, layer.program, inputs)
        least, most = inputs_of(layer)
        if not least <= len(inputs) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise SpecError(path, f"{wanted} inputs of {layer.kind}", str(len(inputs)))
        if isinstance(layer, Shared):
            return self._shared(path, layer, inputs)
        if isinstance(layer, Tied):
            return self._tied(path, layer, inputs)
        if layer.container:
            if path:
                raise SpecError(path, "a layer with a forward", layer.kind, "Call its children in a Block's forward.")
            return UNKNOWN
        with _under(path):
            given = self.filled.get(path, layer).given(*inputs[:1]) if inputs else layer
        if given != layer:
            self.filled[path] = given
        return given.outs(tuple(inputs), path)

    def _program(self, path: str, program: Program, inputs: Sequence[Features]) -> Any:
        values = bound(program, inputs, path)
        for step in program.steps:
            given = [values[each.text] if isinstance(each, Name) else _literal(each) for each in step.arguments]
            if any(map(_are_several, given)):
                remedy = "Give each a name: a, b = ..."
                raise SpecError(path, f"one value for {step.operation}", "what gives several together", remedy)
            if not step.path:
                values[step.targets[0]] = _combined(path, step, given)
                continue
            target = paths.join(path, *step.path)
            outcome = self.through(target, self.references.nodes[target], _present(given))
            outcomes = (outcome,) if len(step.targets) == 1 else _several(outcome, step, target)
            values.update(zip(step.targets, outcomes, strict=True))
        return values[program.result.text] if isinstance(program.result, Name) else _literal(program.result)

    def _shared(self, path: str, layer: Shared, inputs: Sequence[Features]) -> Any:
        target = self._owner(path, layer.of)
        if target is None:
            return UNKNOWN
        try:
            return self.through(target, self.references.nodes[target], inputs)
        except SpecError as error:
            where = path + error.path[len(target) :] if paths.is_under(error.path, target) else error.path
            raise SpecError(where, error.expected, error.found, error.remedy) from None

    def _tied(self, path: str, layer: Tied, inputs: Sequence[Features]) -> Any:
        owners = {name: owner for name, of in layer.aliases.items() if (owner := self._owner(path, of)) is not None}
        if len(owners) < len(layer.aliases):
            return UNKNOWN
        target = owners["weight"]
        layer.check_owners({name: self.references.nodes[owner] for name, owner in owners.items()}, path)
        with _under(path):
            own = layer.tied_to(self.references.nodes[target], path)
        try:
            return own.outs(tuple(inputs), path)
        except SpecError as error:
            remedy = f"A {layer.kind} takes the width of {target!r}, its owner."
            raise SpecError(path, error.expected, error.found, remedy) from None

    def _owner(self, path: str, of: str) -> str | None:
        """The path that holds the parameters; None if it lies outside of the part that is looked at."""
        return self.references.resolve(path, of) if self.strict else self.references.follow(path, of)[2]


def _literal(value: Argument) -> Features | None:
    return None if value is None else ()


def _present(given: Sequence[Features | None]) -> tuple[Features, ...]:
    """The inputs up to the last that is given; one that is left out before it is of unknown shape."""
    count = max((number + 1 for number, each in enumerate(given) if each is not None), default=0)
    return tuple(UNKNOWN if each is None else each for each in given[:count])


def _are_several(features: Any) -> bool:
    return features is not None and any(isinstance(axis, tuple) for axis in features)


def _several(outcome: Any, step: Step, path: str) -> Sequence[Features]:
    if outcome == UNKNOWN:
        return [UNKNOWN] * len(step.targets)
    if not _are_several(outcome) or len(outcome) != len(step.targets):
        found = str(len(outcome)) if _are_several(outcome) else "one"
        raise SpecError(path, f"{len(step.targets)} values, one for each name on the left", found)
    return outcome


def _combined(path: str, step: Step, given: Sequence[Features | None]) -> Features:
    """The shape of a sum or product, whose arrays are stretched along axes of length 1."""
    if None in given:
        raise SpecError(path, f"two values for {step.operation}", "an input that is None", "Give the input.")
    one, other = (each or () for each in given)
    rank = min(len(one), len(other))
    longer = one if len(one) >= len(other) else other
    axes: list[Any] = list(longer[: len(longer) - rank])
    for a, b in zip(one[len(one) - rank :], other[len(other) - rank :], strict=True):
        if isinstance(a, int) and isinstance(b, int) and a != b and 1 not in (a, b):
            shapes = f"{_shown(one)} and {_shown(other)}"
            raise SpecError(path, f"shapes that {step.operation} can combine", shapes, "Make their widths equal.")
        if Ellipsis in (a, b):
            axes.append(Ellipsis)
        else:
            axes.append(b if a == 1 or a is None else a)
    return UNKNOWN if Ellipsis in axes[1:] else tuple(axes)


def _shown(features: Features) -> str:
    return "(" + ", ".join("..." if axis is Ellipsis else "?" if axis is None else str(axis) for axis in features) + ")"


@contextmanager
def _under(path: str) -> Iterator[None]:
    """Name the layer at `path` in the error of an initializer that does not fit it."""
    try:
        yield
    except InitializerError as error:
        where = paths.join(path, error.path)
        raise InitializerError(where, error.expected, error.found, error.remedy) from None
