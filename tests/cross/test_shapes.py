"""One spec, one set of shapes: each framework's own arrays, rearranged, are the spec's."""

from __future__ import annotations

import numpy as np

from paritree.common.models.reference import neutral_weights

from . import native
from .conftest import Case
from .test_names import renamed


def test_the_frameworks_own_shapes_and_dtypes_are_the_specs(case: Case) -> None:
    table, wing = case.reference.table(), case.wing.NAME
    for path, array in {**native.trained(wing, case.model), **native.untrained(wing, case.model)}.items():
        row = table[table.owner(renamed(wing, path))]
        stored = row.shape[::-1] if wing != "torch" and path[-1] == "kernel" else row.shape
        assert (array.shape, array.dtype) == (stored, "float32"), path


def test_the_live_table_has_the_specs_shapes(case: Case) -> None:
    live, table = case.wing.table(case.model), case.reference.table()
    assert [(row.path, row.shape, row.dtype, row.kind) for row in live] == [
        (row.path, row.shape, row.dtype, row.kind) for row in table
    ]
    assert live.scalars == table.scalars


def test_neutral_weights_come_back_bit_for_bit(case: Case) -> None:
    given, found = neutral_weights(case.reference.table()), case.wing.weights(case.model)
    assert list(found) == list(given)
    for path, array in given.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path, strict=True)


def test_the_arrays_live_on_the_device(case: Case) -> None:
    for row in case.wing.table(case.model).owners:
        array = case.wing.get_parameter(case.model, row.path)
        if case.wing.NAME == "torch":
            assert array.device.type == case.device
        else:
            (found,) = array[...].devices()
            assert found.platform == {"cpu": "cpu", "cuda": "gpu"}[case.device]
