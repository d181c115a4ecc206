"""The check of a device, of which a machine without an accelerator can run the parts on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from . import parts
from .__main__ import main


def test_the_bits_are_checked_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "devices.json"
    assert main(["--device", "cpu", "--part", "same bits", "--json", str(file)]) == 0
    told = json.loads(file.read_text())
    assert [(row["what"], row["device"], row["status"], row["checks"]) for row in told["rows"]] == [
        ("torch", "cpu", "pass", 7),
        ("linen", "cpu", "pass", 7),
    ]
    assert set(told["settings"]) == {"torch", "nnx"}
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["part", "what", "device", "precision", "checks", "forward", "allowed", "seconds"]
    assert len(lines) == 2
    assert last == "2 lines on cpu: 0 failed, 0 skipped"


def test_other_bits_fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = parts.draws.drawn
    monkeypatch.setattr(parts.draws, "drawn", lambda *given, **more: drawn(*given, **{**more, "seed": 4}))
    assert main(["--device", "cpu", "--part", "same bits"]) == 1
    out = capsys.readouterr().out
    assert "same bits         torch            cpu        float32   fail " in out
    assert "Uniform(low=-0.3, high=0.3): " in out
    assert "of 1054720 values differ" in out


def test_a_required_device_that_is_absent_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--require-device", "tpu", "--part", "same bits"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 lines on tpu: 2 failed, 0 skipped"


def test_models_are_checked_at_each_precision(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts, "MODELS", {"gpt2": parts.MODELS["gpt2"]})
    monkeypatch.setattr(parts, "CONTRACTS", ("names", "forward"))
    assert main(["--device", "cpu", "--part", "architectures"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:6] for line in lines if line.startswith("architectures")] == [
        ["gpt2", wing, "cpu", precision, "skip" if precision == "tf32" else "pass"]
        for wing in ("linen", "nnx")
        for precision in parts.PRECISIONS
    ]
    assert lines.count("    TF32 is a precision of GPUs") == 2
