"""Attention: what three projections that both have become, computed with each scale, mask and number of heads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from .gap import Cause, Gap
from .scales import scale_text

_MOST_SIZE = 100_000


class Attended(NamedTuple):
    """A way to attend. scale: of the scores. hidden: what the scores do not see, in words."""

    heads: int
    scale: float
    hidden: str
    order: tuple[int, ...]


def attention(gap: Gap) -> Cause | None:
    """Both attend with the same three projections, and with another scale, mask or number of heads."""
    parts = _projections(gap)
    if not parts:
        return None
    ours = theirs = None
    for way, flat in _ways(parts, _hidden(gap, parts[0])):
        made = flat.reshape(gap.reference.shape)
        ours = way if ours is None and gap.is_reference(made) else ours
        theirs = way if theirs is None and gap.is_port(made) else theirs
        if ours and theirs:
            return _cause(ours, theirs, parts[0].shape[-1])
    return None


def _projections(gap: Gap) -> list[np.ndarray]:
    """The latest three arrays of one shape (positions, features), with or without a batch, of the output's size."""
    size, width = gap.reference.size, gap.reference.shape[-1]
    found = [known.array for known in gap.known if known.array.size == size and known.array.ndim >= 2][:3]
    if len(found) < 3 or len({array.shape for array in found}) > 1 or size > _MOST_SIZE:
        return []
    shape = found[0].shape
    if gap.reference.ndim == len(shape) - 1 and width == shape[-1] * shape[-2]:
        found = [array.reshape(gap.reference.shape) for array in found]
    flat = [array.reshape(-1, *array.shape[-2:]) for array in found]
    return flat[::-1] if found[0].shape == gap.reference.shape else []


def _hidden(gap: Gap, part: np.ndarray) -> dict[str, np.ndarray]:
    """What may be hidden of the scores: nothing, later positions, those that a mask names, or both."""
    batch, positions, _ = part.shape
    given = [mask.astype(bool).reshape(batch, 1, 1, positions) for mask in gap.masks if mask.size == batch * positions]
    masks = [("", np.zeros((1, 1, 1, positions), bool))]
    masks += [("masked positions", each) for shown in given for each in (~shown, shown)]
    later = ~np.tri(positions, dtype=bool)
    found: dict[str, np.ndarray] = {}
    for number, (text, mask) in enumerate(masks):
        # Of a mask's two values either may hide; the key tells the readings apart and is cut off again.
        found[f"{text}#{number}"] = mask
        both = " and ".join(part for part in ("later positions", text) if part)
        found[f"{both}#{number}"] = mask | later
    return found


def _ways(parts: list[np.ndarray], hidden: dict[str, np.ndarray]) -> Iterator[tuple[Attended, np.ndarray]]:
    width = parts[0].shape[-1]
    for heads in (number for number in range(1, width + 1) if width % number == 0):
        head = width // heads
        for scale in dict.fromkeys((head**-0.5, width**-0.5, 1.0, 1 / head, head**0.5)):
            for order in permutations(range(3)):
                query, key, value = (_split(parts[place], heads) for place in order)
                for name, mask in hidden.items():
                    yield Attended(heads, scale, name, order), _attended(query, key, value, scale, mask)


def _split(array: np.ndarray, heads: int) -> np.ndarray:
    batch, positions, width = array.shape
    return array.reshape(batch, positions, heads, width // heads).swapaxes(1, 2)


def _attended(query: np.ndarray, key: np.ndarray, value: np.ndarray, scale: float, hidden: np.ndarray) -> np.ndarray:
    # Not infinite: where all is hidden the frameworks, too, give the mean.
    scores = np.where(hidden, -1e30, scale * query @ key.swapaxes(-1, -2))
    mixed = (softmax(scores, -1) @ value).swapaxes(1, 2)
    return mixed.reshape(*mixed.shape[:2], -1)


def _cause(ours: Attended, theirs: Attended, width: int) -> Cause | None:
    if ours.hidden != theirs.hidden:
        one, other = (each.hidden.partition("#")[0] or "nothing" for each in (ours, theirs))
        if one == other:
            return Cause("mask", "the two read one mask the other way: what one hides the other shows")
        return Cause("mask", f"the reference hides {one} from the scores, the port {other}")
    if ours.heads != theirs.heads:
        return Cause("heads", f"the reference attends with {ours.heads} heads and the port with {theirs.heads}")
    if ours.scale != theirs.scale:
        one, other = (scale_text(each.scale, (width // ours.heads, width), 1e-9) for each in (ours, theirs))
        return Cause("scale", f"the scores are taken {one} times in the reference and {other} times in the port")
    if ours.order != theirs.order:
        return Cause("wiring", "the two take other projections for the query, the key and the value")
    return None
