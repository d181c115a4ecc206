"""`paritree record`: what is recorded, what is printed, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from paritree import Record, cli

MODELS = """
import numpy as np
import torch
from paritree import Pair

INPUTS = (np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32),)
doubled = (INPUTS[0] * 2,)


def make(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 2)


def twice(model, inputs):
    return model(*inputs) * 2


model = make(0)
pair = Pair(model, make(1), INPUTS, port_call=twice)


def noisy(seed):
    return torch.nn.Sequential(make(seed), Noise())


class Noise(torch.nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "recordings.py").write_text(MODELS)
    return tmp_path / "recordings.py"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["record", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_a_factory_is_recorded_with_its_initial_values(file, tmp_path, capsys):
    out = tmp_path / "r.safetensors"
    code, printed, _ = call(capsys, f"{file}:make", "-o", str(out), "--contracts", "names,initialization")
    made = Record.load(out)
    assert code == 0
    assert printed.startswith(f"{out}: record of a torch factory, 2 tensors and ")
    assert printed.endswith(" KiB\n")
    assert made.is_factory
    assert len(made.draws(range(128), "cpu", 16384)["weight"]) == 128


def test_a_model_is_recorded_with_the_inputs_and_the_call_that_are_named(file, tmp_path, capsys):
    out = str(tmp_path / "r.safetensors")
    options = ("--inputs", "doubled", "--call", "twice", "--contracts", "forward", "--precision", "bfloat16")
    assert call(capsys, f"{file}:model", "-o", out, *options)[0] == 0
    made, plain = Record.load(out), str(tmp_path / "plain.safetensors")
    assert not made.is_factory
    assert call(capsys, f"{file}:model", "-o", plain, "--contracts", "forward")[0] == 0
    assert (made.inputs[0] == 2 * Record.load(plain).inputs[0]).all()
    kinds = {name.split()[1] for name in made._runs}
    assert kinds == {"float32", "float64", "bfloat16"}


@pytest.mark.parametrize(("options", "seed"), [((), 0), (("--side", "port"), 1)])
def test_a_side_of_a_pair_is_recorded(file, tmp_path, capsys, options, seed):
    import torch

    out = str(tmp_path / "r.safetensors")
    assert call(capsys, f"{file}:pair", "-o", out, "--contracts", "names", *options)[0] == 0
    torch.manual_seed(seed)
    assert (Record.load(out).stored_tensors()["weight"].array == torch.nn.Linear(3, 2).weight.detach().numpy()).all()


def test_activations_are_kept_on_request_and_their_size_is_said(file, tmp_path, capsys):
    out = str(tmp_path / "r.safetensors")
    code, printed, _ = call(capsys, f"{file}:model", "-o", out, "--contracts", "forward", "--activations")
    made = Record.load(out)
    assert code == 0
    assert f", with the activations of {made.activations}, " in printed
    assert printed.endswith(f" KiB, of which activations {made.activations_nbytes / 2**10:.1f} KiB\n")
    code, _, error = call(capsys, f"{file}:model", "-o", out, "--activation-limit", "3")
    assert (code, "--activation-limit is about --activations." in error) == (2, True)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("nothing", (), "{file}:nothing: expected the name 'nothing' in recordings.py, found none."),
        (
            "model",
            ("--inputs", "INPUT"),
            "--inputs: expected the name 'INPUT' in the model's file, found none. Did you mean 'INPUTS'?",
        ),
        (
            "model",
            ("--call", "twise"),
            "twise: expected a function in the model's file, found none of that name. Did you mean 'twice'?",
        ),
        ("model", ("--side", "port"), "--side: expected a pair, which has sides, found Linear. Leave the option out."),
        (
            "pair",
            ("--train-call", "twice"),
            "--train-call: expected a model, which has none, found a pair, which has its own. Leave the option out.",
        ),
        ("model", ("--contracts", "foreward"), "Did you mean 'forward'?"),
        ("noisy", ("--contracts", "forward"), "expected a model that gives the same in every run, found the output"),
        # A tuple of arrays is a pytree.
        ("INPUTS", (), "model: expected a call(tree, inputs) for a pytree, which cannot be called itself, found none."),
        ("__name__", (), "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found str."),
    ],
)
def test_what_cannot_be_recorded_ends_with_2(file, tmp_path, capsys, name, options, said):
    out = tmp_path / "r.safetensors"
    code, printed, error = call(capsys, f"{file}:{name}", "-o", str(out), *options)
    assert (code, printed) == (2, "")
    assert said.format(file=file) in error
    assert not out.exists()


def test_a_file_without_inputs_is_refused(tmp_path, capsys):
    (tmp_path / "bare.py").write_text("import torch\nmodel = torch.nn.Linear(3, 2)\n")
    target = f"{tmp_path / 'bare.py'}:model"
    code, _, error = call(capsys, target, "-o", str(tmp_path / "r"))
    remedy = "Name the tuple or dict of arrays with --inputs."
    assert code == 2
    assert error == (
        f"paritree: {target}: expected the name 'INPUTS' or 'inputs' in the model's file, found none. {remedy}\n"
    )


def test_a_place_that_cannot_be_written_is_refused_first(file, tmp_path, capsys):
    code, _, error = call(capsys, f"{file}:model", "-o", str(tmp_path / "none" / "r"))
    assert code == 2
    assert error.startswith("paritree: -o: expected a folder ")
