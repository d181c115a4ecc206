"""The devices of a pair's sides. A second CPU device of JAX's stands for an accelerator, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import paritree
from paritree import Pair
from paritree.conformance import check_reference_models, reference_models
from paritree.pairs.precision import Setting
from paritree.pairs.wings import pair_absence

MODELS = ("mlp", "shared-layer")
PROGRAM = Path(__file__).with_name("on_second_device.py")


@cache
def ran(*arguments: str) -> list[str]:
    """What the program says, of these reference models and of pairs."""
    run = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_reference_models_on_a_second_device_never_touch_the_first() -> None:
    assert ran(*MODELS)[0] == "104 contracts of reference models"


@pytest.mark.thorough
def test_all_reference_models_on_a_second_device_never_touch_the_first() -> None:
    assert ran()[0] == "572 contracts of reference models"


def test_the_sides_of_a_pair_run_where_each_is_told_to() -> None:
    assert ran(*MODELS)[1:3] == ["torch -> nnx on cpu:cpu:1", "nnx -> nnx on cpu:1"]


def test_what_a_call_brings_along_from_a_third_device_is_told() -> None:
    line = ran(*MODELS)[4]
    # In between are JAX's own words.
    assert line.startswith(
        "PairError port: expected inputs that the model takes, found ValueError: Received incompatible"
    )
    assert line.endswith(
        ". The model and its inputs are copied to the device that is checked: make there what the call brings along, "
        "or hold it in the model."
    )


def test_a_device_that_one_side_does_not_have_is_a_skip_that_names_both() -> None:
    assert ran(*MODELS)[3] == (
        "skip cpu:1:cpu, the reference on cpu:1 and the port on cpu: cpu:1 is not present: torch sees cpu"
    )
    own = {"torch": ("cpu", "cuda")}, {"nnx": ("cpu", "tpu", "tpu:1")}
    assert pair_absence("cuda:tpu:1", *own) is None
    assert pair_absence("cpu", *own) is None
    assert pair_absence("cuda", *own) == "cuda is not present: nnx sees cpu, tpu, tpu:1"
    assert pair_absence("cuda:1:mps", *own) == (
        "cuda:1:mps, the reference on cuda:1 and the port on mps: cuda:1 is not present: torch sees cpu, cuda; mps is "
        "not present: nnx sees cpu, tpu, tpu:1"
    )
    # A record runs nowhere, and answers for every device.
    assert pair_absence("tpu", {"recorded": ()}, own[1]) is None


def test_a_setting_tells_each_side_its_own() -> None:
    for device, expected in {
        "cpu": ("cpu", "cpu"),
        "cuda:1": ("cuda:1", "cuda:1"),
        "cpu:cuda": ("cpu", "cuda"),
        "cuda:1:cpu": ("cuda:1", "cpu"),
    }.items():
        setting = Setting(device)
        assert (setting.device_of("reference"), setting.device_of("port")) == expected


class Linear(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.at = nn.Linear(3, 2)
        with torch.no_grad():
            self.at.weight.copy_(torch.arange(6.0).reshape(2, 3) + seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.at(x)


PAIR = Pair(Linear(), Linear(), (np.ones((2, 3), np.float32),))


def test_one_device_of_both_sides_has_one_name() -> None:
    report = paritree.check(PAIR, devices=("cpu:cpu", "cpu", "cpu:0"), contracts=("forward",))
    assert {result.device for result in report.results} == {"cpu"}
    assert len(report.results) == len(paritree.check(PAIR, devices=("cpu",), contracts=("forward",)).results)


def test_a_required_device_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    report = paritree.check(PAIR, devices=("cuda",), required_device="cpu", contracts=("forward",))
    assert {(result.device, result.status) for result in report.results} == {("cpu", "pass"), ("cuda", "skip")}
    with pytest.raises(paritree.DeviceError) as refused:
        paritree.check(PAIR, required_device="cpu:tpu")
    assert str(refused.value) == (
        "expected the device 'cpu:tpu' in every wing, found cpu:tpu, the reference on cpu and the port on tpu: tpu is "
        "not present: torch sees cpu. Drop the requirement, or run where it is."
    )


def test_tf32_is_left_out_where_neither_side_is_on_a_gpu() -> None:
    report = paritree.check(PAIR, devices=("cpu",), precisions=("tf32",), contracts=("forward",))
    assert [result.message for result in report.results] == ["TF32 is a precision of GPUs"]


def test_a_wing_that_sees_a_device_is_checked_there_though_another_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {"torch": ("cpu",), "nnx": ("cpu", "tpu")}
    built = []

    def build(reference: Any, wing: Any, device: str) -> Any:
        built.append((wing.NAME, device, reference.device))

    monkeypatch.setattr(
        reference_models,
        "load_wing",
        lambda name: SimpleNamespace(NAME=name, devices=lambda: seen[name]),
    )
    monkeypatch.setattr(reference_models.Port, "build", staticmethod(build))
    monkeypatch.setattr(reference_models, "check_ports", lambda *_: ())
    report = check_reference_models(["mlp"], wings=("torch", "nnx"), devices=("tpu", "cpu:tpu", "tpu:cpu"))
    assert built == [("nnx", "tpu", "cpu"), ("nnx", "cpu:tpu", "cpu")]
    assert [result.message for result in report.results] == [
        "tpu is not present: torch sees cpu",
        "cpu:tpu, the reference on cpu and the port on tpu: tpu is not present: torch sees cpu",
        "tpu:cpu, the reference on tpu and the port on cpu: tpu is not present: torch sees cpu",
    ]
