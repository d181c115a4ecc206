"""Factories: the tensors of the models that one makes for many seeds. No framework is imported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .runs import PairError
from .stored import StoredTensor

# The tensors of a factory's model for one seed, in memory of their own.
Made = Callable[[int], Mapping[str, StoredTensor]]
# The same for many seeds at once, `(seeds, *shape)` for the paths that are asked for; None where that cannot be done.
Together = Callable[[Sequence[int], Mapping[str, np.ndarray]], dict[str, np.ndarray] | None]

# A tensor of more different values among this many is no mask and no identity.
_LOOKED_AT = 4096


def drawn(
    made: Made, seeds: Sequence[int], target: int | None = None, together: Together | None = None
) -> dict[str, np.ndarray]:
    """Every tensor by its path, `(draws, *shape)`; draw i is that of `seeds[i]`.

    target: how many entries of a tensor are enough. It is then kept from as many of the first seeds as give that many,
        from two at least; one that is the same for the first two, bit by bit, is kept from those alone. No more models
        are made than that takes. Without it every tensor is kept from every seed.
    together: given the tensors of the first seeds, since it must repeat them.

    Raises:
        PairError: no seeds; a factory that ignores its seed, or gives another structure for another one.
    """
    if not seeds:
        raise PairError("", "at least one seed", "none", "Two or more tell a random tensor from a constant.")
    kept = [_arrays(made, seed) for seed in seeds[:2]]
    for seed, other in zip(seeds[1:2], kept[1:], strict=True):
        _check_alike(kept[0], other, seeds[0], seed)
    first = {path: native.array for path, native in kept[0].items()}
    stacks = {path: [stored_tensors[path].array for stored_tensors in kept] for path in first}
    if len(kept) == 2 and seeds[0] != seeds[1]:
        _check_varied(kept[0], kept[1], seeds)
    wanted = {path: _wanted(arrays, len(seeds), target) for path, arrays in stacks.items()}
    most = max(wanted.values(), default=0)
    if most > len(kept):
        short = {path: array for path, array in first.items() if wanted[path] > len(kept)}
        many = together(seeds[:most], short) if together else None
        if many is not None and _repeats(many, stacks):
            return {path: _joined(stacks[path], many.get(path), wanted[path]) for path in first}
        _one_by_one(made, seeds[:most], kept[0], stacks, wanted)
    return {path: np.stack(arrays) for path, arrays in stacks.items()}


def _arrays(made: Made, seed: int) -> Mapping[str, StoredTensor]:
    stored_tensors = made(seed)
    if not stored_tensors:
        raise PairError("", "a factory of models with tensors", f"a model without one for seed {seed}")
    return stored_tensors


def _one_by_one(
    made: Made,
    seeds: Sequence[int],
    reference: Mapping[str, StoredTensor],
    stacks: dict[str, list[np.ndarray]],
    wanted: Mapping[str, int],
) -> None:
    for number, seed in enumerate(seeds[2:], start=2):
        stored_tensors = _arrays(made, seed)
        _check_alike(reference, stored_tensors, seeds[0], seed)
        for path, arrays in stacks.items():
            if number < wanted[path]:
                arrays.append(stored_tensors[path].array)


def _wanted(arrays: Sequence[np.ndarray], most: int, target: int | None) -> int:
    if target is None or most < 2:
        return most
    if _same(arrays[0], arrays[1]):
        return 2
    return min(most, max(2, math.ceil(target / max(1, arrays[0].size))))


def _check_alike(one: Mapping[str, StoredTensor], other: Mapping[str, StoredTensor], seed: int, another: int) -> None:
    expected, remedy = "a factory whose models have one structure", "A seed may change values, and nothing else."
    for mine, theirs, has, lacks in ((one, other, seed, another), (other, one, another, seed)):
        for path in mine:
            if path not in theirs:
                raise PairError("", expected, f"{path} for seed {has} and none for seed {lacks}", remedy)
    for path, native in one.items():
        found = other[path].array
        if found.shape != native.array.shape or found.dtype != native.array.dtype:
            words = [f"{array.dtype} of shape {array.shape}" for array in (native.array, found)]
            raise PairError("", expected, f"{path} as {words[0]} for seed {seed} and {words[1]} for {another}", remedy)


def _check_varied(one: Mapping[str, StoredTensor], other: Mapping[str, StoredTensor], seeds: Sequence[int]) -> None:
    """Refuse a factory that gives one model for two seeds, unless its parameters are such as nobody draws."""
    random = [path for path, native in one.items() if native.trainable and _varied(native.array)]
    if random and all(_same(native.array, other[path].array) for path, native in one.items()):
        raise PairError(
            "",
            "a factory that draws other values for another seed",
            f"the same values in all {len(one)} tensors for the seeds {seeds[0]} and {seeds[1]}",
            "Seed the framework's generator in it, by torch.manual_seed(seed) or jax.random.key(seed).",
        )


def _varied(array: np.ndarray) -> bool:
    """Whether it has more than two values, as a constant, a mask and an identity do not have."""
    return len(np.unique(array.reshape(-1)[:_LOOKED_AT])) > 2


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def _repeats(many: Mapping[str, np.ndarray], stacks: Mapping[str, Sequence[np.ndarray]]) -> bool:
    """Whether draws that were made together begin with those that were made one by one, up to rounding."""
    return all(
        _close(stack[number], array) for path, stack in many.items() for number, array in enumerate(stacks[path])
    )


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    if _same(found, expected):
        return True
    if "float" not in expected.dtype.name:
        return False
    wide, other = found.astype(np.float64), expected.astype(np.float64)
    # The compiler may fuse what is rounded twice otherwise.
    slack = {2: 2.0**-7, 1: 0.25}.get(expected.dtype.itemsize, 1e-6)
    return bool(np.abs(wide - other).max(initial=0.0) <= slack * np.abs(other).max(initial=0.0))


def _joined(arrays: Sequence[np.ndarray], rest: np.ndarray | None, wanted: int) -> np.ndarray:
    if rest is None:
        return np.stack(arrays)
    stack = np.array(rest[:wanted])
    for number, array in enumerate(arrays):
        stack[number] = array
    return stack
