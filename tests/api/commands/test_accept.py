"""`paritree check --accept`: what the frameworks themselves differ in goes into a file, with a reason; nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paritree import KnownDifference, cli, impl_torch
from paritree.conformance.known import load

PAIRS = """
import numpy as np
import torch
from flax import nnx
from paritree import Pair

def reference(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))

def made(seed, bias):
    norm = nnx.LayerNorm(8, epsilon=1e-5, rngs=nnx.Rngs(0))
    return nnx.Sequential(nnx.Linear(8, 8, rngs=nnx.Rngs(seed), bias_init=bias), norm)

def pair():
    port = lambda seed: made(seed, nnx.initializers.zeros)
    return Pair(reference, port, (np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32),))

def faulty():
    port = lambda seed: made(seed, nnx.initializers.normal(0.02))
    return Pair(reference, port, (np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32),))
"""
REASON = "the weights are always converted"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(impl_torch, "devices", lambda: ("cpu",))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.py").write_text(PAIRS)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> tuple[int, str, str]:
    command = ["check", f"pairs.py:{name}", "--device", "cpu", "--contracts", "names,initialization", *arguments]
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_what_is_accepted_is_known_then_and_in_the_next_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "pair")
    assert (code, 'KnownDifference("initialization", "0.bias", ' in out) == (1, True)
    code, out, err = call(capsys, "pair", "--accept", "known.toml", "--reason", REASON)
    assert (code, err) == (0, "known.toml: 2 accepted\n")
    assert f"(known: {REASON})" in " ".join(out.split())
    assert load("known.toml") == (
        KnownDifference("initialization", "0.weight", REASON),
        KnownDifference("initialization", "0.bias", REASON),
    )
    assert call(capsys, "pair", "--known-differences", "known.toml")[0] == 0
    code, _, err = call(capsys, "pair", "--accept", "known.toml", "--reason", "another one")
    assert (code, err) == (0, "known.toml: 0 accepted, 2 were there already\n")


def test_a_fault_is_not_accepted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "faulty", "--accept", "known.toml", "--reason", REASON)
    assert code == 1
    assert err.splitlines() == [
        "known.toml: 1 accepted",
        "not accepted: initialization at '0.bias'; no difference between the frameworks explains it",
    ]
    assert [known.path for known in load("known.toml")] == ["0.weight"]


def test_a_terminal_is_asked_for_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda text, err: f"{text} Since {err}.")
    code, _, err = call(capsys, "pair", "--accept", "known.toml")
    assert code == 0
    assert "initialization at '0.weight': PyTorch draws the weight of its Linear uniform +-1/sqrt(fan_in) and" in err
    assert load("known.toml")[0].reason == "Why are these accepted? Since True."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--accept", "known.toml"), "--accept needs a reason, and there is no terminal to ask for one: give --reason"),
        (("--accept", "known.toml", "--reason", " "), "--reason is empty: say why the differences are accepted."),
        (("--reason", REASON), "--reason is about --accept FILE.toml."),
        (("--accept", "away/known.toml", "--reason", REASON), "expected a folder 'away' to write 'known.toml' in"),
        (("--accept", "pairs.py", "--reason", REASON), "expected a readable TOML file"),
    ],
)
def test_what_cannot_be_accepted_is_said_before_the_check(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    code, out, err = call(capsys, "pair", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert {each.name for each in folder.iterdir()} - {"__pycache__"} == {"pairs.py"}


def test_reference_models_have_nothing_to_accept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "mlp", "--accept", "known.toml", "--reason", REASON])
    assert stop.value.code == 2
    assert "--accept is about a pair, FILE.py:PAIR." in capsys.readouterr().err
