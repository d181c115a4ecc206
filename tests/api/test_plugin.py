"""The pytest plugin: which tests a suite becomes, what they say, and what a session writes of them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

# Imported here, since a session inside this one drops the modules that it was the first to import.
from paritree import KnownDifference, Map, MapRow, Pair, check, impl_torch, pytest_plugin, suites
from paritree.common import files
from paritree.conformance.check import Examination
from paritree.impl_jax import nnx as nnx_wing

pytest_plugins = ["pytester"]

PAIRS = """
import numpy as np
import torch
from flax import nnx
from paritree import KnownDifference, Pair, suite

class Net(torch.nn.Module):
    def __init__(self, slope=1.0):
        super().__init__()
        self.slope, self.first, self.second = slope, torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)
    def forward(self, x):
        return self.second(torch.relu(self.first(x)) * self.slope)

class Port(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.second = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))

inputs = (np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),)

def port():
    return Pair(Net(), Port(), inputs)
def refactored():
    return Pair(Net(), Net(), inputs)
def drifted():
    return Pair(Net(), Net(1.5), inputs)
def seeded():
    return Pair(lambda seed: Net(), lambda seed: Net(), inputs)
"""
# Hypothesis' plugin would be imported again for each session inside this one.
PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
LENGTHS = {"first.weight": (6, 4), "first.bias": (6,), "second.weight": (3, 6), "second.bias": (3,)}


def to_itself() -> Map:
    rows = [
        MapRow(path, path, shape, shape, {2: "a b -> a b", 1: "a -> a"}[len(shape)], "name")
        for path, shape in LENGTHS.items()
    ]
    return Map(tuple(rows), ("torch", "torch"))


def to_nnx() -> Map:
    rows = [
        MapRow(path, path.replace("weight", "kernel"), shape, shape[::-1], layout, "name")
        for path, shape in LENGTHS.items()
        for layout in [{2: "a b -> b a", 1: "a -> a"}[len(shape)]]
    ]
    return Map(tuple(rows), ("torch", "nnx"))


@pytest.fixture(scope="module")
def warm() -> None:
    """All modules that a session inside this one needs, which it would import again each time."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 3))
    pair = Pair(model, copy.deepcopy(model), (np.ones((5, 4), np.float32),))
    report = check(pair, devices=["cpu"], contracts=("names", "shapes", "forward", "gradients"))
    assert all((report.to_json(), report.to_junit(), report.to_html()))


@pytest.fixture
def folder(warm: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with pairs and their maps, on a machine without a GPU."""
    for wing in (impl_torch, nnx_wing):
        monkeypatch.setattr(wing, "devices", lambda: ("cpu",))
    pytester.makepyfile(suite_pairs=PAIRS)
    pytester.syspathinsert()
    to_itself().save(pytester.path / "same.json")
    to_nnx().save(pytester.path / "nnx.json")
    return pytester


def ran(folder: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    folder.makepyfile(test_port=f"from suite_pairs import *\n{body}\n")
    return folder.runpytest_inprocess(*PLAIN, *arguments)


def ids(result: pytest.RunResult) -> list[str]:
    return [line.partition("::")[2] for line in result.outlines if line.startswith("test_port.py::")]


def said(result: pytest.RunResult) -> str:
    return result.stdout.str()


def test_there_is_one_test_for_each_contract_and_group(folder: pytest.Pytester) -> None:
    body = "test_port = suite(port, 'nnx.json')"
    found = ids(ran(folder, body, "--collect-only", "-q"))
    assert found == [
        "test_port::names",
        "test_port::shapes[first]",
        "test_port::shapes[second]",
        "test_port::ties",
        "test_port::layout[first]",
        "test_port::layout[second]",
        "test_port::forward",
        "test_port::gradients[first]",
        "test_port::gradients[second]",
        "test_port::tied_gradients",
        "test_port::training[first]",
        "test_port::training[second]",
        "test_port::modes",
        "test_port::determinism",
        "test_port::recipe",
        "test_port::sharded",
        "test_port::values[first]",
        "test_port::values[second]",
        "test_port::round_trip",
        "test_port::initialization[first]",
        "test_port::initialization[second]",
        "test_port::device[cuda]",
    ]


def test_the_ids_are_the_same_when_the_pair_is_aligned_first(folder: pytest.Pytester) -> None:
    given = "contracts=('names', 'gradients'), devices=['cpu']"
    aligned = ids(ran(folder, f"test_port = suite(refactored, {given})", "--collect-only", "-q"))
    assert aligned == ["test_port::names", "test_port::gradients[first]", "test_port::gradients[second]"]
    assert ids(ran(folder, f"test_port = suite(refactored, 'same.json', {given})", "--collect-only", "-q")) == aligned


def test_precisions_and_devices_are_in_the_id_where_they_are_not_the_default(
    folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impl_torch, "devices", lambda: ("cpu", "cuda"))
    given = "contracts=('names', 'forward', 'layout'), precisions=('float32', 'bfloat16')"
    body = f"test_port = suite(refactored, 'same.json', {given})"
    assert ids(ran(folder, body, "--collect-only", "-q", "-k", "not second")) == [
        "test_port::names",
        "test_port::layout[first]",
        "test_port::layout[first-bfloat16]",
        "test_port::forward",
        "test_port::forward[bfloat16]",
        "test_port::names[cuda]",
        "test_port::layout[first-cuda]",
        "test_port::layout[first-cuda-bfloat16]",
        "test_port::forward[cuda]",
        "test_port::forward[cuda-bfloat16]",
    ]


def test_only_names_that_tests_have_are_collected(folder: pytest.Pytester) -> None:
    body = "port = suite(refactored, 'same.json')\ndef test_other(): pass"
    assert ids(ran(folder, body, "--collect-only", "-q")) == ["test_other"]


def test_a_port_that_is_the_same_passes(folder: pytest.Pytester) -> None:
    body = "test_port = suite(port, 'nnx.json', contracts=('names', 'gradients', 'tied gradients', 'initialization'))"
    result = ran(folder, body, "-rs")
    result.assert_outcomes(passed=3, skipped=4)
    result.stdout.fnmatch_lines(
        [
            "paritree: paritree *, torch *, jax *, flax *, numpy *",
            "paritree: test_port.py::test_port: torch -> nnx on cpu at float32, false alarms 1e-06",
            "paritree: torch is set to: devices cpu*, float32 matmul precision *, deterministic algorithms *",
            "paritree: nnx is set to: devices cpu*, matmul precision *",
            "SKIPPED [[]1[]] test_port.py:2: no parameter has more than one site",
            "SKIPPED [[]2[]] test_port.py:2: the reference is a live model: give a factory, a function of a seed, *",
            "SKIPPED [[]1[]] test_port.py:2: cuda is not present: torch sees cpu; nnx sees cpu",
        ]
    )


def test_a_failure_says_where_how_much_and_why(folder: pytest.Pytester) -> None:
    body = "test_port = suite(drifted, 'same.json', contracts=('gradients',), devices=('cpu',))"
    result = ran(folder, body, "-v")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "test_port.py::test_port::gradients[[]first[]] FAILED *",
            "gradients in 'first': 2 of 2 do not hold (torch -> torch, cpu, float32)",
            "first.weight (= first.weight): the gradient is 1.5 times what it should be",
            "  paths:    first.weight = first.weight",
            "  measured: 0.5, allowed * eps *",
            "  cause:    gradient scale",
            "  module:   'first' = 'first'",
            "first.bias (= first.bias): the gradient is 1.5 times what it should be",
            "gradients in 'second': 1 of 2 do not hold (torch -> torch, cpu, float32)",
            "second.weight (= second.weight): the gradient is 1.5 times what it should be",
            "paritree: test_port.py::test_port: gradients: gradient scale in 'first': first.weight (= first.weight): *",
            "FAILED test_port.py::test_port::gradients[[]first[]] - gradient scale in 'first':*",
        ]
    )
    assert "Traceback" not in said(result)
    assert "suites.py" not in said(result)


def test_a_failure_that_only_follows_says_so_in_a_line(folder: pytest.Pytester) -> None:
    body = "test_port = suite(drifted, 'same.json', contracts=('forward', 'gradients', 'modes'), devices=('cpu',))"
    result = ran(folder, body, "-vv")
    result.assert_outcomes(failed=4)
    cause = "scale in 'second': *"
    result.stdout.fnmatch_lines(
        [
            cause,
            "forward: 1 of 1 do not hold (torch -> torch, cpu, float32)",
            f"follows from forward: {cause} (gradients in 'first': 2 of 2 do not hold)",
            f"follows from forward: {cause} (gradients in 'second': 1 of 2 do not hold)",
            f"follows from forward: {cause} (modes: 1 of 4 do not hold)",
            f"paritree: test_port.py::test_port: forward: {cause} (4 more follow from it)",
            f"FAILED test_port.py::test_port::forward - {cause}",
            f"FAILED test_port.py::test_port::gradients[[]first[]] - follows from forward: {cause}",
        ]
    )
    # The same where its own test does not run, and nothing else is measured for it.
    chosen = ran(folder, body, "-vv", "-k", "gradients and first")
    chosen.stdout.fnmatch_lines([f"follows from forward: {cause} (gradients in 'first': 2 of 2 do not hold)"])


def test_each_contract_is_measured_once_and_only_if_a_test_of_it_runs(
    folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined, original = [], Examination._findings
    monkeypatch.setattr(Examination, "_findings", lambda self, unit: examined.append(unit) or original(self, unit))
    body = "test_port = suite(refactored, 'same.json', contracts=('names', 'forward', 'gradients'), devices=['cpu'])"
    ran(folder, body).assert_outcomes(passed=4)
    assert [unit.contract for unit in examined] == ["names", "forward", "gradients"]
    for chosen, contracts in {
        ("test_port.py::test_port::gradients[first]",): ["gradients"],
        ("-k", "gradients and not second"): ["gradients"],
        ("--collect-only",): [],
    }.items():
        examined.clear()
        result = ran(folder, body, *chosen)
        result.assert_outcomes(passed=len(contracts), deselected=3 if chosen[0] == "-k" else 0)
        assert [unit.contract for unit in examined] == contracts


def test_a_known_difference_is_expected_to_fail_and_one_that_is_gone_fails(folder: pytest.Pytester) -> None:
    (folder.path / "known.toml").write_text(
        '[[known_difference]]\ncontract = "forward"\nreason = "a slope of its own"\n'
        '[[known_difference]]\ncontract = "gradients"\npath = "first.*"\nreason = "the same slope"\n'
        '[[known_difference]]\ncontract = "shapes"\npath = "*.bias"\nreason = "gone by now"\n'
    )
    given = "contracts=('forward', 'gradients', 'shapes'), devices=['cpu'], known_differences='known.toml'"
    body = f"test_port = suite(drifted, 'same.json', {given})"
    result = ran(folder, body, "-rx")
    result.assert_outcomes(xfailed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "shapes in 'first': 1 of 3 do not hold (torch -> torch, cpu, float32)",
            "the known difference shapes at '[*].bias' no longer occurs: take it off the list (its reason was: gone *",
            "XFAIL test_port.py::test_port::forward - the output differs by * (known: a slope of its own)",
            "XFAIL test_port.py::test_port::gradients[[]first[]] - *(known: the same slope)",
        ]
    )
    ran(folder, body, "--runxfail").assert_outcomes(failed=5)


def test_a_pair_that_cannot_be_examined_is_one_failure(folder: pytest.Pytester) -> None:
    body = (
        "def refuse(seed): raise OSError('no weights')\n"
        "test_port = suite(lambda: Pair(refuse, Net(), inputs))\n"
        "test_none = suite(lambda: Net())\n"
        "test_broken = suite(lambda: nothing)\n"
        "def test_other(): pass\n"
    )
    result = ran(folder, body)
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(
        [
            "PairError: reference: expected a factory that makes a model, found OSError: no weights. "
            "A factory is a function of a seed.",
            "UsageError: suite: expected a paritree.Pair or a function that gives one, found Net. "
            "Make one: Pair(reference, port, inputs).",
            "E   NameError: name 'nothing' is not defined",
        ]
    )


def test_a_call_a_factory_or_a_pair_that_exits_is_a_failure_and_the_session_goes_on(folder: pytest.Pytester) -> None:
    body = (
        "def leave(*given): raise SystemExit(3)\n"
        "test_pair = suite(leave)\n"
        "test_factory = suite(lambda: Pair(leave, Net(), inputs))\n"
        "test_call = suite(Pair(Net(), Net(), inputs, leave), 'same.json', contracts=['forward'], devices=['cpu'])\n"
        "def test_other(): pass\n"
    )
    result = ran(folder, body)
    result.assert_outcomes(failed=3, passed=1)
    told = "found SystemExit: it exits with code 3. Leave the exit to who runs it as a program."
    result.stdout.fnmatch_lines(
        [
            f"PairError: suite: expected code that returns, {told}",
            "PairError: reference: expected a factory that makes a model, found SystemExit: it exits with code 3. "
            "A factory is a function of a seed.",
            f"PairError: reference: expected code that returns, {told}",
        ]
    )


def test_inputs_that_a_side_does_not_take_are_said_in_each_test_once(folder: pytest.Pytester) -> None:
    given = "contracts=('forward', 'gradients'), devices=['cpu']"
    body = f"test_port = suite(lambda: Pair(Net(), Net(), (inputs[0][:, :3],)), 'same.json', {given})"
    result = ran(folder, body)
    result.assert_outcomes(failed=3)
    lines = [line for line in result.outlines if line.startswith("PairError: ")]
    assert len(lines) == 3
    assert lines[0].startswith("PairError: reference: expected inputs that the model takes, found RuntimeError: mat1 ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "contracts=['foward']",
            "foward: expected the name of a contract, found 'foward', which is none. Did you mean",
        ),
        ("contracts='forward'", "suite: expected a sequence of names, found 'forward'."),
        ("devices=()", "suite: expected a sequence of names, found ()."),
        (
            "devices=['gpu']",
            "gpu: expected the name of a device, found 'gpu', which is none. JAX's 'gpu' is 'cuda', or",
        ),
        ("alpha=2", "alpha: expected a rate of false alarms between 0 and 1, found 2. 1e-6 is the default."),
        ("known_differences='no.toml'", "/no.toml: expected a readable TOML file, found FileNotFoundError: "),
        ("map='no.json'", "/no.json: expected a file with a map, found No such file or directory."),
    ],
)
def test_wrong_arguments_are_an_error_of_the_module(folder: pytest.Pytester, given: str, message: str) -> None:
    result = ran(folder, f"test_port = suite(refactored, {given})")
    result.assert_outcomes(errors=1)
    (line,) = [line for line in result.outlines if line.startswith("test_port.py::test_port: ")]
    assert message in line
    assert "Traceback" not in said(result)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--paritree-device=gpu",
            "gpu: expected the name of a device, found 'gpu', which is none. JAX's 'gpu' is 'cuda', or 'rocm' where it "
            "runs on ROCm.",
        ),
        ("--require-device=tqu", "tqu: expected the name of a device, found 'tqu', which is none. Did you mean 'tpu'?"),
        (
            "--paritree-alpha=5%",
            "--paritree-alpha: expected a rate of false alarms between 0 and 1, found '5%'. 1e-6 is the default.",
        ),
        (
            "--paritree-alpha=1",
            "--paritree-alpha: expected a rate of false alarms between 0 and 1, found '1'. 1e-6 is the default.",
        ),
        (
            "--paritree-report=port.jsn",
            "--paritree-report: expected a file that ends in .json, .xml, .html, found 'port.jsn'. "
            "Did you mean '.json'?",
        ),
    ],
)
def test_an_option_that_cannot_be_followed_ends_the_session(
    pytester: pytest.Pytester, option: str, message: str
) -> None:
    result = pytester.runpytest_inprocess(*PLAIN, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [f"ERROR: paritree: {message}"]


def test_a_report_that_cannot_be_written_is_said_before_anything_runs(pytester: pytest.Pytester) -> None:
    (pytester.path / "taken.json").mkdir()
    for file, found in {
        "no/port.json": f"a folder '{pytester.path / 'no'}' to write 'port.json' in, found none. Make it first.",
        "taken.json": f"a file to write, or to replace by one of its kind, found "
        f"'{pytester.path / 'taken.json'}', which is a folder. Remove it first, or give another place. It was not "
        "touched.",
    }.items():
        result = pytester.runpytest_inprocess(*PLAIN, f"--paritree-report={file}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert [line for line in result.errlines if line] == [f"ERROR: paritree: --paritree-report: expected {found}"]


def test_a_required_device_that_is_absent_fails(folder: pytest.Pytester) -> None:
    body = "test_port = suite(refactored, 'same.json', contracts=['names'])"
    result = ran(folder, body, "--require-device=cuda")
    result.assert_outcomes(passed=1, failed=1)
    absent = "cuda is not present: torch sees cpu; --require-device cuda makes that a failure"
    result.stdout.fnmatch_lines([absent])
    ran(folder, body, "--require-device=cpu").assert_outcomes(passed=1, skipped=1)
    ran(folder, body, "--paritree-device=cpu").assert_outcomes(passed=1)
    ran(folder, body, "--paritree-device=cuda").assert_outcomes(skipped=1)


def test_a_suite_of_no_device_that_is_asked_for_is_skipped(folder: pytest.Pytester) -> None:
    body = "test_port = suite(refactored, 'same.json', contracts=['names'], devices=['cpu'])"
    result = ran(folder, body, "--paritree-device=cuda", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * the suite is for cpu, which --paritree-device leaves out"])


def test_the_rate_of_the_option_is_that_of_all_suites(folder: pytest.Pytester) -> None:
    body = "test_port = suite(seeded, 'same.json', contracts=['names'], alpha=1e-3)"
    assert "at float32, false alarms 0.001" in said(ran(folder, body))
    assert "at float32, false alarms 0.0001" in said(ran(folder, body, "--paritree-alpha=1e-4"))


def test_a_report_has_the_contracts_that_ran(folder: pytest.Pytester) -> None:
    body = (
        "test_port = suite(refactored, 'same.json', contracts=('names', 'forward'), alpha=1e-6)\n"
        "test_other = suite(drifted, 'same.json', contracts=('forward', 'gradients'), name='other', alpha=1e-6)\n"
    )
    result = ran(folder, body, "--paritree-report=port.json", "-k", "not gradients")
    found = json.loads((folder.path / "port.json").read_text())
    assert f"paritree: report of {len(found['results'])} results in port.json" in result.outlines
    assert found["facts"] == {"alpha": 2e-6, "known differences": 0}
    assert {(each["model"], each["contract"], each["status"]) for each in found["results"]} == {
        ("test_port.py::test_port", "names", "pass"),
        ("test_port.py::test_port", "forward", "pass"),
        ("test_port.py::test_port", "", "skip"),
        ("other", "forward", "fail"),
        ("other", "", "skip"),
    }
    ran(folder, body, "--paritree-report=port.xml", "-k", "forward")
    assert ElementTree.parse(folder.path / "port.xml").getroot().tag == "testsuites"
    ran(folder, body, "--paritree-report=port.html", "-k", "forward")
    assert (folder.path / "port.html").read_text().startswith("<!DOCTYPE html>")
    ran(folder, body, "--paritree-report=none.json", "--collect-only")
    assert not (folder.path / "none.json").exists()
    assert not list(folder.path.glob("*.part"))


def test_a_report_that_can_be_written_no_more_is_said(folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "write_whole", full)
    body = "test_port = suite(refactored, 'same.json', contracts=['names'], devices=['cpu'])"
    result = ran(folder, body, "--paritree-report=port.json")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "paritree: the report could not be written: no space left on device" in result.outlines


def test_a_suite_may_stand_in_a_class(folder: pytest.Pytester) -> None:
    body = "class TestPort:\n    test_it = suite(refactored, 'same.json', contracts=['names'], devices=['cpu'])"
    assert ids(ran(folder, body, "--collect-only", "-q")) == ["TestPort::test_it::names"]


class Worker:
    """Makes a session one that reports to another, as xdist does it."""

    config: Any = None

    def __init__(self) -> None:
        self.workeroutput: dict[str, bytes] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: Any) -> None:
        config.workerinput, config.workeroutput = {}, self.workeroutput


def test_what_other_processes_found_is_joined(folder: pytest.Pytester) -> None:
    body = "test_port = suite(refactored, 'same.json', contracts=('names', 'shapes'), devices=['cpu'])"
    folder.makepyfile(test_port=f"from suite_pairs import *\n{body}\n")
    workers = Worker(), Worker()
    for worker, chosen in zip(workers, ("names", "names or shapes"), strict=True):
        folder.inline_run(*PLAIN, "-k", chosen, "--paritree-report=port.json", plugins=[worker])
    assert not (folder.path / "port.json").exists()
    controller = SimpleNamespace(stash=pytest.Stash(), getoption=lambda name: None)
    controller.stash[pytest_plugin._GATHERED] = joined = pytest_plugin.Gathered(controller)  # type: ignore[arg-type]
    crashed = SimpleNamespace(config=controller)
    for worker in workers:
        worker.config = controller
        pytest_plugin.pytest_testnodedown(worker, None)
    pytest_plugin.pytest_testnodedown(crashed, "crashed")
    assert [result.contract for result in joined.report().results] == [*["names"] * 4, *["shapes"] * 4]
    assert (
        joined.lines()[0] == "paritree: test_port.py::test_port: torch -> torch on cpu at float32, false alarms 1e-06"
    )


@pytest.mark.thorough
def test_a_session_of_several_processes_writes_one_report(folder: pytest.Pytester) -> None:
    body = "test_port = suite(refactored, 'same.json', contracts=('names', 'gradients', 'shapes'), devices=['cpu'])"
    result = ran(folder, body, "-n2", "--dist=loadgroup", "--paritree-report=port.json")
    result.assert_outcomes(passed=5)
    found = json.loads((folder.path / "port.json").read_text())
    assert len(found["results"]) == 12
    result.stdout.fnmatch_lines(
        ["paritree: torch is set to: devices cpu*", "paritree: report of 12 results in port.json"]
    )


def test_the_tests_of_a_contract_go_to_one_process(folder: pytest.Pytester) -> None:
    body = "test_port = suite(refactored, 'same.json', contracts=('names', 'gradients'), devices=['cpu'])"
    folder.makepyfile(test_port=f"from suite_pairs import *\n{body}\n")
    items, _ = folder.inline_genitems(*PLAIN)
    marks = [mark.args for item in items for mark in item.iter_markers("xdist_group")]
    assert marks == [("test_port names cpu float32",), *[("test_port gradients cpu float32",)] * 2]


PROBE = """
import sys, pytest
def loaded(folder):
    pytest.main([folder, "--collect-only", "-q", "-p", "no:hypothesispytest", "--rootdir", folder])
    print("loaded:", [name for name in ("torch", "jax") if name in sys.modules])
loaded(sys.argv[1])
loaded(sys.argv[2])
"""


def test_no_framework_is_imported_until_a_suite_is_collected(tmp_path: Path) -> None:
    """And the probe can fail: the second folder has a suite."""
    plain, suited = tmp_path / "plain", tmp_path / "suited"
    plain.mkdir()
    suited.mkdir()
    (plain / "test_plain.py").write_text("import paritree\n\ndef test_plain(): pass\n")
    (suited / "test_suited.py").write_text(
        "import paritree\n\ntest_port = paritree.suite(lambda: __import__('torch'))\n"
    )
    done = subprocess.run([sys.executable, "-c", PROBE, plain, suited], capture_output=True, text=True, check=True)
    assert "test_plain.py::test_plain" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("loaded: ")] == [
        "loaded: []",
        "loaded: ['torch']",
    ]


class Scaled(torch.nn.Module):
    """A module whose own parameter stands beside those of a layer in it, and one that only has a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(4))
        self.norm = torch.nn.BatchNorm1d(4, affine=False)
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(x) * self.scale)


def test_parameters_of_the_root_and_modules_of_buffers() -> None:
    pair = Pair(Scaled(), Scaled(), (np.ones((3, 4), np.float32),))
    shapes = {
        "scale": (4,),
        "norm.running_mean": (4,),
        "norm.running_var": (4,),
        "linear.weight": (4, 4),
        "linear.bias": (4,),
    }
    rows = [
        MapRow(path, path, shape, shape, "a b -> a b" if len(shape) == 2 else "a -> a", "name")
        for path, shape in shapes.items()
    ]
    made = suites.suite(pair, Map(tuple(rows), ("torch", "torch")), contracts=("shapes", "gradients"), devices=["cpu"])
    run = made.run(suites.Options(), "scaled")
    assert [part.label for part in run.parts] == [
        "shapes",
        "shapes[norm]",
        "shapes[linear]",
        "gradients",
        "gradients[linear]",
    ]
    assert run is made.run(suites.Options(), "scaled")
    assert {result.path for part in run.parts[:1] for result in run._of_part(part, run.results(part.unit))} == {"scale"}
    assert {run.verdict(part).status for part in run.parts} == {"pass"}


def test_a_result_of_no_group_is_shown_by_each() -> None:
    known = KnownDifference("shapes", "norm.*", "said elsewhere")
    pair = Pair(Scaled(), Scaled(), (np.ones((3, 4), np.float32),))
    rows = [MapRow("linear.bias", "linear.bias", (4,), (4,), "a -> a", "name")]
    made = suites.suite(pair, Map(tuple(rows), ("torch", "torch")), devices=["cpu"], known_differences=[known])
    run = made.run(suites.Options(), "scaled")
    (part,) = [part for part in run.parts if part.unit.contract == "values"]
    assert run.verdict(part) == suites.PartVerdict(
        "skip",
        "the port holds values of its own: 0 of 1 tensor that is no constant holds the reference's, in any order, "
        "scale or precision. If it was loaded, Pair(..., loaded=True) makes this a failure.",
    )
    said = suites.suite(replace(pair, loaded=True), Map(tuple(rows), ("torch", "torch")), contracts=["values"])
    verdicts = [said.run(suites.Options(("cpu",)), "scaled").verdict(part)]
    assert ["the port is said to be loaded" in verdict.text for verdict in verdicts if verdict.status == "fail"] == [
        True
    ]


def test_long_lists_of_failures_are_folded() -> None:
    def listed(dtype: torch.dtype) -> torch.nn.Module:
        return torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(2, dtype=dtype)) for _ in range(14)])

    rows = [MapRow(f"{n}", f"{n}", (2,), (2,), "a -> a", "name") for n in range(14)]
    pair = Pair(listed(torch.float32), listed(torch.float64), ())
    made = suites.suite(pair, Map(tuple(rows), ("torch", "torch")), contracts=["shapes"], devices=["cpu"])
    run = made.run(suites.Options(), "listed")
    (part,) = run.parts
    verdict = run.verdict(part)
    assert verdict.status == "fail"
    lines = verdict.text.splitlines()
    assert lines[:7] == [
        "dtype: 0: is float32 in the reference and float64 in the port (0)",
        "shapes: 14 of 14 do not hold (torch -> torch, cpu, float32)",
        "",
        "0: is float32 in the reference and float64 in the port (0)",
        "  paths:    0 = 0",
        "  measured: 1, allowed 0",
        "  cause:    dtype",
    ]
    assert lines[-2:] == ["", "and 4 more"]
