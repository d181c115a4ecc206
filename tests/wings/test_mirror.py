"""The three wings have the same files, and these the same public functions with the same signatures.

Read from the sources, so that no framework is imported and a drifted copy can be made to prove that a drift is seen.
What differs is listed below with its reason; an entry that is no longer true fails, too.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import paritree.common.wing.protocols as protocol
from paritree.common.wing.recognition import WINGS
from paritree.pairs.wings import HOMES

ROOMS = Path(protocol.__file__).parents[2]


class Difference(NamedTuple):
    """`name` of `file`: the wings that have it, or a signature that is not one."""

    file: str
    name: str
    wings: tuple[str, ...]


FLAX = ("linen", "nnx")
EAGER = ("torch", "nnx")
DIFFERENT: tuple[str, ...] = ("signatures differ",)

EXEMPT: dict[Difference, str] = {
    Difference("access.py", "neutral", DIFFERENT): "Flax arrays lie in a layout, so it needs the leaf that knows it",
    Difference("access.py", "placed", ("linen",)): "Linen variables are replaced, so it gives the new ones",
    Difference("access.py", "values", ("nnx",)): "an nnx.Variable is a place, and holds its array",
    Difference("access.py", "write", ("nnx",)): "an nnx.Variable is written to, in its layout",
    Difference("access.py", "replaced", ("linen",)): "Linen variables are replaced, not written to",
    Difference("access.py", "tensor", ("torch",)): "PyTorch takes few of NumPy's arrays as they are",
    Difference("core.py", "cast_copy", ("torch",)): "JAX casts arrays as they come in, and copies nothing else",
    Difference("core.py", "derivatives", ("torch",)): "autograd refuses what JAX answers with zeros",
    Difference("core.py", "floating", ("torch",)): "both Flax wings have it from impl_jax/core.py",
    Difference("core.py", "functional", FLAX): "PyTorch runs a live module, JAX a function of a model's arrays",
    Difference("core.py", "generators_kept", ("torch",)): "PyTorch's generators are global, one for each device",
    Difference("core.py", "given", ("torch",)): "both Flax wings have it from impl_jax/core.py",
    Difference("core.py", "in_mode", ("torch",)): "only a step of PyTorch's trains the live module in its own mode",
    Difference("core.py", "inference", EAGER): "a Linen module has no mode to put back: a call has arguments",
    Difference("core.py", "squared_error", ("torch",)): "both Flax wings have it from impl_jax/core.py",
    Difference("core.py", "weighted", ("torch",)): "both Flax wings have it from impl_jax/core.py",
    Difference("core.py", "without_dropout", DIFFERENT): "NNX layers hold a rate, Linen's are met when called",
    Difference("core.py", "without_dropout", FLAX): "PyTorch's dropout are functions, as training.py knows them",
    Difference("dcp.py", "", ("torch",)): "torch.distributed.checkpoint is PyTorch's; Orbax is in impl_jax/files.py",
    Difference("devices.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/devices.py",
    Difference("distributed.py", "", ("torch",)): "JAX's programs run on a mesh as they run on a device",
    Difference("parts.py", "", ("torch",)): "an array of JAX's is whole, whichever devices hold its parts",
    Difference("sharding.py", "", FLAX): "PyTorch's processes are in distributed.py and parts.py",
    Difference("probing.py", "plain_attention", ("torch",)): "JAX has no kernels with other derivatives",
    Difference("training.py", "own_gradients", FLAX): "PyTorch's is in distributed.py",
    Difference("training.py", "rule_of", ("torch",)): "both Flax wings train by impl_jax/training.py",
    Difference("training.py", "running_in", ("torch",)): "JAX's modes are in core.py",
    Difference("files.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/files.py",
    Difference("initialization.py", "fill", ("torch",)): "torch.nn.init writes to a tensor, Flax makes a new array",
    Difference("integers.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/integers.py",
    Difference("modes.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/modes.py",
    Difference("naming.py", "like", ("linen",)): "a Linen model is made anew, and keeps what shows its layers",
    Difference("naming.py", "members", ("nnx",)): "torch keeps its modules' arrays apart, Linen has variables",
    Difference("naming.py", "nodes", ("nnx",)): "torch has named_modules, Linen has places",
    Difference("naming.py", "stored_kind", ("linen",)): "Linen variables are in collections",
    Difference("naming.py", "stored_name", ("linen",)): "Linen variables are in collections",
    Difference("naming.py", "places", ("linen",)): "a Linen module knows its layers apart from its variables",
    Difference("optimizer_states.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/optimizer_states.py",
    Difference("rounding.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/rounding.py",
    Difference("sites.py", "", ("torch",)): "both Flax wings have theirs from impl_jax/sites.py",
    Difference("stored.py", "aliases", ("nnx",)): "torch lists a tensor with all its names, Linen has no ties",
    Difference("stored.py", "copied", ("torch",)): "Flax arrays are never written to; nnx.clone copies a module",
    Difference("stored.py", "entries", ("nnx",)): "a Variable is live in nnx.state, Linen has a tree of arrays",
    Difference("stored.py", "listed", ("torch",)): "only PyTorch has tensors without values beside those with",
    Difference("stored.py", "places", ("nnx",)): "torch lists a tensor with all its names, Linen has no ties",
    Difference("stored.py", "replaced", ("nnx",)): "Linen has it from impl_jax/trees.py, PyTorch writes to tensors",
    Difference("stored.py", "value_of", ("nnx",)): "an nnx.Variable is a place, and holds its array",
    Difference("tracing.py", "passed", ("nnx",)): "an NNX module is watched by its classes, whoever looks",
    Difference("tracing.py", "traced_modules", ("torch",)): "PyTorch's modules are watched one by one, whoever looks",
    Difference("tracing.py", "watch", ("torch",)): "PyTorch's modules are watched one by one, whoever looks",
    Difference("stored.py", "write", ("torch",)): "PyTorch's tensors are written to, JAX's arrays are replaced",
}


class Function(NamedTuple):
    file: str
    name: str
    signature: str


def signature(function: ast.FunctionDef) -> str:
    """Names, kinds and defaults of the parameters; annotations aside, and a first `self` too."""
    arguments = function.args
    for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        each.annotation = None
    return ast.unparse(arguments).removeprefix("self, ").removeprefix("self")


def functions(file: Path) -> dict[str, str]:
    """The public functions of a module with their signatures, those that it passes on included."""
    found: dict[str, str] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = signature(node)
        elif isinstance(node, ast.ImportFrom) and node.level:
            source = file.parents[node.level - 1].joinpath(*(node.module or "").split(".")).with_suffix(".py")
            for name in node.names:
                if name.asname == name.name and source.is_file():
                    found |= {key: value for key, value in functions(source).items() if key == name.name}
    return found


def differences(homes: dict[str, Path]) -> set[Difference]:
    """What the wings do not have in common, their faces aside, which allow no exemption."""
    found = set()
    for file in sorted({path.name for home in homes.values() for path in home.glob("[!_]*.py")}):
        own = {wing: functions(home / file) if (home / file).is_file() else None for wing, home in homes.items()}
        having = tuple(wing for wing in homes if own[wing] is not None)
        if having != tuple(homes):
            found.add(Difference(file, "", having))
            continue
        for name in sorted({name for listed in own.values() for name in listed or ()}):
            having = tuple(wing for wing in homes if name in (own[wing] or {}))
            if having != tuple(homes):
                found.add(Difference(file, name, having))
            if len({(own[wing] or {})[name] for wing in having}) > 1:
                found.add(Difference(file, name, DIFFERENT))
    return found


def homes(root: Path) -> dict[str, Path]:
    return {wing: root.joinpath(*HOMES[wing].split(".")) for wing in WINGS}


def test_the_wings_differ_only_where_a_reason_is_given() -> None:
    found = differences(homes(ROOMS))
    assert found - set(EXEMPT) == set(), "these differ without a reason"
    assert set(EXEMPT) - found == set(), "these reasons are for differences that are gone"


# Layers without parameters are plain functions in JAX, in impl_jax/functions for both Flax wings.
FUNCTIONS = {"operations.py", "pooling.py"}


def test_the_layers_are_in_the_same_files() -> None:
    files = {wing: {path.name for path in (home / "layers").glob("*.py")} for wing, home in homes(ROOMS).items()}
    assert "norms.py" in files["torch"]
    assert files["torch"] - FUNCTIONS == files["linen"] == files["nnx"]
    assert files["torch"] > FUNCTIONS
    assert {path.name for path in (ROOMS / "impl_jax" / "functions").glob("*.py")} > FUNCTIONS


def test_the_face_has_no_exemption() -> None:
    faces = {wing: functions(home / "__init__.py") for wing, home in homes(ROOMS).items()}
    assert {"build", "table", "tie", "step"} < set(faces["torch"])
    assert faces["torch"] == faces["linen"] == faces["nnx"]


def test_the_face_is_what_the_protocol_promises() -> None:
    declared = [
        node
        for node in ast.parse(Path(protocol.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name in ("SideWing", "Wing")
    ]
    promised = {
        each.name: signature(each) for node in declared for each in node.body if isinstance(each, ast.FunctionDef)
    }
    face = functions(homes(ROOMS)["torch"] / "__init__.py")
    assert {"prober", "build"} < set(promised)
    assert promised == {name: face[name] for name in promised}


DRIFTS = {
    "a default": ("access.py", "| None = None", "| None = 1", Difference("access.py", "table", DIFFERENT)),
    "a parameter's name": ("tying.py", "def equal(model", "def equal(net", Difference("tying.py", "equal", DIFFERENT)),
    "a parameter's kind": (
        "training.py",
        "targets: np.ndarray, *, learning_rate",
        "targets: np.ndarray, learning_rate",
        Difference("training.py", "step", DIFFERENT),
    ),
    "a lost function": ("tying.py", "def untie(", "def _untie(", Difference("tying.py", "untie", FLAX)),
    "one that is passed on": (
        "../impl_jax/draws.py",
        'path: str = "",\n    dtype',
        'path: str = "x",\n    dtype',
        Difference("initialization.py", "draw", DIFFERENT),
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_drift_is_seen(drift: str, tmp_path: Path) -> None:
    for room in ("impl_torch", "impl_jax"):
        shutil.copytree(ROOMS / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    file, old, new, expected = DRIFTS[drift]
    place = tmp_path / "impl_torch" / file
    text = place.read_text(encoding="utf-8")
    assert text.count(old) == 1
    place.write_text(text.replace(old, new), encoding="utf-8")
    assert differences(homes(tmp_path)) - set(EXEMPT) == {expected}


def test_a_lost_file_is_seen(tmp_path: Path) -> None:
    for room in ("impl_torch", "impl_jax"):
        shutil.copytree(ROOMS / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "impl_jax" / "nnx" / "tying.py").unlink()
    assert differences(homes(tmp_path)) - set(EXEMPT) == {Difference("tying.py", "", ("torch", "linen"))}
