"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paritree import cli
from paritree.conformance.results import Result
from paritree.study import IDS

COMMAND = [sys.executable, "-m", "paritree"]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, **options)  # type: ignore[call-overload]


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process: exit code, output, errors."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert [line.split()[0] for line in out.split("Commands:")[1].splitlines() if line] == [
        "align",
        "check",
        "convert",
        "doctor",
        "layers",
        "optimizers",
        "plan",
        "record",
        "study",
        "table",
    ]
    assert "0 all contracts hold, 1 some fail, 2 usage or unreadable input" in out


NO_FRAMEWORK = [
    ("--help",),
    ("--version",),
    ("table", "shared-layer"),
    ("table", "gpt2"),
    ("layers", "LSTM"),
    ("study",),
]


@pytest.mark.parametrize("arguments", NO_FRAMEWORK)
def test_no_framework_is_imported(arguments: tuple[str, ...]) -> None:
    probe = (
        "import sys\nfrom paritree import cli\n"
        f"try: cli.main({list(arguments)!r})\n"
        "finally: print([name for name in ('torch', 'jax', 'flax') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_the_table_of_a_reference_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "table", "ones")
    assert code == 0
    assert out.splitlines()[2].split() == ["1.weight", "(1,", "1)", "float32", "parameter", "Linear", "=", "0.weight"]
    assert out.splitlines()[-1] == "1 parameter, 1 scalar, 1 alias"


def test_the_table_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom neighbour import width\n"
        "net = torch.nn.Linear(4, width)\n"
        "def factory(seed):\n    return {'w': net.weight, 'seed': [net.bias]}\n"
        "number = 3\n"
    )
    (tmp_path / "neighbour.py").write_text("width = 8\n")
    code, out, _ = call(capsys, "table", f"{tmp_path / 'mine.py'}:net", "--json")
    assert code == 0
    assert [(row["path"], row["shape"], row["layer"]) for row in json.loads(out)] == [
        ("weight", [8, 4], "Linear"),
        ("bias", [8], "Linear"),
    ]
    code, out, _ = call(capsys, "table", f"{tmp_path / 'mine.py'}:factory")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["w", "seed.0"]
    code, _, err = call(capsys, "table", f"{tmp_path / 'mine.py'}:number")
    assert code == 2
    assert err == ("paritree: expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found int.\n")


def test_an_architecture_is_meant_by_its_name_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "table", "resnet-18")
    assert code == 0
    assert out.startswith("path ")
    assert "resnet.embedder.embedder.normalization.num_batches_tracked" in out
    assert out.rstrip().endswith("62 parameters, 11,689,512 scalars, 60 buffers")
    code, out, _ = call(capsys, "table")
    assert code == 0
    assert ["gpt2", "GPT-2"] in [line.split()[:2] for line in out.splitlines()]


def test_a_target_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, text = tmp_path / "broken.py", tmp_path / "notes.txt"
    broken.write_text("model = 1 / 0\n")
    text.write_text("model = 1\n")
    cases = {
        "shared-leyer": (
            "expected the name of a reference model or architecture, found none of that name. "
            "Did you mean 'shared-layer'?"
        ),
        "gone.py:net": "expected a file 'gone.py', found none. Give FILE.py:NAME, with the file's path from here.",
        f"{broken}:model": "expected broken.py to run, found ZeroDivisionError: division by zero. Mend the file.",
        f"{text}:model": "expected a Python file, found notes.txt. Its name must end in .py.",
        f"{__file__}:COMMANDS": "expected the name 'COMMANDS' in test_cli.py, found none. Did you mean 'COMMAND'?",
    }
    for target, message in cases.items():
        code, out, err = call(capsys, "table", target)
        assert (code, out, err) == (2, "", f"paritree: {target}: {message}\n")


@pytest.mark.parametrize("command", [("check",), ("align",), ("table",), ("record", "-o", "record.safetensors")])
def test_a_file_whose_name_was_forgotten_tells_what_is_in_it(
    command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\nimport torch\nfrom textwrap import dedent\nimport paritree\n"
        "net = torch.nn.Linear(2, 3)\ndef port(seed):\n    return torch.nn.Linear(2, 3)\n"
        "same = paritree.Pair(net, port, (np.ones((1, 2), np.float32),))\n_hidden = same\n"
    )
    code, out, err = call(capsys, *command, str(file))
    assert (code, out) == (2, "")
    assert err == (
        f"paritree: {file}: expected a file and a name in it, FILE.py:NAME, found the file alone. "
        "Pairs: 'same'. Models: 'net'. Functions: 'port'.\n"
    )
    file.write_text("number = 3\n")
    assert call(capsys, *command, str(file))[2].endswith("There is no pair, no model and no function in it.\n")


def test_check_prints_a_table_and_exits_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "check", "ones", "--contracts", "names, forward", "--device", "cpu")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["model", "device", "contract", "wings", "measured", "allowed", "result"]
    assert lines[1] == ["ones", "cpu", "names", "torch", "linen", "nnx", "0", "0", "pass"]
    assert out.splitlines()[-1] == "6 contracts on 1 model (torch, linen, nnx; cpu): all hold"


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "check", "ones", "--contracts", "ties", "--wing", "nnx", "--json")
    report = json.loads(out)
    assert code == 0
    assert report.keys() == {"schema", "ok", "facts", "versions", "results"}
    assert {"torch", "jax", "flax", "numpy"} <= report["versions"].keys()
    fields = {field.name for field in dataclasses.fields(Result)}
    assert all(result.keys() == fields for result in report["results"])
    assert (report["ok"], report["results"][0]["status"]) == (True, "pass")


def test_check_exits_with_one_if_a_contract_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from paritree.conformance.contracts import arithmetic
    from paritree.pairs.precision import Setting

    monkeypatch.setattr(Setting, "allowed", lambda setting, depth: 0.0)
    monkeypatch.setattr(arithmetic, "_explained", lambda comparison, size: 0.0)
    code, out, _ = call(capsys, "check", "mlp", "--contracts", "forward", "--device", "cpu")
    assert code == 1
    assert out.splitlines()[-1] == "3 contracts on 1 model (torch, linen, nnx; cpu): 3 do not hold"
    assert "mlp [linen, cpu] forward: the output differs by " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("mpl", "mpl: expected the name of a reference model, found none of that name. Did you mean 'mlp'?"),
        (
            "--contracts name",
            "name: expected the name of a contract, found 'name', which is none. Did you mean 'names'?",
        ),
        (
            "--wing keras",
            "keras: expected the name of a wing, found none of that name. There are 'torch', 'linen', 'nnx'.",
        ),
        ("--device tqu", "tqu: expected the name of a device, found 'tqu', which is none. Did you mean 'tpu'?"),
    ],
)
def test_check_refuses_unknown_names(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    assert call(capsys, "check", *arguments.split()) == (2, "", f"paritree: {message}\n")


def test_a_required_device_that_is_absent_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from paritree import impl_torch

    monkeypatch.setattr(impl_torch, "devices", lambda: ("cpu",))
    code, out, err = call(capsys, "check", "ones", "--wing", "torch", "--require-device", "cuda")
    assert (code, out) == (1, "")
    assert err == (
        "paritree: expected the device 'cuda' in every wing, found cuda is not present: torch sees cpu. Drop the "
        "requirement, or run where it is.\n"
    )
    code, out, _ = call(capsys, "check", "ones", "--wing", "torch", "--contracts", "names")
    assert code == 0
    assert "skipped: cuda is not present: torch sees cpu" in out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "chekc")
    assert code == 2
    assert "No such command 'chekc'" in err


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found.keys() == {"versions", "torch", "linen", "nnx"}
    assert "cpu" in found["torch"]["devices"]
    assert found["linen"] == found["nnx"]
    assert {"float32 matmul precision", "deterministic algorithms"} <= found["torch"].keys()
    assert {"matmul precision", "64-bit types"} <= found["nnx"].keys()
    code, out, _ = call(capsys, "doctor")
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["versions", "torch", "linen, nnx"]


def test_study_shows_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "study", "W6")
    assert code == 0
    assert "gradient" in out
    assert "def in_torch" in out
    code, out, _ = call(capsys, "study", "w6", "--json")
    (row,) = json.loads(out)
    assert {"id", "title", "verdict", "reason", "wings"} <= row.keys()
    assert row["wings"].keys() == {"torch", "linen", "nnx"}
    assert row["wings"]["nnx"].keys() >= {"code", "output"}


def test_study_refuses_an_unknown_row(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "study", "W66")
    assert code == 2
    assert err.startswith("paritree: W66: expected the id of a row")


def test_study_writes_a_page_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.md"
    code, out, _ = call(capsys, "study", "W6", "--markdown", str(target))
    assert (code, out) == (0, "")
    assert "W6" in target.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["page.md"]
    code, _, err = call(capsys, "study", "W6", "--markdown", str(tmp_path / "no" / "page.md"))
    assert code == 2
    assert "page.md' in, found none. Make it first." in err
    target.write_text("# Notes of mine")
    code, _, err = call(capsys, "study", "W6", "--markdown", str(target))
    assert code == 2
    assert "to replace by one of its kind, found another file. Remove it first" in err
    assert target.read_text() == "# Notes of mine"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m paritree table nested-named | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        capture_output=True,
        text=True,
        executable="/bin/bash",
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_nothing_is_coloured_in_a_pipe() -> None:
    done = run("check", "ones", "--contracts", "names", env={**os.environ, "TERM": "xterm-256color"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def test_an_interrupt_ends_it_at_once() -> None:
    with subprocess.Popen([*COMMAND, "check"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert err.strip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in err


def test_a_file_of_linen_modules_runs_as_python_would_run_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its classes are dataclasses, and under postponed annotations these look their module up by its name."""
    (tmp_path / "port.py").write_text(
        "from __future__ import annotations\nimport jax\nfrom typing import ClassVar\nfrom flax import linen\n"
        "class Net(linen.Module):\n    width: int = 3\n    limit: ClassVar[int] = 1\n"
        "    @linen.compact\n    def __call__(self, x):\n        return linen.Dense(self.width)(x)\n"
        "net = Net()\nmodel = net, net.init(jax.random.key(0), jax.numpy.ones((1, 2)))\n"
    )
    code, out, _ = call(capsys, "table", f"{tmp_path / 'port.py'}:model")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["Dense_0.kernel", "(2,", "3)"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(0)", "expected mine.py to run, found SystemExit: 0. Mend the file."),
        (
            "def x(seed):\n    raise OSError('no')",
            "expected x(0), a factory called with a seed, to return a model, found OSError: no. A factory "
            "takes one argument, the seed.",
        ),
    ],
)
def test_what_a_file_raises_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(code)
    target = f"{tmp_path / 'mine.py'}:x"
    assert call(capsys, "table", target) == (2, "", f"paritree: {target}: {message}\n")


def test_a_check_of_nothing_does_not_pass(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from paritree import impl_torch

    monkeypatch.setattr(impl_torch, "devices", lambda: ("cpu",))
    code, out, _ = call(capsys, "check", "mlp", "--device", "cuda", "--wing", "torch")
    assert code == 1
    assert out.splitlines()[-1] == "nothing was checked"
    assert call(capsys, "check", "mlp", "--contracts", "")[0] == 2
    assert call(capsys, "check", "mlp", "--require-device", "gpuu")[0] == 2


def test_study_without_a_row_lists_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "study")
    words = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [line[0] for line in words if line and line[0] in IDS] == list(IDS)
    assert " ".join(out.split()).endswith("paritree study A1. To run all: paritree study --run.")
    code, out, _ = call(capsys, "study", "--list", "L")
    words = [line.split() for line in out.splitlines()]
    assert [line[0] for line in words if line and line[0] in IDS] == ["L1", "L2", "L3", "L4"]


def test_study_runs_all_rows_when_it_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from paritree import study

    one = study.outcome("W6")
    asked = []
    monkeypatch.setattr(study, "outcomes", lambda rows, told: asked.append(rows) or (one,))
    code, out, _ = call(capsys, "study", "--run")
    assert (code, asked) == (0, [()])
    assert "must differ" in out
    for wrong in (("--run", "W6"), ("--run", "--list")):
        code, _, err = call(capsys, "study", *wrong)
        assert code == 2
        assert "--run is about all rows: leave out ROW and --list." in err


def test_study_has_one_output(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "study", "W6", "--json", "--markdown", "page.md")
    assert code == 2
    assert "--json and --markdown are 2 outputs: give one." in err


def test_notebooks_are_written_of_all_rows_into_a_folder_that_is_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "6-tying.ipynb").write_text("mine")
    for arguments, words in (
        (("W6", "--notebooks", str(tmp_path)), "--notebooks writes all rows, whole sections: leave out ROW."),
        (("--notebooks", str(tmp_path / "no")), "does not exist"),
        (("--notebooks", str(tmp_path)), "6-tying.ipynb"),
    ):
        code, _, err = call(capsys, "study", *arguments)
        assert code == 2
        assert words in err
    assert (tmp_path / "6-tying.ipynb").read_text() == "mine"
