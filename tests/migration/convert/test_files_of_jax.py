"""Sources that scripts of JAX write beside Orbax: NumPy's .npz and Flax's .msgpack."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from flax import serialization, traverse_util
from numpy.lib import format as npy

from paritree import CheckpointError, convert

from .checkpoints import assert_equal, example, loaded, weights

EXPECTED = example().inverse().arrays(example().arrays(weights()))


def port() -> dict[str, np.ndarray]:
    return example().arrays(weights())


def nested(arrays: dict[str, np.ndarray]) -> dict[str, object]:
    return traverse_util.unflatten_dict(arrays, sep=".")


def back(source: Path) -> dict[str, np.ndarray]:
    done = convert(source, source.with_name("back.safetensors"), example())
    assert done.direction == ("linen", "torch")
    return loaded(source.with_name("back.safetensors"))


def refused(source: Path) -> str:
    with pytest.raises(CheckpointError) as refusal:
        convert(source, source.with_name("back.safetensors"), example())
    return str(refusal.value).replace(f"{source.parent}/", "")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("sign", [".", "/"])
def test_npz_is_a_source(save: object, sign: str, tmp_path: Path) -> None:
    arrays = {path.replace(".", sign): array for path, array in port().items()}
    save(tmp_path / "a.npz", **arrays)  # type: ignore[operator]
    assert_equal(back(tmp_path / "a.npz"), EXPECTED)


def test_npz_in_another_order_of_axes_or_bytes(tmp_path: Path) -> None:
    arrays = {path: np.asfortranarray(array) for path, array in port().items()}
    arrays["params.conv.kernel"] = arrays["params.conv.kernel"].astype(">f4")
    arrays["params.scale"] = port()["params.scale"]
    np.savez(tmp_path / "a.npz", **arrays, notes=np.array(["trained", "by hand"]), epoch=np.array(3))
    assert_equal(back(tmp_path / "a.npz"), EXPECTED)
    done = convert(tmp_path / "a.npz", tmp_path / "again.safetensors", example())
    assert done.left_out == ("epoch", "notes")


def test_msgpack_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.msgpack").write_bytes(serialization.to_bytes(nested(port())))
    assert_equal(back(tmp_path / "a.msgpack"), EXPECTED)


def test_msgpack_of_chunks_and_of_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 64)
    arrays = {path: array.astype(ml_dtypes.bfloat16) for path, array in port().items()}
    content = serialization.to_bytes(nested({**arrays, "step": np.int32(3)}))
    assert b"__msgpack_chunked_array__" in content
    (tmp_path / "a.msgpack").write_bytes(content)
    assert_equal(back(tmp_path / "a.msgpack"), example().inverse().arrays(arrays))


def test_what_is_no_msgpack(tmp_path: Path) -> None:
    file, remedy = tmp_path / "a.msgpack", "It is damaged: copy or save it again."
    whole = serialization.to_bytes(nested(port()))
    for content, found in (
        (b"", r"what it cannot read \(ValueError: .*\)"),
        (whole[:-9], r"what it cannot read \(ValueError: .*\)"),
        (
            whole.replace(b"float32", b"float31"),
            r"what it cannot read \(TypeError: data type '?.float31'? not understood\)",
        ),
        (b"\x93\x01\x02\x03", "list in it, where a mapping should be"),
        (b"\x81\xa1a" * 5000 + b"\xc0", r"what it cannot read \(\w+: .*\)"),
    ):
        file.write_bytes(content)
        said = refused(file)
        expected = rf"a\.msgpack: expected a file of flax\.serialization, found {found}\. {re.escape(remedy)}"
        assert re.fullmatch(expected, said), said


def archive(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file


def npy_of(array: np.ndarray, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    npy.write_array(stream, array, allow_pickle=pickled)
    return stream.getvalue()


HEAD = "a.npz: w.npy: expected"
W = npy_of(np.arange(6, dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (W[:-4], f"{HEAD} the 24 bytes of its shape, found 20. It is cut short or damaged: copy it again."),
        (W + b"1234", f"{HEAD} the 24 bytes of its shape, found 28. It is cut short or damaged: copy it again."),
        (
            W.replace(b"(6,)", b"(-6,"),
            f"{HEAD} an array of numpy.savez, found a header that is none (",
        ),
        (W[:9], f"{HEAD} an array of numpy.savez, found a header that is none (EOF: reading array header length"),
        (
            W.replace(b"(6,), ", b"(-6,),"),
            f"{HEAD} the lengths of its axes, found others. It is cut short or damaged: copy it again.",
        ),
        (
            b"\x93NUMPY\x09" + W[7:],
            f"{HEAD} an array of numpy.savez, found a header that is none (",
        ),
        (
            npy_of(np.array({"a": 1}, object), pickled=True),
            f"{HEAD} numbers, which can be read without running code, found objects, which would have to be unpickled. "
            "Save each array under its path: np.savez(file, **arrays).",
        ),
        (
            npy_of(np.ones(2, ml_dtypes.bfloat16).view("V2")),
            f"{HEAD} numbers of a type that the file names, found '|V2', as NumPy writes bfloat16 and other types that "
            "it does not know. Cast it to float32 where the file is made, or save it as safetensors.",
        ),
    ],
)
def test_an_array_of_an_npz_that_is_damaged_or_none(content: bytes, said: str, tmp_path: Path) -> None:
    assert refused(archive(tmp_path / "a.npz", {"w.npy": content})).startswith(said)


def test_an_npz_that_is_none_or_has_two_of_one_path(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"1234")
    assert refused(tmp_path / "a.npz") == (
        "a.npz: expected a checkpoint of numpy.savez, found no zip archive that can be read (File is not a zip file). "
        "It is cut short or damaged: copy it again."
    )
    archive(tmp_path / "a.npz", {"a/w.npy": W, "a.w.npy": W})
    assert refused(tmp_path / "a.npz") == "a.npz: a.w: expected one entry of each path, found two. Rename one of them."
