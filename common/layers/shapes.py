"""What layers ask of the shapes of their inputs, as far as those are known."""

from __future__ import annotations

from ..errors import SpecError
from ..spec import Features, Layer


def axes(features: Features, layer: Layer, path: str, *names: str) -> tuple[int | None, ...]:
    """The lengths of the axes behind the batch, None where they are not known.

    Raises:
        SpecError: there are not as many as `names`.
    """
    known = features[1:] if features[:1] == (Ellipsis,) else features
    if len(known) > len(names) or (known is features and len(known) < len(names)):
        raise SpecError(path, f"an input ({', '.join(('batch', *names))}) of {layer.kind}", shown(features))
    return (None,) * (len(names) - len(known)) + tuple(known)


def length(features: Features, layer: Layer, path: str) -> int | None:
    """The length of axis 1; raises SpecError if there is none."""
    if not features:
        raise SpecError(path, f"an input with an axis 1 for {layer.kind}", "none")
    return None if features[0] is Ellipsis else features[0]


def fits(given: Features, expected: Features) -> bool:
    """Whether two shapes can be the same."""
    if Ellipsis in given:
        return True
    return len(given) == len(expected) and all(a == b or None in (a, b) for a, b in zip(given, expected, strict=True))


def shown(features: Features) -> str:
    """A shape in words, for a message."""
    lengths = ("..." if axis is Ellipsis else "?" if axis is None else str(axis) for axis in features)
    return f"({', '.join(('batch', *lengths))})"
