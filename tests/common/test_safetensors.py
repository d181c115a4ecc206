"""The safetensors codec: files as safetensors itself lays them out, read back without being read as a whole."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from paritree.common.errors import CheckpointError
from paritree.common.safetensors import DTYPES, MappedTensors, TensorEntry, check_size, encoded, ordered, read_header

from .conftest import refused

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(2.5, np.float32),
    "größe": np.zeros((0, 4), np.int64),
    "mask": np.array([True, False, True]),
    "half": np.array([1.5, -2], ml_dtypes.bfloat16),
}
ENTRIES = ordered({name: TensorEntry(array.shape, array.dtype) for name, array in ARRAYS.items()})


@pytest.fixture
def file(tmp_path):
    head, _ = encoded(ENTRIES, {"head": "b"})
    path = tmp_path / "a.safetensors"
    path.write_bytes(head + b"".join(ARRAYS[name].tobytes() for name in ENTRIES))
    return path


def test_a_file_is_laid_out_as_safetensors_lays_it_out(file):
    assert file.read_bytes() == save(ARRAYS, {"head": "b"})
    head, header = encoded({}, {})
    assert (head[8:], header.size) == (b"{}      ", 16)


def test_what_is_read_is_what_was_written(file):
    header = read_header(file)
    assert header == encoded(ENTRIES, {"head": "b"})[1]
    check_size(file, header)
    tensors = MappedTensors(file, header)
    for name, array in ARRAYS.items():
        found = tensors.array(name)
        assert (found.shape, found.dtype, found.tobytes()) == (array.shape, array.dtype, array.tobytes())
        assert not found.flags.writeable
        tensors.release(name)
        assert tensors.array(name).tobytes() == array.tobytes()


def test_a_file_of_another_length_is_refused(file):
    header = read_header(file)
    file.write_bytes(file.read_bytes() + b"0")
    found = f"{file}: expected a file of {header.size} bytes, as its header says, found {header.size + 1}. "
    with refused(CheckpointError, found + "It is cut short or damaged: copy it again."):
        check_size(file, header)


def test_a_dtype_that_the_format_does_not_have_is_refused():
    with refused(CheckpointError, "w: expected a dtype that safetensors has, found int4. Cast it with dtype."):
        encoded({"w": TensorEntry((2,), np.dtype(ml_dtypes.int4))}, {})


def test_every_dtype_has_one_name():
    assert len({*DTYPES.values()}) == len(DTYPES)
