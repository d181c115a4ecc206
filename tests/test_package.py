"""The wheel carries every room of the tree and nothing else, and importing the package imports nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from dataclasses import is_dataclass
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import pytest

from paritree import common, pairs

ROOT = Path(__file__).parents[1]
ROOMS = {
    "api": "paritree",
    **{
        room: f"paritree/{room}"
        for room in ("common", "conformance", "impl_jax", "impl_torch", "migration", "pairs", "study")
    },
}


def in_the_tree() -> set[str]:
    """The names that the tree's files have in a wheel."""
    return {
        f"{place}/{file.relative_to(ROOT / room).as_posix()}"
        for room, place in ROOMS.items()
        for file in (ROOT / room).rglob("*")
        if file.suffix in {".py", ".typed", ".html", ".css", ".npz"} and "__pycache__" not in file.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("the tests run away from the tree, so there is nothing to build a wheel from")
    target = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(target)!r}))"
    # Built from a copy: setuptools would leave a build folder in the tree, and put into the wheel what is left in one.
    copy = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_is_the_tree(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == in_the_tree()


def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert tops == {"paritree"}


PROBE = "import sys; {}; print([name for name in ('torch', 'jax', 'flax', 'jinja2') if name in sys.modules])"


def loaded_by(statement: str) -> str:
    run = subprocess.run([sys.executable, "-c", PROBE.format(statement)], capture_output=True, text=True, check=True)
    return run.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "statement",
    [
        "import paritree",
        "import paritree.cli",
        "import paritree.study, paritree.migration, paritree.conformance",
        "import paritree; paritree.table(paritree.Sequential(paritree.Linear(4, 8), paritree.ReLU()))",
        "import paritree; [print(model.table()) for model in paritree.MODELS.values()]",
        "from paritree.conformance import Report; Report(()).to_json()",
    ],
)
def test_no_framework_is_imported(statement: str) -> None:
    assert loaded_by(statement) == "[]"


def test_the_probe_can_fail() -> None:
    assert loaded_by("import paritree; paritree.wing('torch')") == "['torch']"
    assert loaded_by("import paritree; paritree.wing('nnx')") == "['jax', 'flax']"
    # A page alone needs a template.
    assert loaded_by("from paritree.conformance import Report; Report(()).to_html()") == "['jinja2']"


def test_every_public_name_exists() -> None:
    import paritree

    for name in paritree.__all__:
        assert getattr(paritree, name) is not None
    with pytest.raises(AttributeError, match="module 'paritree' has no attribute 'Linnear'"):
        paritree.Linnear  # noqa: B018


# What a map is fitted with, what follows the run of modules, and the state of a search for lines change while that goes
# on, and are never given out.
UNDER_WAY = {"ViewAxis", "RowDraft", "AxisSpans", "PieceDraft", "Faults", "Frame", "_Open", "Tracking"}


@pytest.mark.parametrize(
    ("room", "some", "changing"),
    [
        (common, {"Linear", "Block", "Row", "Table", "Tie", "Layout", "Rule", "Use", "Site"}, set()),
        (pairs, {"Map", "MapRow", "Pair"}, UNDER_WAY),
    ],
)
def test_nothing_can_be_changed_once_it_is_made(room: ModuleType, some: set[str], changing: set[str]) -> None:
    modules = [importlib.import_module(found.name) for found in walk_packages(room.__path__, f"{room.__name__}.")]
    records = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    frozen = {kind.__name__: kind.__dataclass_params__.frozen for kind in records if is_dataclass(kind)}
    assert some < set(frozen)
    assert {name for name, is_frozen in frozen.items() if not is_frozen} == changing
