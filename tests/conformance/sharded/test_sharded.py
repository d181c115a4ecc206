"""The contract of a sharded port: right ones are green, and each planted fault is found and named.

On a mesh of four by two devices of the host, and over two processes that torchrun starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import paritree

from . import flax_models, models, torch_models
from .telling import ports

ROOT = Path(__file__).parents[3]
ON_MESH, IN_PROCESSES = (models, flax_models), (torch_models,)
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# What is like another one, and takes seconds to compile.
LONG = (
    "pytree, averaged",
    "pytree, told the mesh",
    "pytree, an explicit mesh",
    "pytree, by another mesh",
    "flax, NNX, shardings given",
    "flax, NNX, gradients of its own",
    "flax, Linen, gradients of its own",
    "flax, Linen, boxes",
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def told(request: pytest.FixtureRequest, names: Iterable[str], *command: str) -> dict[str, dict[str, Any]]:
    """By name what a program in a process of its own tells of each port that a test of this run asks for."""
    params = (getattr(item, "callspec", None) for item in request.session.items)
    asked = {each.params.get("name") for each in params if each is not None}
    run = subprocess.run(
        [sys.executable, *command, *(name for name in names if name in asked)],
        env={**os.environ, "XLA_FLAGS": FLAGS, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return {each["name"]: each for each in lines}


@pytest.fixture(scope="module")
def on_mesh(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return told(request, ports(*ON_MESH), "-m", "tests.conformance.sharded.on_mesh")


@pytest.fixture(scope="module")
def in_processes(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    return told(request, ports(*IN_PROCESSES), *TORCHRUN, "tests.conformance.sharded.in_processes")


def clean(modules: Any) -> list[Any]:
    names = [f"{module.KIND}, {name}" for module in modules for name in module.CLEAN]
    return [pytest.param(name, marks=pytest.mark.thorough) if name in LONG else name for name in names]


def faults(modules: Any, which: str = "FAULTS") -> dict[str, Any]:
    return {f"{module.KIND}, {name}": fault for module in modules for name, fault in getattr(module, which).items()}


def check_clean(found: Mapping[str, Any]) -> None:
    assert found["ok"], [each for each in found["found"] if each[0] == "fail"]
    said = [message for status, _, _, message in found["found"] if status == "pass" and message]
    assert "tensors have their names, ties, kinds and values" in said[0]
    assert said[1].startswith("over ")
    assert "lie in parts" in said[1]


def check_fault(found: Mapping[str, Any], cause: str, path: str, says: str) -> None:
    failures = [each for each in found["found"] if each[0] == "fail"]
    assert [each for each in failures if each[1:3] == [cause, path] and says in each[3]], failures
    # What comes first is what is planted.
    assert failures[0][1] == cause


@pytest.mark.parametrize("name", clean(ON_MESH))
def test_a_right_port_on_a_mesh(name: str, on_mesh: dict[str, Any]) -> None:
    check_clean(on_mesh[name])


@pytest.mark.parametrize("name", faults(ON_MESH))
def test_a_fault_on_a_mesh(name: str, on_mesh: dict[str, Any]) -> None:
    check_fault(on_mesh[name], *faults(ON_MESH)[name][1:])


@pytest.mark.parametrize("name", faults(ON_MESH, "REFUSED"))
def test_a_port_that_one_device_does_not_run_is_refused(name: str, on_mesh: dict[str, Any]) -> None:
    ((status, *_, message),) = on_mesh[name]["found"]
    assert status == "raise"
    assert faults(ON_MESH, "REFUSED")[name][1] in message


@pytest.mark.parametrize("name", clean(IN_PROCESSES))
def test_a_right_port_over_processes(name: str, in_processes: dict[str, Any]) -> None:
    check_clean(in_processes[name])


@pytest.mark.parametrize("name", faults(IN_PROCESSES))
def test_a_fault_over_processes(name: str, in_processes: dict[str, Any]) -> None:
    check_fault(in_processes[name], *faults(IN_PROCESSES)[name][1:])


def results(pair: paritree.Pair, made: paritree.Map) -> list[tuple[str, str]]:
    report = paritree.check(pair, made, contracts=("sharded",), devices=("cpu",))
    return [(each.status, each.message) for each in report.results]


def test_without_a_mesh_it_is_told_how_to_give_one() -> None:
    pair = models.pair(mesh=None, port_sharding=None, port_call=models.plain)
    ((status, message),) = results(pair, models.map_of(pair))
    assert status == "skip"
    assert "give it mesh=jax.make_mesh(...), or check(..., mesh=...), if JAX runs it" in message


def test_a_mesh_on_which_nothing_is_in_parts_tells_nothing() -> None:
    pair = models.pair(mesh=models.mesh(shape=(1, 1)), port_sharding=None, input_sharding=None, port_call=models.plain)
    report = results(pair, models.map_of(pair))
    assert [status for status, _ in report] == ["pass", "skip"]
    assert report[1][1] == (
        "nothing of the port lies in parts, so that each device does what one does. Annotate its parameters, or give "
        "the pair port_sharding= or input_sharding= (0 of 5 parameters and 0 of 2 inputs lie in parts)"
    )


def test_what_is_no_mesh_is_refused() -> None:
    pair = models.pair(mesh="4 x 2", port_call=models.plain)
    ((status, message),) = results(pair, models.map_of(pair))
    assert status == "fail"
    assert "expected a jax.sharding.Mesh for a port that JAX runs, found str" in message


def test_a_module_needs_processes() -> None:
    pair = torch_models.pair(torch_models.whole)
    ((status, message),) = results(pair, torch_models.map_of(pair))
    assert status == "skip"
    assert "expected a launched process group, found none. Start the check by torchrun" in message


PAIRS = """
import torch.distributed as dist
from datetime import timedelta
from tests.conformance.sharded import torch_models

dist.init_process_group("gloo", timeout=timedelta(seconds=60))


def refused_by_one(model):
    torch_models.whole(model)
    if dist.get_rank() == 1:
        raise ValueError("not here")


PAIR = torch_models.pair(torch_models.untied)
ALONE = torch_models.pair(refused_by_one)
"""


def checked(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    (folder / "pairs.py").write_text(PAIRS)
    command = [*TORCHRUN, "paritree", "check", f"{folder}/pairs.py:{name}", "--contracts", "sharded", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    run = [sys.executable, *command]
    return subprocess.run(run, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_of_the_command_the_first_process_tells(tmp_path: Path) -> None:
    run = checked(tmp_path, "PAIR")
    assert run.returncode == 1
    assert run.stdout.count("lost tie in 'embed'") == 1
    assert run.stdout.count("1 contract of") == 1


@pytest.mark.thorough
def test_where_one_process_raises_all_end(tmp_path: Path) -> None:
    run = checked(tmp_path, "ALONE")
    assert run.returncode == 1
    assert "process 1 raises alone" in run.stderr
    assert "found ValueError: not here" in run.stderr
