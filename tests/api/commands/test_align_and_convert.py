"""`paritree align` and `paritree convert`: what they print, what they write, and their exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from paritree import Map, cli

PAIR = """
import numpy as np
import torch
from flax import nnx
from paritree import Pair


class Port(nnx.Module):
    def __init__(self, slope=1.0):
        rngs = nnx.Rngs(0)
        self.slope, self.first, self.second = slope, nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)) * self.slope)


torch.manual_seed(0)
reference = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
inputs = (np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),)
pair = Pair(reference, Port(), inputs)
drifted = Pair(reference, Port(1.5), inputs)


def factory(seed):
    return pair
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "pairs.py").write_text(PAIR)
    return tmp_path / "pairs.py"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def cells(text: str) -> dict[str, str]:
    """The summary's names and values, in a line each."""
    lines = [line.rstrip().rpartition("  ") for line in text.splitlines() if "  " in line]
    return {name.strip(): value.strip() for name, _, value in lines}


@pytest.mark.parametrize("name", ["pair", "factory"])
def test_align_writes_a_map_that_convert_takes(
    name: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "align", f"{file}:{name}", "-o", str(tmp_path / "map.json"))
    found = Map.load(tmp_path / "map.json")
    assert (code, err) == (0, "")
    assert cells(out) == {
        "map": "torch -> nnx",
        "proved": "yes",
        "coverage": "100%",
        "rows by fingerprint": "4",
        "rows of pieces": "0",
        "ties": "0",
        "unmatched in torch": "0",
        "unmatched in nnx": "0",
        "not mapped": "0",
    }
    assert {(row.reference, row.port) for row in found.rows} >= {
        ("0.weight", "first.kernel"),
        ("2.bias", "second.bias"),
    }

    generator = np.random.default_rng(1)
    arrays = {row.reference: generator.normal(size=row.shape).astype(np.float32) for row in found.rows}
    save_file({**arrays, "steps": np.arange(2)}, tmp_path / "a.safetensors")
    places = (str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"))
    code, out, err = call(capsys, "convert", "--map", str(tmp_path / "map.json"), *places)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["torch -> nnx: 4 tensors, 204 bytes", "left out: steps"]
    assert np.array_equal(load_file(places[1])["first.kernel"], arrays["0.weight"].T)

    code, out, err = call(capsys, "convert", "--map", str(tmp_path / "map.json"), *places)
    assert (code, out) == (2, "")
    assert err == (
        f"paritree: {places[1]}: expected a destination that is not there yet, found a file. Remove it, or ask to "
        "overwrite it.\n"
    )
    options = ("--overwrite", "--dtype", "bfloat16")
    code, out, err = call(capsys, "convert", "--map", str(tmp_path / "map.json"), *options, *places)
    assert (code, out.splitlines()[0]) == (0, "torch -> nnx: 4 tensors, 102 bytes")


def test_align_prints_the_rows(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "align", f"{file}:pair", "--dtype", "float64")
    assert code == 0
    assert [line.split() for line in out.splitlines()[:2]] == [
        ["torch", "nnx", "layout", "evidence"],
        ["0.weight", "first.kernel", "a", "b", "->", "b", "a", "fingerprint"],
    ]
    assert cells(out)["proved"] == "yes"


def test_align_takes_rules(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "align", f"{file}:pair", "--rule", "0.weight=first.kernel")[0] == 0
    code, out, err = call(capsys, "align", f"{file}:pair", "--rule", "0.{name}=second.{name}")
    assert (code, out) == (1, "")
    assert err.startswith(f"paritree: {file}:pair: rules: 0.{{name}}: expected a path of the port")
    assert call(capsys, "align", f"{file}:pair", "--rule", "0.weight")[2] == (
        "paritree: --rule: expected PATH=PATH, the reference's and the port's, found '0.weight'.\n"
    )


def test_align_exits_with_one_if_nothing_is_proved(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "align", f"{file}:drifted", "-o", str(tmp_path / "map.json"))
    assert (code, out) == (1, "")
    assert err.startswith(f"paritree: {file}:drifted: expected ")
    assert not (tmp_path / "map.json").exists()


def test_align_refuses_what_is_no_pair(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "align", f"{file}:reference") == (
        2,
        "",
        f"paritree: {file}:reference: expected a paritree.Pair, found Sequential. Make one: "
        "Pair(reference, port, inputs).\n",
    )
    assert call(capsys, "align", f"{file}:pear")[2] == (
        f"paritree: {file}:pear: expected the name 'pear' in pairs.py, found none. Did you mean 'pair'?\n"
    )
    assert call(capsys, "align", f"{file}:pair", "--dtype", "float61")[0] == 2
    assert call(capsys, "align", f"{file}:pair", "-o", str(file.parent / "no" / "map.json"))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "b"), "Missing option '--map'"),
        (("--map", "map.json", "a"), "Missing argument 'DESTINATION'"),
        (("--map", "map.json", "a", "b"), "paritree: map.json: expected a file with a map, found No such file"),
    ],
)
def test_convert_needs_a_map_and_two_places(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "convert", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_convert_imports_no_framework_for_safetensors(tmp_path: Path) -> None:
    from paritree import MapRow

    row = MapRow("weight", "kernel", (2, 3), (3, 2), "o i -> i o", "rule")
    Map((row,), ("torch", "nnx")).save(tmp_path / "map.json")
    save_file({"weight": np.ones((2, 3), np.float32)}, tmp_path / "a.safetensors")
    probe = (
        "import sys\nfrom paritree import cli\n"
        "try: cli.main('convert --map map.json a.safetensors b.safetensors'.split())\n"
        "finally: print([name for name in ('torch', 'jax', 'flax', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "torch -> nnx: 1 tensor, 24 bytes\n", "[]\n")


def test_convert_shows_a_bar_on_a_terminal_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = import_module("paritree.commands.convert")
    with command._bar() as on_progress:
        assert on_progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with command._bar() as on_progress:
        assert on_progress is not None
        on_progress(1, 2)


def test_the_bar_stays_in_one_line_of_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = import_module("paritree.commands.convert")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name, value in {"COLUMNS": "40", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    with command._bar() as on_progress:
        assert on_progress is not None
        on_progress(400_000_000, 2_000_000_000)
    err = capsys.readouterr().err
    assert "0.4/2.0 GB" in err
    # What goes up a line to wipe it out does so once.
    assert err.count("\x1b[1A") == 1


@pytest.mark.parametrize("command", ["align", "convert"])
def test_an_interrupt_in_a_users_own_file_leaves_nothing(command: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    arguments = {
        "align": ["align", "slow.py:PAIR", "-o", "map.json"],
        "convert": ["convert", "--map", "map.json", "--like", "slow.py:PORT", "a.safetensors", "b.safetensors"],
    }[command]
    with subprocess.Popen(
        [sys.executable, "-m", "paritree", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "\ninterrupted\n")
    assert [file.name for file in tmp_path.iterdir()] == ["slow.py"]


def told(monkeypatch: pytest.MonkeyPatch, command: str) -> list[str]:
    """What a command says that it is doing, from now on."""
    said: list[str] = []

    @contextmanager
    def progress() -> Iterator[Callable[[str], None]]:
        yield said.append

    monkeypatch.setattr(import_module(f"paritree.commands.{command}"), "progress", progress)
    return said


def test_align_says_what_it_is_doing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    said = told(monkeypatch, "align")
    assert call(capsys, "align", f"{file}:pair")[0] == 0
    assert said == [f"loading {file}:pair", "aligning: symmetric point", "aligning: gradients and proof"]
    said.clear()
    assert call(capsys, "align", f"{file}:drifted")[0] == 1
    assert said[1:3] == ["aligning: symmetric point", "aligning: hypothesis 1 of at most 96"]
    assert said[-2:] == [
        "aligning: where the programs differ",
        "aligning: orders and factors that a program may make up for",
    ]


def test_and_check_does(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    said = told(monkeypatch, "check")
    assert call(capsys, "check", f"{file}:pair", "--contracts", "names", "--device", "cpu")[0] == 0
    name = f"{file}:pair"
    assert said == [
        f"loading {name}",
        f"{name}: aligning: symmetric point",
        f"{name}: aligning: gradients and proof",
        f"{name} [cpu, float32] names",
    ]


def test_a_port_that_is_not_compiled_is_noted(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text(
        file.read_text().replace("nnx.relu(self.first(x))", "nnx.relu(self.first(x)) * int(x.shape[0] > 0)")
    )
    assert "note:" not in call(capsys, "align", f"{file}:pair")[1]
    file.write_text(file.read_text().replace("int(x.shape[0] > 0)", "int((x * x).sum() > 0)"))
    code, out, _ = call(capsys, "align", f"{file}:pair")
    assert code == 0
    assert "note: the port: it is run op by op, since jax.jit cannot trace it (ConcretizationTypeError)\n" in out


def test_names_forge_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, shown = "w\nproved  yes\x1b[32m", r"w\nproved  yes\x1b[32m"
    (tmp_path / "forged.py").write_text(
        PAIR + f"tree = {{{name!r}: reference[0].weight.detach().numpy()}}\n"
        "model = torch.nn.Linear(4, 6, bias=False)\n"
        f"forged = Pair(model, tree, inputs, port_call=lambda tree, x: x[0] @ tree[{name!r}].T)\n"
    )
    code, output, error = call(capsys, "align", f"{tmp_path / 'forged.py'}:forged")
    assert code == 0, error
    assert shown in output
    assert name not in output
    assert "\x1b" not in output
    save_file({"weight": np.ones((6, 4), np.float32), name: np.ones(2, np.float32)}, tmp_path / "source.safetensors")
    call(capsys, "align", f"{tmp_path / 'forged.py'}:forged", "-o", str(tmp_path / "map.json"))
    arguments = [str(tmp_path / each) for each in ("source.safetensors", "made.safetensors")]
    code, output, error = call(capsys, "convert", *arguments, "--map", str(tmp_path / "map.json"), "--skip", name)
    assert code == 0, error
    assert f"left out: {shown}" in output
