"""`paritree table` with inputs: the modules of a model of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paritree import cli

FILE = """
import numpy as np
import torch
import paritree

net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
spec = paritree.Linear(4, 2)
batch = (np.ones((3, 4), np.float32),)
pair = paritree.Pair(net, net, batch)


def twice(model, inputs):
    return model(torch.cat([inputs[0], inputs[0]]))
"""
TREE = """\
module or parameter  type        output or shape  scalars
(the model itself)   Sequential  (3, 2)                58
  0                  Linear      (3, 8)                40
    weight           float32     (8, 4)                32
    bias             float32     (8,)                   8
  1                  ReLU        (3, 8)                 0
  2                  Linear      (3, 2)                18
    weight           float32     (2, 8)                16
    bias             float32     (2,)                   2

4 parameters, 58 scalars
"""


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["table", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FILE)
    return str(tmp_path / "mine.py")


@pytest.mark.parametrize("inputs", ["batch", "pair"])
def test_inputs_show_the_modules_as_a_tree(inputs: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, f"{file}:net", "--inputs", inputs) == (0, TREE, "")


def test_depth_and_call(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, f"{file}:net", "--inputs", "batch", "--call", "twice", "--depth", "0")
    assert code == 0
    assert out.splitlines()[1].split()[-3:] == ["(6,", "2)", "58"]
    assert len(out.splitlines()) == 4


def test_modules_as_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(call(capsys, f"{file}:net", "--inputs", "batch", "--json")[1])
    assert [each["path"] for each in found["modules"]] == ["", "0", "1", "2"]
    assert [each["path"] for each in found["rows"]] == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("mlp --inputs batch", "--inputs is about a model of a file, FILE.py:MODEL."),
        ("FILE:net --depth 1", "--depth is about --inputs NAME."),
        ("FILE:net --call twice", "--call is about --inputs NAME."),
        ("FILE:net --inputs bach", "expected the name 'bach' in the model's file, found none. Did you mean 'batch'?"),
        ("FILE:net --inputs batch --call thrice", "found none of that name. Did you mean 'twice'?"),
        ("FILE:spec --inputs batch", "expected a live model, which can be called, found Linear. Build the spec first"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: str, message: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, *arguments.replace("FILE", file).split())
    assert (code, out) == (2, "")
    assert message in err
