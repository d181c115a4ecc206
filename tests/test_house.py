"""Who imports what: read from the sources of every room, and watched in processes that import it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .house import ROOMS, circles, files, module_of, past_a_face, room_of, violations

ROOT = Path(__file__).parents[1]


def test_each_room_imports_only_what_lies_below_it():
    assert violations(ROOT) == []


def test_from_outside_of_a_folder_imports_come_from_its_face():
    assert past_a_face(ROOT) == []


def test_no_chain_of_imports_leads_back_to_where_it_began():
    assert circles(ROOT) == []


def plant(root, sources):
    for file, source in sources.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(source)


PAST = {
    "pairs/maps/__init__.py": "from .rows import MapRow as MapRow",
    "pairs/maps/rows.py": "from .resize import fit\nMapRow = 1",
    "pairs/maps/resize/__init__.py": "fit = 1",
    "pairs/maps/resize/sizes.py": "from ..rows import MapRow",
}
LATE = "from typing import TYPE_CHECKING\n\ndef late():\n    {}\nif TYPE_CHECKING:\n    import numpy\n"


@pytest.mark.parametrize(
    ("source", "line", "module"),
    [
        ("from .maps.rows import MapRow", 1, "rows"),
        ("import numpy\nfrom .maps import rows", 2, "rows"),
        (LATE.format("from .maps.rows import MapRow"), 4, "rows"),
        ("from paritree.pairs.maps.resize.sizes import MapRow", 1, "resize.sizes"),
        ("from importlib import import_module\nimport_module('.maps.rows', __package__)", 2, "rows"),
    ],
)
def test_a_planted_import_past_a_face_is_found(source, line, module, tmp_path):
    plant(tmp_path, {**PAST, "pairs/side.py": "from .maps import MapRow\nfrom . import pair", "pairs/pair.py": source})
    folder = "pairs/maps/resize" if "." in module else "pairs/maps"
    expected = f"pairs/pair.py:{line}: paritree.pairs.maps.{module} is inside of {folder}"
    assert past_a_face(tmp_path) == [expected]


@pytest.mark.parametrize(
    "back",
    [
        "from .one import a",
        "def late():\n    from .one import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import one",
    ],
)
def test_a_planted_circle_is_found(back, tmp_path):
    plant(
        tmp_path, {"common/one.py": "from .two import b", "common/two.py": "from . import three", "common/four.py": ""}
    )
    assert circles(tmp_path) == []
    plant(tmp_path, {"common/three.py": back})
    assert circles(tmp_path) == [["common/one.py", "common/three.py", "common/two.py"]]


def test_every_room_is_looked_at():
    assert {room_of(module_of(ROOT, file)) for file in files(ROOT)} == set(ROOMS)
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages - {"benchmarks", "tests"} == {room for room in ROOMS if "." not in room}


PLANTED = [
    ("common/tables.py", "import torch", "torch"),
    ("common/tables.py", "import numpy\nimport jax.numpy as jnp", "jax.numpy"),
    ("common/initializers/laws.py", "def draw():\n    from flax import nnx", "flax.nnx"),
    ("common/tables.py", "from ..impl_torch import build", "paritree.impl_torch.build"),
    ("common/initializers/laws.py", "from ...conformance import check", "paritree.conformance.check"),
    ("common/tables.py", "from ..front import table", "paritree.front.table"),
    ("common/tables.py", "from importlib import import_module\nimport_module('jax')", "jax"),
    ("common/tables.py", "import importlib\nimportlib.import_module('..impl_jax.nnx')", "paritree.impl_jax.nnx"),
    ("common/tables.py", "__import__('torch.nn')", "torch.nn"),
    ("impl_torch/build.py", "import jax", "jax"),
    ("impl_torch/build.py", "import torch\nfrom flax import linen", "flax.linen"),
    ("impl_torch/build.py", "from ..impl_jax.linen import build", "paritree.impl_jax.linen.build"),
    ("impl_torch/__init__.py", "from ..impl_jax import draws", "paritree.impl_jax.draws"),
    ("impl_jax/draws.py", "import torch", "torch"),
    ("impl_jax/draws.py", "from .nnx import build", "paritree.impl_jax.nnx.build"),
    ("impl_jax/__init__.py", "from . import linen", "paritree.impl_jax.linen"),
    ("impl_jax/linen/build.py", "from ..nnx.layers import Block", "paritree.impl_jax.nnx.layers.Block"),
    ("impl_jax/nnx/build.py", "from paritree.impl_jax import linen", "paritree.impl_jax.linen"),
    ("impl_jax/nnx/build.py", "from ...migration import carry", "paritree.migration.carry"),
    ("migration/carry.py", "from ..conformance.check import Wanted", "paritree.conformance.check.Wanted"),
    ("pairs/side.py", "from ..migration import align", "paritree.migration.align"),
    ("impl_torch/build.py", "from ..pairs import wings", "paritree.pairs.wings"),
    ("migration/carry.py", "import numpy\nimport torch", "torch"),
    ("conformance/check.py", "from ..study.record import Behaviour", "paritree.study.record.Behaviour"),
    ("conformance/statistics/scores.py", "import jax", "jax"),
    (
        "conformance/check.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from flax import nnx",
        "flax.nnx",
    ),
    ("study/record.py", "import torch", "torch"),
    ("study/record.py", "from .. import conformance", "paritree.conformance"),
    ("study/behaviours/tying/w1.py", "import torch\nfrom ....migration import carry", "paritree.migration.carry"),
    ("api/cli.py", "import torch", "torch"),
    ("api/__init__.py", "from flax import nnx as nnx", "flax.nnx"),
]


@pytest.mark.parametrize(("file", "source", "imported"), PLANTED)
def test_a_planted_import_is_found(file, source, imported, tmp_path):
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    room = room_of("paritree." + file.removesuffix(".py").replace("/", "."))
    line = len(source.splitlines())
    assert violations(tmp_path) == [f"{file}:{line}: {room} may not import {imported}"]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "common/tables.py",
            "from . import paths\nfrom .initializers import Normal\nfrom .. import common\nimport numpy",
        ),
        ("common/torchlike.py", "import jaxtyping\nfrom .jax import torch"),
        ("impl_torch/build.py", "import torch\nfrom ..common import spec\nfrom .naming import find"),
        ("impl_jax/nnx/build.py", "from flax import nnx\nfrom ..draws import draw\nfrom ...common.spec import Layer"),
        ("conformance/check.py", "from ..impl_torch import build\nfrom .report import Report"),
        ("study/catalogue.py", "from .behaviours.tying import w1"),
        ("study/behaviours/tying/w1.py", "import jax, torch\nfrom flax import linen\nfrom ...record import Behaviour"),
        ("api/cli.py", "from .common import errors\nfrom . import front\nfrom .study import catalogue\nimport rich"),
    ],
)
def test_what_is_allowed_is_not_reported(file, source, tmp_path):
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    planted.write_text(source)
    assert violations(tmp_path) == []


WATCHED = ("torch", "jax", "jaxlib", "flax", "paritree.impl_torch", "paritree.impl_jax.linen", "paritree.impl_jax.nnx")

# Imports a room with all its modules, but not the rooms inside of it that have rules of their own.
IMPORT_ALL = """
import importlib, json, pkgutil, sys

def load(name):
    module = importlib.import_module(name)
    for found in pkgutil.iter_modules(getattr(module, "__path__", ()), name + "."):
        if found.name.endswith("__main__") or name == "paritree" and found.ispkg or found.name.endswith(".behaviours"):
            continue
        load(found.name)
        loaded.append(found.name)

loaded = []
load(sys.argv[1])
"""

PRINT_A_TABLE = """
import json, sys
loaded = []
from paritree.common.models.reference import MODELS
for model in MODELS.values():
    loaded.append(str(model.table()))
import paritree
loaded.append(str(paritree.table(paritree.Sequential(paritree.Linear(4, 4), paritree.Shared("0")))))
"""


def probe(program: str, *arguments: str) -> tuple[set[str], list[str]]:
    """What of WATCHED is in memory after a program has run in a process of its own, and what it says it has loaded."""
    ending = "\nprint(json.dumps([sorted(sys.modules), loaded]))"
    command = [sys.executable, "-c", program + ending, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    modules, loaded = json.loads(done.stdout.splitlines()[-1])
    return set(WATCHED) & set(modules), loaded


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("paritree", set()),
        ("paritree.common", set()),
        ("paritree.pairs", set()),
        ("paritree.conformance", set()),
        ("paritree.migration", set()),
        ("paritree.study", set()),
        # The probe can fail: what does import a framework is seen to, and the other one is not there.
        ("paritree.impl_torch", {"torch", "paritree.impl_torch"}),
        ("paritree.impl_jax.linen", {"jax", "jaxlib", "flax", "paritree.impl_jax.linen"}),
        ("paritree.impl_jax.nnx", {"jax", "jaxlib", "flax", "paritree.impl_jax.nnx"}),
    ],
)
def test_importing_a_room_loads_no_framework_that_is_not_its_own(room, expected):
    watched, loaded = probe(IMPORT_ALL, room)
    assert watched == expected
    folder = ROOT.joinpath(*(room.split(".")[1:] or ["api"]))
    modules = {f"{room}.{file.stem}" for file in folder.glob("*.py")} - {f"{room}.__init__", f"{room}.__main__"}
    assert modules <= set(loaded)


def test_printing_the_table_of_a_spec_loads_no_framework():
    watched, printed = probe(PRINT_A_TABLE)
    assert watched == set()
    assert printed[-1].splitlines()[-1] == "2 parameters, 20 scalars, 2 aliases"


def test_printing_the_table_of_a_live_model_is_seen_to_load_its_framework():
    build = 'paritree.build(paritree.Linear(1, 1), "torch")'
    watched, _ = probe(PRINT_A_TABLE + f"loaded.append(str(paritree.table({build})))")
    assert watched == {"torch", "paritree.impl_torch"}
