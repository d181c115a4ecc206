"""Which single mistake in the use of weights explains a wrong output: found by undoing it in what the port is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, combinations, islice, permutations

import numpy as np

from ...common import paths
from .diagnosis import Diagnosis, other_orders

Weights = Mapping[str, np.ndarray]
# A guess is a forward pass of the port.
_MOST = 300
_LONGEST = 64


def intervene(
    weights: Weights, used: Sequence[str], agrees: Callable[[Weights], bool], features: int = -1
) -> Diagnosis | None:
    """The mistake, and a sentence; None where no guess makes the outputs agree.

    weights: the port's. used: the paths of those that may be used wrongly.
    features: the axis of what a layer gives, in its kernel and its bias: the first of PyTorch's, the last of Flax's.
    agrees: whether the outputs are right once the port is given these weights in the place of its own.

    A matrix that is used transposed is right when it is given transposed; two tensors that are mixed up are right when
    they are given swapped; and gates or heads that are taken in another order, when they are given in that order. The
    order of a rotation is that of the queries and keys of all layers.
    """
    held = {path: weights[path] for path in used if path in weights}
    for diagnosis, changed in chain(islice(_guesses(held), _MOST), islice(_rotations(weights, features), _MOST)):
        if agrees({**weights, **changed}):
            return diagnosis
    return None


def _guesses(held: Weights) -> Iterator[tuple[Diagnosis, Weights]]:
    yield from _axes(held)
    yield from _modules(held)
    for one, other in combinations(held, 2):
        if held[one].shape == held[other].shape:
            words = f"{one} and {other} are swapped: given swapped, the outputs agree"
            yield Diagnosis("swapped", words), {one: held[other], other: held[one]}
    yield from _features(held)


def _axes(held: Weights) -> Iterator[tuple[Diagnosis, Weights]]:
    for path, array in held.items():
        for order in other_orders(array.shape):
            words = f"{path} is used with its axes in the order {order}: given so, the outputs agree"
            yield Diagnosis("transposed", words), {path: np.ascontiguousarray(array.transpose(order))}
        if array.ndim > 2:
            ways = [axes for count in (1, 2) for axes in combinations(range(array.ndim - 2), count)]
            for axes in ways:
                words = f"{path} is used backwards along the axes {axes}: given so, the outputs agree"
                yield Diagnosis("reversed", words), {path: np.ascontiguousarray(np.flip(array, axes))}


def _modules(held: Weights) -> Iterator[tuple[Diagnosis, Weights]]:
    """Two modules, each with all that it holds."""
    groups = _grouped(held)
    for one, other in combinations(groups, 2):
        names = {path.removeprefix(one): path.removeprefix(one) for path in groups[one]}
        shapes = [{path.removeprefix(each): held[path].shape for path in groups[each]} for each in (one, other)]
        if len(names) > 1 and shapes[0] == shapes[1]:
            words = f"{one} and {other} are swapped: given each other's tensors, the outputs agree"
            given = {f"{one}{name}": held[f"{other}{name}"] for name in names}
            yield Diagnosis("swapped", words), given | {f"{other}{name}": held[f"{one}{name}"] for name in names}


def _grouped(held: Weights) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in held:
        groups.setdefault(paths.parent(path), []).append(path)
    return groups


def _features(held: Weights) -> Iterator[tuple[Diagnosis, Weights]]:
    """The output features of one module, or of several beside each other, in another order of their parts."""
    groups = list(_grouped(held).items())
    outer = {
        paths.parent(name): [
            path for other, each in groups if paths.parent(other) == paths.parent(name) for path in each
        ]
        for name, _ in groups
    }
    for name, members in (*groups, *outer.items()):
        lengths = {held[path].shape[-1] for path in members}
        length = max(lengths)
        if length > _LONGEST or len(lengths) > 1:
            continue
        for cause, words, order in _orders(length):
            changed = {path: np.ascontiguousarray(held[path][..., order]) for path in members}
            yield Diagnosis(cause, f"{name}: the features are taken {words}; given so, the outputs agree"), changed


def _rotations(weights: Weights, axis: int) -> Iterator[tuple[Diagnosis, Weights]]:
    """Two layers that stand beside each other, in every block, whose features one side rotates by halves of a head and
    the other one by neighbouring pairs."""
    kinds: dict[str, list[str]] = {}
    for path in weights:
        kinds.setdefault(re.sub(r"\d+", "#", paths.parent(path)), []).append(path)
    layers = [name for name, members in kinds.items() if any(weights[path].ndim > 1 for path in members)]
    for one, other in combinations(layers, 2):
        members = [*kinds[one], *kinds[other]]
        lengths = [weights[path].shape[axis] for path in members if weights[path].ndim]
        if paths.parent(one) != paths.parent(other) or len(lengths) < len(members):
            continue
        for half in range(2, min(lengths) // 2 + 1):
            if any(length % (2 * half) for length in lengths):
                continue
            for sizes, ways in (((2, half), ("halves", "pairs")), ((half, 2), ("pairs", "halves"))):
                changed = {path: _with_heads(weights[path], axis, sizes) for path in members}
                words = (
                    f"rotary positions: {one} and {other} give features that the reference rotates in {ways[0]} of a "
                    f"head of {2 * half} and the port in {ways[1]}; given in the other order, the outputs agree"
                )
                yield Diagnosis("rotary order", words), changed


def _with_heads(array: np.ndarray, axis: int, sizes: tuple[int, int]) -> np.ndarray:
    """The array with what is in each head, along an axis, taken as two axes that change places."""
    length = array.shape[axis]
    order = np.arange(length).reshape(-1, *sizes).swapaxes(1, 2).ravel()
    return np.ascontiguousarray(np.take(array, order, axis))


def _orders(length: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Two, three or four blocks in another order, and the axes of two or three factors in another order."""
    whole = np.arange(length)
    for count in (2, 3, 4):
        if length % count == 0 and length > count:
            for order in islice(permutations(range(count)), 1, None):
                words = f"in blocks in the order {order}"
                yield "block order", words, whole.reshape(count, -1)[list(order)].ravel()
    factors = [(one, length // one) for one in range(2, length) if length % one == 0]
    triples = [(one, *rest) for one, more in factors for rest in _pairs(more)]
    for sizes in (*factors, *triples):
        for order in islice(permutations(range(len(sizes))), 1, None):
            yield "axis order", f"as {sizes} with the axes {order}", whole.reshape(sizes).transpose(order).ravel()


def _pairs(length: int) -> list[tuple[int, int]]:
    return [(one, length // one) for one in range(2, length) if length % one == 0]
