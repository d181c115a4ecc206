"""`paritree check`: what it checks, what it writes, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from paritree import Map, MapRow, cli, impl_torch
from paritree.common import files

PAIRS = """
import numpy as np
import torch
from paritree import Pair

class Net(torch.nn.Module):
    def __init__(self, slope=1.0):
        super().__init__()
        self.slope, self.first, self.second = slope, torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)
    def forward(self, x):
        return self.second(torch.relu(self.first(x)) * self.slope)

inputs = (np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),)
pair = Pair(Net(), Net(), inputs)
narrow = Pair(Net(), Net(), (inputs[0][:, :3],))
number = 3

def made():
    return pair
def seeded(seed):
    return Pair(lambda seed: Net(), lambda seed: Net(), inputs)
def drifted():
    return Pair(Net(), Net(1.5), inputs)
def broken():
    raise OSError("no weights")
def leave(*given):
    raise SystemExit
leaving = Pair(Net(), Net(), inputs, None, leave)
made_leaving = Pair(leave, Net(), inputs)
"""
KNOWN = '[[known_difference]]\ncontract = "forward"\nreason = "a slope of its own"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with pairs and their map, on a machine without a GPU."""
    monkeypatch.setattr(impl_torch, "devices", lambda: ("cpu",))
    monkeypatch.chdir(tmp_path)
    lengths = {"first.weight": (6, 4), "first.bias": (6,), "second.weight": (3, 6), "second.bias": (3,)}
    rows = [
        MapRow(path, path, shape, shape, {2: "a b -> a b", 1: "a -> a"}[len(shape)], "name")
        for path, shape in lengths.items()
    ]
    Map(tuple(rows), ("torch", "torch")).save(tmp_path / "map.json")
    (tmp_path / "pairs.py").write_text(PAIRS)
    (tmp_path / "known.toml").write_text(KNOWN)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def checked(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> tuple[int, str, str]:
    """A pair of the file under its map, on CPU."""
    return call(capsys, f"pairs.py:{name}", "--map", "map.json", "--device", "cpu", *arguments)


@pytest.mark.parametrize("name", ["pair", "made", "seeded"])
def test_a_pair_that_holds(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = checked(capsys, name, "--contracts", "names, forward", "--contracts", "shapes")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.endswith("pass")] == ["names", "shapes", "forward"]
    assert out.splitlines()[-1] == f"3 contracts of pairs.py:{name} (torch -> torch; cpu; float32): all hold"


def test_an_exit_of_a_side_is_no_success(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "found SystemExit: it exits with code 0."
    assert checked(capsys, "leaving") == (
        2,
        "",
        f"paritree: port: expected code that returns, {told} Leave the exit to who runs it as a program.\n",
    )
    assert checked(capsys, "made_leaving") == (
        2,
        "",
        f"paritree: reference: expected a factory that makes a model, {told} A factory is a function of a seed.\n",
    )


def test_without_a_map_the_pair_is_aligned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "pairs.py:made", "--contracts", "names")
    assert code == 0
    assert "cuda is not present: torch sees cpu" in out


def test_a_pair_that_drifted(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Lines are wrapped at the width of whatever terminal the suite runs in.
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = checked(capsys, "drifted", "--contracts", "forward,gradients")
    assert code == 1
    lines = out.splitlines()
    said = " ".join(out.split())
    assert said.startswith(
        "pairs.py:drifted [torch -> torch]: 4 failures, of which 3 only follow from another one forward: scale in "
        "'second' forward: 1 failure"
    )
    # All three are half as much again, and rounding decides which is the worst.
    (follow,) = [line for line in lines if line.startswith("    follow   gradients: 3 failures, the worst at ")]
    assert follow.endswith(", by 0.5")
    assert lines.index(follow) < next(number for number, line in enumerate(lines) if line.startswith("contract "))
    assert "2 do not hold" in out.splitlines()[-1]
    code, out, _ = checked(capsys, "drifted", "--contracts", "names,forward", "--known-differences", "known.toml")
    assert code == 0
    assert "a slope of its own" in " ".join(out.split())
    code, out, _ = checked(capsys, "pair", "--contracts", "names,forward", "--known-differences", "known.toml")
    assert code == 1
    assert "no longer occurs" in out


def test_a_pair_that_is_said_to_be_loaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = checked(capsys, "pair", "--contracts", "values,names")
    assert (code, "the port holds values of its own" in " ".join(out.split())) == (0, True)
    code, out, _ = checked(capsys, "pair", "--contracts", "values,names", "--loaded")
    assert (code, "the port is said to be loaded and holds values of its own" in " ".join(out.split())) == (1, True)
    code, _, err = call(capsys, "ones", "--loaded")
    assert (code, "--loaded is about a pair, FILE.py:PAIR." in err) == (2, True)


def test_precisions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--contracts", "forward", "--precision", "float32", "--precision", "bfloat16", "--json")
    code, out, _ = checked(capsys, "pair", *arguments)
    assert code == 0
    assert {each["precision"] for each in json.loads(out)["results"]} == {"float32", "bfloat16"}


def test_all_forms_are_written_beside_the_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forms = ("--json", "port.json", "--junit", "port.xml", "--html", "port.html")
    code, out, _ = checked(capsys, "drifted", "--contracts", "gradients", "--alpha", "1e-3", *forms)
    assert code == 1
    assert out.splitlines()[-1].endswith(": 1 does not hold")
    found = json.loads((folder / "port.json").read_text())
    assert (found["ok"], found["facts"]["alpha"], found["results"][0]["model"]) == (False, 1e-3, "pairs.py:drifted")
    assert ElementTree.parse(folder / "port.xml").getroot().tag == "testsuites"
    assert (folder / "port.html").read_text().startswith("<!DOCTYPE html>")
    assert not list(folder.glob("*.part"))


def test_json_goes_to_the_output_unless_a_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = [
        json.loads(call(capsys, *arguments)[1])
        for arguments in (
            ("ones", "--wing", "torch", "--contracts", "names", "--device", "cpu", "--json"),
            ("--wing", "torch", "--contracts", "names", "--device", "cpu", "--json", "ones"),
            ("--json", "--wing", "torch", "--contracts", "names", "--device", "cpu", "ones"),
        )
    ]
    assert reports[0]["ok"]
    assert reports[0] == reports[1] == reports[2]
    code, out, _ = call(capsys, "ones", "--wing", "torch", "--contracts", "names", "--json", "ones.json")
    assert code == 0
    assert out.splitlines()[-1].endswith("all hold")
    assert json.loads((folder / "ones.json").read_text())["ok"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--contracts foward", "foward: expected the name of a contract, found 'foward', which is none. Did you mean"),
        ("--device gpu", "gpu: expected the name of a device, found 'gpu', which is none. JAX's 'gpu' is 'cuda', or"),
        ("--precision bf16", "bf16: expected the name of a precision, found 'bf16', which is none. Did you mean"),
        ("--map no.json", "no.json: expected a file with a map, found No such file or directory."),
        ("--known-differences no.toml", "no.toml: expected a readable TOML file, found FileNotFoundError: "),
        ("--alpha 2", "--alpha: expected a rate of false alarms between 0 and 1, found '2'. 1e-6 is the default."),
        ("--json no/x.json", "--json: expected a folder 'no' to write 'x.json' in, found none. Make it first."),
        ("--html .", "Error: Invalid value for '--html': File '.' is a directory."),
    ],
)
def test_what_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    code, out, err = call(capsys, "pairs.py:pair", *arguments.split())
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "number",
            "pairs.py:number: expected a paritree.Pair, found int. Make one: Pair(reference, port, inputs).",
        ),
        (
            "broken",
            "pairs.py:broken: expected broken(), a factory, to return a model or pair, found OSError: no weights.",
        ),
        ("piar", "pairs.py:piar: expected the name 'piar' in pairs.py, found none. Did you mean 'pair'?"),
        ("narrow", "reference: expected inputs that the model takes, found RuntimeError: mat1 and mat2 shapes "),
    ],
)
def test_a_target_that_is_no_pair(folder: Path, capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    code, out, err = checked(capsys, name, "--contracts", "forward")
    assert (code, out) == (2, "")
    assert err.startswith(f"paritree: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("ones --precision tf32", "--precision is about a pair, FILE.py:PAIR."),
        ("ones --map map.json", "--map is about a pair, FILE.py:PAIR."),
        ("pairs.py:pair --wing torch", "--wing is about reference models."),
        ("pairs.py:pair ones", "One pair is checked at a time; there are 2 targets: pairs.py:pair, ones."),
    ],
)
def test_options_and_targets_that_do_not_go_together(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    code, out, err = call(capsys, *arguments.split())
    assert (code, out) == (2, "")
    assert f"Error: {message}" in err


def test_a_required_device_that_is_absent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = checked(capsys, "pair", "--require-device", "cuda")
    assert (code, out) == (1, "")
    assert err == (
        "paritree: expected the device 'cuda' in every wing, found cuda is not present: torch sees cpu. Drop the "
        "requirement, or run where it is.\n"
    )
    code, out, _ = call(capsys, "pairs.py:pair", "--map", "map.json", "--device", "cuda")
    assert code == 1
    assert "skipped: cuda is not present: torch sees cpu" in out


def test_nothing_but_the_report_is_in_a_pipe(folder: Path) -> None:
    command = [sys.executable, "-m", "paritree", "check", "pairs.py:pair", "--map", "map.json", "--contracts", "names"]
    done = subprocess.run(
        [*command, "--device", "cpu"], capture_output=True, text=True, env={**os.environ, "TERM": "xterm-256color"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    files.write_whole(target, "old", None)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        files.write_whole(target, "new", None)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert target.read_text() == "old"
