"""The tiled copy gives what NumPy's assignment gives, for any shape, order of axes and dtype."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from paritree.migration.convert.execute import SLAB, copy, slabs

from ..processes import run_alone
from .checkpoints import BFLOAT16

SHAPES = ((), (0,), (5,), (0, 3), (300, 200), (1, 500, 70), (40, 1, 600), (3, 3, 130, 90), (2, 3, 5, 7, 200))


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16, np.int8, np.complex64, np.bool_])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_order_of_axes(shape: tuple[int, ...], dtype: np.dtype) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    for order in list(permutations(range(len(shape))))[:24]:
        view = array.transpose(order)
        target = np.full(view.shape, 7).astype(dtype)
        copy(target, view)
        assert target.tobytes() == view.tobytes()


def test_a_copy_casts() -> None:
    array = np.linspace(0, 1, 600 * 500).reshape(600, 500)
    target = np.zeros((500, 600), BFLOAT16)
    copy(target, array.T)
    assert np.array_equal(target, array.T.astype(BFLOAT16))


def test_a_type_of_numpys_own_that_is_not_its_own_object_is_no_other() -> None:
    array = np.linspace(0, 1, 600 * 500, dtype=np.float32).reshape(600, 500)
    same = array.view(array.dtype.newbyteorder("S").newbyteorder("S"))
    assert (same.dtype, same.dtype.isbuiltin) == (array.dtype, 0)
    for source, made in ((array, same), (same, array)):
        target = np.zeros((500, 600), made.dtype)
        copy(target, source.T)
        assert target.tobytes() == array.T.tobytes()


@pytest.mark.parametrize("limit", [1, 10, 1000, SLAB])
@pytest.mark.parametrize("shape", SHAPES)
def test_slabs_are_the_array_in_runs(shape: tuple[int, ...], limit: int) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int16).reshape(shape).T
    parts = list(slabs(array, limit))
    assert b"".join(part.tobytes() for _, part in parts) == array.tobytes()
    ends = np.cumsum([0, *(part.size for _, part in parts)])
    assert [start for start, _ in parts] == list(ends[:-1])
    assert all(part.nbytes <= max(limit, array.itemsize) for _, part in parts)


def test_a_conversion_holds_two_tensors_and_a_few_runs(tmp_path: Path) -> None:
    assert run_alone("tests.migration.convert.in_runs", tmp_path) == ["file.safetensors", "shards"]
