"""README is true: what it shows is what the commands print, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paritree import cli

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    assert stop.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [("table", "shared-layer"), ("--help",)])
def test_what_it_shows_is_what_is_printed(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    line = f"$ paritree {' '.join(command)}\n"
    (shown,) = [block.removeprefix(line) for block in blocks("console") if block.startswith(line)]
    assert shown == printed(capsys, *command)


def test_the_rows_of_the_check_that_it_shows_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = [block for block in blocks("console") if block.startswith("$ make check\n")]
    lines = [line.split() for line in shown.splitlines() if line.startswith(("model", "mlp"))]
    out = [line.split() for line in printed(capsys, "check", "mlp", "--device", "cpu").splitlines()]
    # Of the last digits of an error only the size is promised: a level of Holm's depends on the whole run.
    steady = [line for line in lines if line[2] in {"contract", "names", "shapes", "ties", "weights"}]
    assert all(line in out for line in steady)
    assert [line[:6] + line[-1:] for line in lines[1:]] == [line[:6] + line[-1:] for line in out if line[:1] == ["mlp"]]


def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "6 parameters, 121 scalars, 2 aliases" in out
    assert "TieGroup(owner='2.weight', aliases=(Tie(owner='2.weight', alias='4.weight'" in out
    lines = [
        "('layers', 0, 'kernel')",
        "('blocks', 'layers_0', 'attention', 'query|key|value', 'kernel')",
        "('transformer.wte.weight', 'transformer.wpe.weight')",
        "True 1.0",
        "in_proj_weight[0:8] | (a b) c -> c a b | query.kernel | fingerprint",
        "in_proj_weight[8:16] | (a b) c -> c a b | key.kernel | fingerprint",
        "(8, 2, 4)",
        "eps is 1e-05 in the reference and 1e-01 in the port",
        "activation",
        "of the output of '0' (Linear) the reference takes the exact GELU and the port GELU's tanh approximation.",
        "0.weight = layers.0.kernel",
        "reference: uniform +-1/sqrt(fan_in) (PyTorch Linear's default); port: truncated normal, std 1/sqrt(fan_in) "
        "(Flax Dense's default); ratio of std 1.74",
    ]
    assert [line for line in out.splitlines() if line in lines] == lines
