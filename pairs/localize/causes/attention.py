"""Attention: what projections that both have become, computed with each number of heads, scale, mask and rotation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import numpy as np
from scipy.special import softmax

from ..gap import Cause, Gap
from .patterns import scale_text

_MOST_SIZE = 20_000
# The powers of the width of a head, or of all heads, that scores are taken by.
_SCALES = {"head": -0.5, "width": -0.5, "none": 0.0, "by the head's width": -1.0, "times the head's root": 0.5}
_BASES = (1e4, 5e5, 1e6)
_SOUGHT_ROTATIONS = ("", *(f"{style} {base:g}" for base in _BASES for style in ("halves", "neighbours")))


@dataclass(frozen=True)
class Attended:
    """A way to attend.

    hidden: what the scores do not see, in words. order: which projections are query, key and value.
    fused: the order of parts (t), heads (h) and features (d) in one array of all projections; empty for three arrays.
    split, merge: the order of heads and features in a projection, and in what comes out.
    grouped: how fewer keys than queries are spread. rotation: its style and base. axis: the softmax's.
    """

    heads: int
    scale: str = "head"
    hidden: str = ""
    order: tuple[int, ...] = (0, 1, 2)
    fused: str = ""
    split: str = "h d"
    merge: str = "h d"
    grouped: str = "each in a row"
    rotation: str = ""
    axis: int = -1


def attention(gap: Gap) -> Cause | None:
    """Both attend with the same projections, and the two ways to do it differ in one thing."""
    parts = _projections(gap)
    if not parts:
        return None
    shape = (*parts[0].shape[:-1], gap.reference.size // int(np.prod(parts[0].shape[:-1])))
    masks = _hidden(gap, shape)
    ours = next((way for way in _usual(parts, masks, shape[-1]) if _gives(way, parts, masks, gap.is_reference)), None)
    if ours is None:
        return None
    theirs = next(
        (way for way in _varied(ours, parts, masks, shape[-1]) if _gives(way, parts, masks, gap.is_port)), None
    )
    return _cause(ours, theirs, shape[-1]) if theirs else None


def _projections(gap: Gap) -> list[np.ndarray]:
    """The latest three arrays of the output's positions, or the latest one that is three times as wide."""
    size = gap.reference.size
    if size > _MOST_SIZE:
        return []
    found = [known.array.reshape(-1, *known.array.shape[-2:]) for known in gap.known if known.array.ndim in (2, 3)]
    if found and found[0].size == 3 * size and not found[0].shape[-1] % 3:
        return found[:1]
    latest = found[:3][::-1]
    if len(latest) < 3 or len({array.shape[:2] for array in latest}) > 1 or latest[0].size != size:
        return []
    return latest if latest[1].shape == latest[2].shape and not size % latest[1].size else []


def _hidden(gap: Gap, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What may be hidden of the scores (batch, 1, from, to): later positions, those that a mask names, or both."""
    batch, positions, _ = shape
    padded = {"": np.zeros((1, 1, 1, positions), bool)}
    for number, mask in enumerate(each for each in gap.masks if each.size == batch * positions):
        shown = mask.astype(bool).reshape(batch, 1, 1, positions)
        # Of a mask's two values either may hide.
        padded[f"masked positions#{number}, zeros"] = ~shown
        padded[f"masked positions#{number}, ones"] = shown
        padded[f"all from masked positions#{number}"] = ~shown.swapaxes(-1, -2)
    bands = {
        "": np.zeros((positions, positions), bool),
        "later positions": ~np.tri(positions, dtype=bool),
        "positions later than the next": ~np.tri(positions, k=1, dtype=bool),
        "later positions and itself": ~np.tri(positions, k=-1, dtype=bool),
        "earlier positions": ~np.tri(positions, dtype=bool).T,
    }
    return {
        " and ".join(text for text in (band, name) if text): bands[band] | padded[name]
        for band, name in product(bands, padded)
    }


def _usual(parts: list[np.ndarray], masks: Mapping[str, np.ndarray], width: int) -> Iterator[Attended]:
    """The ways in which a reference attends, the simplest first."""
    fused = ("t h d", "h t d", "h d t") if len(parts) == 1 else ("",)
    heads = [number for number in range(1, width + 1) if width % number == 0 and _fits(number, parts, width)]
    for rotation in _SOUGHT_ROTATIONS:
        for scale, hidden, layout, number in product(_SCALES, masks, fused, heads):
            if not rotation or (width // number) % 2 == 0:
                yield Attended(number, scale, hidden, fused=layout, rotation=rotation)


def _fits(heads: int, parts: list[np.ndarray], width: int) -> bool:
    return len(parts) == 1 or parts[1].shape[-1] % (width // heads) == 0


def _varied(ours: Attended, parts: list[np.ndarray], masks: Mapping[str, np.ndarray], width: int) -> Iterator[Attended]:
    """The ways that differ from one in a single thing."""
    options: dict[str, Any] = {
        "hidden": masks,
        "scale": _SCALES,
        "heads": [each for each in range(1, width + 1) if width % each == 0 and _fits(each, parts, width)],
        "order": list(permutations(range(3))) if len(parts) == 1 or parts[0].shape == parts[1].shape else _KEY_VALUE,
        "fused": ("t h d", "t d h", "h t d", "h d t", "d t h", "d h t") if ours.fused else (),
        "split": ("h d", "d h"),
        "merge": ("h d", "d h"),
        "grouped": ("each in a row", "all in turns"),
        "rotation": _rotations() if not width // ours.heads % 2 else (),
        "axis": (-1, -2),
    }
    for name, values in options.items():
        for value in values:
            way = replace(ours, **{name: value})
            if way != ours and not (way.rotation and width // way.heads % 2):
                # Other heads may go with the same scale, which then has another name.
                yield from [way] if name != "heads" else (replace(way, scale=scale) for scale in _SCALES)


_KEY_VALUE = [(0, 1, 2), (0, 2, 1)]


def _rotations() -> list[str]:
    changes = ("", " back", " from one")
    bases = (10.0, 100.0, 1e3, *_BASES)
    return ["", *(f"{style} {base:g}{how}" for style in ("halves", "neighbours") for base in bases for how in changes)]


def _gives(way: Attended, parts: list[np.ndarray], masks: Mapping[str, np.ndarray], matches: Any) -> bool:
    made = _attended(way, parts, masks[way.hidden])
    return matches(made.reshape(made.shape)) or (made.shape[0] == 1 and matches(made[0]))


def _attended(way: Attended, parts: list[np.ndarray], hidden: np.ndarray) -> np.ndarray:
    query, key, value = _split(way, parts)
    query, key = _turned(query, way.rotation, True), _turned(key, way.rotation, False)
    spread = np.repeat if way.grouped == "each in a row" else _in_turns
    key, value = (spread(each, query.shape[1] // each.shape[1], 1) for each in (key, value))
    head = query.shape[-1]
    factor = (head if way.scale != "width" else head * query.shape[1]) ** _SCALES[way.scale]
    # Not infinite: where all is hidden the frameworks, too, give the mean.
    scores = np.where(hidden, -1e30, factor * query @ key.swapaxes(-1, -2))
    mixed = softmax(scores, way.axis) @ value
    mixed = mixed.transpose((0, 2, 1, 3) if way.merge == "h d" else (0, 2, 3, 1))
    return mixed.reshape(*mixed.shape[:2], -1)


def _split(way: Attended, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Query, key and value, each (batch, head, position, feature)."""
    batch, positions, width = parts[0].shape
    if len(parts) == 1:
        lengths = {"t": 3, "h": way.heads, "d": width // 3 // way.heads}
        names = way.fused.split()
        whole = parts[0].reshape(batch, positions, *(lengths[name] for name in names))
        whole = whole.transpose(2 + names.index("t"), 0, 1, 2 + names.index("h"), 2 + names.index("d"))
        arrays = [each.reshape(batch, positions, -1) for each in whole]
        head = lengths["d"]
    else:
        arrays, head = parts, width // way.heads
    split = [_heads(array, head, way.split) for array in arrays]
    return [split[place] for place in way.order]


def _heads(array: np.ndarray, head: int, order: str) -> np.ndarray:
    batch, positions, width = array.shape
    if order == "h d":
        return array.reshape(batch, positions, width // head, head).transpose(0, 2, 1, 3)
    return array.reshape(batch, positions, head, width // head).transpose(0, 3, 1, 2)


def _in_turns(array: np.ndarray, times: int, axis: int) -> np.ndarray:
    return np.concatenate([array] * times, axis)


def _turned(array: np.ndarray, rotation: str, is_query: bool) -> np.ndarray:
    """Rotary positions: pairs of features, half a head apart or neighbours, turned by an angle for each position."""
    if not rotation:
        return array
    style, base, *how = rotation.split(" ", 2)
    head = array.shape[-1]
    first = 1 if is_query and how == ["from one"] else 0
    angles = (np.arange(array.shape[-2]) + first)[:, None] * float(base) ** (-np.arange(0, head, 2) / head)
    angles = -angles if is_query and how == ["back"] else angles
    cosines, sines = np.cos(angles), np.sin(angles)
    one, other = np.split(array, 2, -1) if style == "halves" else (array[..., ::2], array[..., 1::2])
    pair = one * cosines - other * sines, other * cosines + one * sines
    return np.concatenate(pair, -1) if style == "halves" else np.stack(pair, -1).reshape(array.shape)


def _cause(ours: Attended, theirs: Attended, width: int) -> Cause:
    if ours.hidden != theirs.hidden:
        one, other = (each.hidden.partition("#")[0] or "nothing" for each in (ours, theirs))
        if one == other:
            return Cause("mask", "the two read one mask the other way: what one hides the other shows")
        return Cause("mask", f"the reference hides {one} from the scores, the port {other}")
    if ours.heads != theirs.heads:
        return Cause("heads", f"the reference attends with {ours.heads} heads and the port with {theirs.heads}")
    if ours.scale != theirs.scale:
        one, other = (scale_text(_factor(each, width), (width // ours.heads, width), 1e-9) for each in (ours, theirs))
        return Cause("scale", f"the scores are taken {one} times in the reference and {other} times in the port")
    if ours.rotation != theirs.rotation:
        one, other = (each.rotation or "not at all" for each in (ours, theirs))
        text = f"queries and keys are turned by their places (rotary): {one} in the reference, {other} in the port"
        return Cause("rotary", text)
    if ours.order != theirs.order:
        return Cause("wiring", "the two take other projections for the query, the key and the value")
    if ours.axis != theirs.axis:
        return Cause("axis", "the port's softmax goes along the queries, the reference's along the keys")
    if ours.grouped != theirs.grouped:
        return Cause(
            "heads", f"keys are spread over the queries {ours.grouped} in the reference, {theirs.grouped} in the port"
        )
    name = next(each for each in ("fused", "split", "merge") if getattr(ours, each) != getattr(theirs, each))
    return Cause(
        "axis order",
        f"the features are {getattr(ours, name)!r} in the reference and {getattr(theirs, name)!r} in the port"
        " (t: query, key and value, h: heads, d: a head's features)",
    )


def _factor(way: Attended, width: int) -> float:
    return (width if way.scale == "width" else width // way.heads) ** _SCALES[way.scale]
