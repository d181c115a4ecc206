"""Records: what is kept of a model, what a record answers in its place, and what it refuses."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import ml_dtypes
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file

import paritree
from paritree import Map, MapRow, Pair, PairError, Record, RecordError, record
from paritree.common.wing.protocols import SideWing
from paritree.common.wing.recognition import is_factory, side_name
from paritree.conformance import DEFAULT_CONTRACTS
from paritree.pairs.records import files as recordfiles
from paritree.pairs.records.forms import digest
from paritree.pairs.records.record import UnrecordedError, identity_map
from paritree.pairs.records.replay import Replay
from paritree.pairs.values import cotangents
from paritree.pairs.wings import HOMES

from ...common.conftest import refused

TOKENS = np.random.default_rng(0).integers(0, 7, size=(2, 4))
ANEW = "It is cut short or damaged: copy it again, or record again."


class Tied(torch.nn.Module):
    """Tied, with a buffer that is no parameter's, and a dropout that says nothing in inference mode."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.words, self.norm = torch.nn.Embedding(7, 6), torch.nn.LayerNorm(6, eps)
        self.head = torch.nn.Linear(6, 7, bias=False)
        self.head.weight = self.words.weight
        self.norm.bias.requires_grad_(False)
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.norm(self.words(tokens))))


def tied(seed: int) -> Tied:
    torch.manual_seed(seed)
    return Tied()


class Port(nnx.Module):
    def __init__(self, seed: int = 0, epsilon: float = 1e-5) -> None:
        rngs = nnx.Rngs(seed)
        self.first, self.norm = nnx.Linear(4, 6, rngs=rngs), nnx.LayerNorm(6, epsilon=epsilon, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.first(x))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of a factory of tied models."""
    path = tmp_path_factory.mktemp("records") / "tied.safetensors"
    record(tied, (TOKENS,), path)
    return path


@pytest.fixture(scope="module")
def made(file: Path) -> Record:
    return Record.load(file)


def test_a_record_has_the_table_of_the_model(made):
    found, expected = made.stored_tensors(), import_module("paritree.impl_torch").stored_tensors(tied(0))
    assert list(found) == list(expected)
    for path, native in expected.items():
        assert np.array_equal(found[path].array, native.array)
        for name in ("path", "trainable", "saved", "aliases", "keys", "frozen"):
            assert getattr(found[path], name) == getattr(native, name)
    assert found["words.weight"].aliases == ("head.weight",)
    assert found["norm.bias"].frozen


def test_a_record_tells_what_it_is_of(made):
    assert (made.wing, made.is_factory, made.notes, made.seed) == ("torch", True, (), 0)
    assert made.versions["torch"] == version("torch")
    assert np.array_equal(made.inputs[0], TOKENS)
    assert made.inputs[0].flags.writeable
    assert str(made).startswith("record of a torch factory, 4 tensors and ")
    assert side_name(made) == "recorded torch"
    assert is_factory(made)


def test_the_file_is_a_safetensors_file_with_each_array_once(file, made):
    with safe_open(file, "np") as opened:
        keys = list(opened.keys())
        metadata = opened.metadata()
        arrays = [opened.get_tensor(key) for key in keys]
    assert (metadata["format"], metadata["schema"]) == ("paritree record", "1")
    assert [digest(array) for array in arrays] == keys
    assert sum(array.nbytes for array in arrays) == made.nbytes
    # The symmetric point, the two of the proof, the four at which only outputs are compared. The ordinary one of the
    # proof is the one that a check compares at: that run is there once.
    runs = json.loads(metadata["content"])["runs"]
    assert len([name for name in runs if name.startswith("probe float32")]) == 7


def test_arrays_of_any_dtype_come_back(tmp_path):
    given = [
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array(3.0),
        np.zeros((0, 2), np.float32),
        np.array([True, False]),
        np.arange(6, dtype=np.int64).reshape(2, 3).T,
        np.array([1, 2], ml_dtypes.float8_e4m3fn),
    ]
    arrays = {digest(array): array for array in given}
    recordfiles.save({"content": 1}, arrays, tmp_path / "r")
    content, found = recordfiles.load(tmp_path / "r")
    assert content == {"content": 1}
    assert {*found} == {*arrays}
    for key, array in arrays.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[key], array)


def test_a_dtype_without_a_name_leaves_the_file_that_is_there(tmp_path):
    (tmp_path / "r").write_text("before")
    array = np.array([1], ml_dtypes.int4)
    with refused(RecordError, "expected arrays of dtypes that safetensors has, found int4. Give the model another."):
        recordfiles.save({}, {digest(array): array}, tmp_path / "r")
    assert (tmp_path / "r").read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["r"]


def cut(raw: bytes) -> bytes:
    return raw[:-5]


def long(raw: bytes) -> bytes:
    return raw + b"0"


def headless(raw: bytes) -> bytes:
    return raw[:40]


def flipped(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


def renamed(raw: bytes) -> bytes:
    return raw.replace(b"norm.weight", b"norm.wright", 1)


def later(raw: bytes) -> bytes:
    return raw.replace(b'"schema":"1"', b'"schema":"2"', 1)


@pytest.mark.parametrize(
    ("damage", "expected", "found", "remedy"),
    [
        (cut, "a file of {size:,} bytes, as its header says", "{less:,}", ANEW),
        (long, "a file of {size:,} bytes, as its header says", "{more:,}", ANEW),
        (headless, "a safetensors file", "40 bytes that begin with no header", ANEW),
        (lambda raw: b"", "a safetensors file", "0 bytes that begin with no header", ANEW),
        (lambda raw: b"PK" * 99, "a safetensors file", "198 bytes that begin with no header", ANEW),
        (flipped, "arrays with the digests they are named by", "1 others", ANEW),
        (renamed, "a header with the digest it names", "another", ANEW),
        (later, "a record of schema 1", "schema 2", "Record again, or use the release that wrote it."),
    ],
)
def test_a_damaged_file_is_refused(file, tmp_path, damage, expected, found, remedy):
    raw = file.read_bytes()
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damage(raw))
    sizes = {"size": len(raw), "less": len(raw) - 5, "more": len(raw) + 1}
    with refused(RecordError, f"{path}: expected {expected}, found {found}. {remedy}".format(**sizes)):
        Record.load(path)


def test_another_safetensors_file_and_none_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with refused(RecordError, f"{path}: expected a file with a record, found No such file or directory."):
        Record.load(path)
    save_file({"weight": np.zeros(3)}, path)
    expected = f"{path}: expected a record of paritree, found a safetensors file of another kind. Give a record."
    with refused(RecordError, expected):
        Record.load(path)
    path.write_bytes(struct.pack("<Q", 2) + b"[]")
    with refused(RecordError, f"{path}: expected a safetensors file, found a header that is list. {ANEW}"):
        Record.load(path)


REMEDY = "Give the check a map that was made where both models are, or record again. It answers the checks of seed 0."


def test_what_was_not_asked_is_refused(made):
    runs = str(made).split()[-2]
    expected = f"expected one of the {runs} runs that the record of the torch model holds, found {{}}. {REMEDY}"
    weights = {path: native.array for path, native in made.stored_tensors().items()}
    with refused(UnrecordedError, expected.format("a probe in float32 at other values")):
        made.prober((TOKENS,), None, "float32")(weights, cotangents)
    with refused(UnrecordedError, expected.format("a probe in bfloat16 at other values")):
        made.prober((TOKENS,), None, "bfloat16")(weights, cotangents)
    found = "a pass in float32 at other values, training True, dropout True, seed 7"
    with refused(UnrecordedError, expected.format(found)):
        made.passer((TOKENS,), None, "float32", None)(weights, training=True, dropout=True, seed=7)
    with refused(UnrecordedError, expected.format("2 seeds of draws, for 5 values each")):
        made.draws((0, 1), "cpu", 5)
    with refused(UnrecordedError, "expected the seed 0, whose model was recorded, found 1. Use the factory itself."):
        made(1)


def test_other_versions_are_named(made, monkeypatch):
    monkeypatch.setitem(made._content, "versions", {**made.versions, "numpy": "1.0"})
    with pytest.raises(UnrecordedError) as caught:
        made.draws((0,), "cpu", None)
    assert str(caught.value).endswith("checks of seed 0, with numpy 1.0, of which another version is here.")


def test_other_cotangents_are_refused(made):
    weights = {
        path: paritree.pairs.values.distinct(path, each.array, False) for path, each in made.stored_tensors().items()
    }
    weights.pop("steps")
    probe = made.prober((TOKENS,), None, "float32")(weights, cotangents)
    assert set(probe.gradients) == {"words.weight", "norm.weight", "norm.bias"}
    with pytest.raises(UnrecordedError, match="found other cotangents"):
        made.prober((TOKENS,), None, "float32")(weights, lambda shapes: [np.ones(shape) for shape in shapes])


CALLED = (
    "expected no calls of a record, found one. They were made when the model was recorded: leave reference_call and "
    "reference_train_call out."
)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ((TOKENS, TOKENS), "inputs: expected inputs 0, as recorded, found inputs 0, 1."),
        ({"tokens": TOKENS}, "inputs: expected inputs 0, as recorded, found inputs 'tokens'."),
        ((), "inputs: expected inputs 0, as recorded, found no inputs."),
        ((TOKENS[:1],), "inputs.0: expected int64 of shape (2, 4), as recorded, found int64 of shape (1, 4)."),
        (
            (TOKENS.astype("int32"),),
            "inputs.0: expected int64 of shape (2, 4), as recorded, found int32 of shape (2, 4).",
        ),
        ((TOKENS + 1,), "inputs.0: expected the values of int64 of shape (2, 4), as recorded, found other values."),
    ],
)
def test_other_inputs_are_refused(made, inputs, told):
    with refused(PairError, f"{told} Give the pair record.inputs, or record again."):
        made.prober(inputs, None, "float32")


def test_a_call_is_refused(made):
    with refused(PairError, CALLED):
        made.trainer((TOKENS,), None, "float32", lambda model, inputs: None)


def test_a_record_is_no_port_and_is_not_recorded(made):
    expected = (
        "port: expected a live model, found a record. A record answers at its own values alone: swap the sides, and "
        "give the inverse of the map."
    )
    with refused(PairError, expected):
        paritree.check(Pair(tied, made, (TOKENS,)), Map((), ("torch", "torch")))
    with refused(PairError, "model: expected a live model, found a record. It is recorded already."):
        record(made, (TOKENS,))


def test_every_kind_of_side_has_its_record():
    needed = [name for name, each in vars(SideWing).items() if callable(each) and not name.startswith("_")]
    assert {"stored_tensors", "draws", "running"} <= {*needed}
    for name in (*HOMES, "pytree"):
        wing = Replay(name)
        assert name == wing.NAME
        assert all(hasattr(wing, function) for function in needed)


def test_the_identity_map_is_of_equal_paths_and_shapes():
    stored_tensors = import_module("paritree.impl_torch").stored_tensors
    wider = Tied()
    wider.norm = torch.nn.LayerNorm(8)
    found = identity_map(stored_tensors(tied(0)), stored_tensors(wider), ("torch", "torch"))
    (row,) = found.rows
    assert (row.reference, row.port, row.layout) == ("words.weight", "words.weight", "a b -> a b")
    assert row.reference_aliases == row.port_aliases == ("head.weight",)
    assert found.unmatched_reference == found.unmatched_port == ("norm.weight", "norm.bias")
    assert found.aside_reference == found.aside_port == ("steps",)
    assert not found.verified


def test_the_next_release_is_held_against_a_record(made):
    report = paritree.check(Pair(made, tied, made.inputs), devices=("cpu",))
    report.raise_for_failure()
    passed = {result.contract for result in report.results if result.status == "pass"}
    assert passed == {*DEFAULT_CONTRACTS} - {"values", "recipe", "sharded"}
    same = identity_map(made.stored_tensors(), made.stored_tensors(), ("torch", "torch"))
    changed = paritree.check(Pair(made, Tied(eps=1e-2), made.inputs), same, contracts=("names", "forward"))
    assert [result.contract for result in changed.failures] == ["forward"]


class Narrow(torch.nn.Linear):
    """Runs in float32 alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float32, "no other numbers"
        return super().forward(x)


def test_what_a_run_raised_is_raised_again():
    x = np.ones((2, 3), np.float32)
    model = Narrow(3, 2)
    made = record(model, (x,), contracts=("forward",))
    weights = {
        path: paritree.pairs.values.distinct(path, each.array, False) for path, each in made.stored_tensors().items()
    }
    expected = (
        "expected inputs that the model takes, found AssertionError: no other numbers. Check the inputs, and the call "
        "if the pair has one: names, shapes and dtypes."
    )
    with refused(PairError, expected):
        made.prober((x,), None, "float64")(weights, cotangents)
    # A check takes it as the live model's: it has no float64 run, and does without.
    same = identity_map(made.stored_tensors(), made.stored_tensors(), ("torch", "torch"))
    assert paritree.check(Pair(made, model, (x,)), same, contracts=("forward",)).ok


class Noisy(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(2)


def test_a_random_model_is_not_recorded(tmp_path):
    with pytest.raises(RecordError) as caught:
        record(Noisy(3, 2), (np.ones((2, 3), np.float32),), tmp_path / "r", contracts=("forward",))
    assert caught.value.expected == "a model that gives the same in every run"
    assert caught.value.found.startswith("the output differs by ")
    assert not (tmp_path / "r").exists()


BLOCKED = """
    import sys
    from importlib.abc import MetaPathFinder

    class Missing(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {blocked}:
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Missing())
    import json
    import numpy as np
    import paritree
    from paritree import Map, Pair, Record

    def told(report):
        assert not {blocked} & {{*sys.modules}}, "the missing framework is imported"
        kept = {{}}
        for result in report.results:
            kept.setdefault(result.status, []).append(result.contract)
        print(json.dumps({{status: sorted({{*names}}) for status, names in kept.items()}}))
        report.raise_for_failure()
"""

NNX_ALONE = """
    from flax import nnx

    class Port(nnx.Module):
        def __init__(self, seed):
            rngs = nnx.Rngs(seed)
            self.first, self.norm = nnx.Linear(4, 6, rngs=rngs), nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)

        def __call__(self, x):
            return self.norm(self.first(x))

    made = Record.load(sys.argv[1])
    pair = Pair(made, Port(0), made.inputs)
    told(paritree.check(pair, Map.load(sys.argv[2]), devices=("cpu",), contracts=sys.argv[3:]))
"""

TORCH_ALONE = """
    import torch

    made = Record.load(sys.argv[1])
    port = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.LayerNorm(6))
    told(paritree.check(Pair(made, port, made.inputs), Map.load(sys.argv[2]), devices=("cpu",), contracts=sys.argv[3:]))
"""
STRUCTURE = ("names", "shapes", "ties")
CONTRACTS = (*STRUCTURE, "layout", "forward", "gradients", "determinism")
SKIPPED = ["initialization", "recipe", "sharded", "tied gradients", "values"]


def record_both(folder: Path, contracts: Sequence[str]) -> Path:
    """Records of a torch model and of its NNX port, and the maps between them."""
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    record(
        torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.LayerNorm(6)), (x,), folder / "torch", contracts=contracts
    )
    record(Port(), (x,), folder / "nnx", contracts=contracts)
    rows = (
        MapRow("0.weight", "first.kernel", (6, 4), (4, 6), "a b -> b a", "rule"),
        MapRow("0.bias", "first.bias", (6,), (6,), "a -> a", "rule"),
        MapRow("1.weight", "norm.scale", (6,), (6,), "a -> a", "rule"),
        MapRow("1.bias", "norm.bias", (6,), (6,), "a -> a", "rule"),
    )
    found = Map(rows, ("torch", "nnx"))
    found.save(folder / "torch to nnx")
    found.inverse().save(folder / "nnx to torch")
    return folder


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_both(tmp_path_factory.mktemp("apart"), CONTRACTS)


ALONE = [
    ({"torch"}, NNX_ALONE, "torch", "nnx"),
    ({"jax", "jaxlib", "flax", "optax"}, TORCH_ALONE, "nnx", "torch"),
]


@pytest.mark.parametrize(("blocked", "program", "reference", "port"), ALONE)
def test_the_other_side_is_checked_without_the_framework(apart, blocked, program, reference, port):
    assert alone(apart, blocked, program, reference, port, CONTRACTS) == {"pass": sorted(CONTRACTS)}


@pytest.mark.thorough
@pytest.mark.parametrize(("blocked", "program", "reference", "port"), ALONE)
def test_every_contract_is_checked_without_the_framework(tmp_path, blocked, program, reference, port):
    found = alone(record_both(tmp_path, DEFAULT_CONTRACTS), blocked, program, reference, port, DEFAULT_CONTRACTS)
    assert found == {"pass": sorted({*DEFAULT_CONTRACTS}.difference(SKIPPED)), "skip": SKIPPED}


def test_the_missing_framework_would_be_seen(apart):
    with pytest.raises(AssertionError, match="ModuleNotFoundError: torch"):
        alone(apart, {"torch"}, TORCH_ALONE, "nnx", "torch", STRUCTURE)


def alone(
    folder: Path, blocked: set[str], program: str, reference: str, port: str, contracts: Sequence[str]
) -> dict[str, list[str]]:
    """The contracts by their status, as a process finds that cannot import what is blocked."""
    names = "{" + ", ".join(repr(name) for name in sorted(blocked)) + "}"
    source = dedent(BLOCKED.format(blocked=names)) + dedent(program)
    arguments = [str(folder / reference), str(folder / f"{reference} to {port}"), *contracts]
    done = subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.thorough
def test_the_next_release_of_a_flax_model(apart):
    made = Record.load(apart / "nnx")
    same = identity_map(made.stored_tensors(), made.stored_tensors(), ("nnx", "nnx"))
    contracts = ("names", "values", "forward")
    assert paritree.check(Pair(made, Port(), made.inputs), same, contracts=contracts).ok
    changed = paritree.check(Pair(made, Port(epsilon=1e-2), made.inputs), same, contracts=contracts)
    assert [result.contract for result in changed.failures] == ["forward"]


def test_a_record_replaces_only_a_record(tmp_path: Path) -> None:
    """The weights of a model have the same ending."""
    file = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(
        paritree.UsageError, match=r"one of its kind, found another file\. Remove it first, or give anoth"
    ):
        recordfiles.save({}, {}, file)
    assert safe_open(file, "numpy").keys() == ["weight"]
    file.unlink()
    for content in ({"content": 1}, {"content": 2}):
        recordfiles.save(content, {}, file)
        assert recordfiles.load(file)[0] == content
