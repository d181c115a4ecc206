"""An optimizer's state from file to file, and every file and name that is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from click.testing import CliRunner
from flax import nnx, serialization
from flax.training.train_state import TrainState

import paritree
from paritree import CheckpointError, UsageError, WeightsError
from paritree.cli import cli

from ...pairs.maps.trained import PAIRS, FlaxResidual

LANGUAGE = PAIRS["language"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with jax.enable_x64(True):
        yield tmp_path


@pytest.fixture
def model() -> torch.nn.Module:
    return LANGUAGE.made()


@pytest.fixture
def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """One that has made two steps, saved alone and in a checkpoint."""
    made = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(2):
        LANGUAGE.step(model, made)
    torch.save(made.state_dict(), "alone.pt")
    torch.save({"model": model.state_dict(), "optimizer": made.state_dict(), "epoch": 1}, "checkpoint.ckpt")
    return made


@pytest.fixture
def like(model: torch.nn.Module) -> Any:
    params = LANGUAGE.params({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    return optax.chain(optax.clip(1e9), optax.adamw(optax.linear_schedule(0.01, 0.0, 9))).init(params)


def written(place: str, like: Any) -> Any:
    """What the framework's own function reads."""
    if place.endswith(".msgpack"):
        return serialization.from_bytes(like, Path(place).read_bytes())
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(Path(place).absolute(), like)


@pytest.mark.parametrize("source", ["alone.pt", "checkpoint.ckpt"])
@pytest.mark.parametrize("destination", ["state.msgpack", "state"])
def test_a_state_goes_to_a_file_and_back(
    source: str, destination: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, like: Any
) -> None:
    done = paritree.convert_optimizer(source, destination, LANGUAGE.map, like, model=model)

    assert str(done) == "torch -> linen: 10 tensors, 2,744 bytes"
    expected = LANGUAGE.map.carry_optimizer(optimizer, like, reference_model=model)
    jax.tree.map(np.testing.assert_array_equal, written(destination, like), expected)
    fresh = torch.optim.AdamW(model.named_parameters(), lr=0.01)
    paritree.convert_optimizer(destination, "back.pt", LANGUAGE.map, fresh)
    read = torch.load("back.pt")
    torch.testing.assert_close(read["state"], optimizer.state_dict()["state"], rtol=0, atol=0)
    torch.optim.AdamW(model.parameters()).load_state_dict(read)


@pytest.mark.parametrize("destination", ["state.msgpack", "state"])
@pytest.mark.parametrize("is_optimizer", [True, False])
def test_the_state_of_an_nnx_optimizer_goes_to_a_file_and_back(destination: str, is_optimizer: bool) -> None:
    pair = PAIRS["resnet"]
    model = pair.made()
    own: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "centered": True}
    optimizer = torch.optim.RMSprop(model.parameters(), **own)
    pair.step(model, optimizer)
    torch.save(optimizer.state_dict(), "alone.pt")
    rule = optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, centered=True, momentum=0.9)
    module = FlaxResidual(nnx.Rngs(0))
    port = nnx.Optimizer(module, rule, wrt=nnx.Param) if is_optimizer else rule.init(nnx.state(module, nnx.Param))

    paritree.convert_optimizer("alone.pt", destination, pair.map, port, model=model, step=1)
    fresh = torch.optim.RMSprop(model.named_parameters(), **own)
    # Of optax's own parts none counts.
    paritree.convert_optimizer(destination, "back.pt", pair.map, fresh, step=None if is_optimizer else 1)

    torch.testing.assert_close(torch.load("back.pt")["state"], optimizer.state_dict()["state"])


def test_a_checkpoint_with_the_parameters_is_a_source_and_a_train_state_is_written_without_them(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, like: Any
) -> None:
    params = LANGUAGE.params({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    state = TrainState.create(apply_fn=None, params=params["params"], tx=optax.adamw(0.01))
    paritree.convert_optimizer("alone.pt", "state.msgpack", LANGUAGE.map, state, model=model)
    assert set(serialization.msgpack_restore(Path("state.msgpack").read_bytes())) == {"opt_state", "step"}
    whole = LANGUAGE.map.carry_optimizer(optimizer, state, reference_model=model)
    Path("whole.msgpack").write_bytes(serialization.to_bytes(whole))
    for source in ("state.msgpack", "whole.msgpack"):
        fresh = torch.optim.AdamW(model.named_parameters())
        paritree.convert_optimizer(source, "back.pt", LANGUAGE.map, fresh, overwrite=True)
        torch.testing.assert_close(torch.load("back.pt")["state"], optimizer.state_dict()["state"], rtol=0, atol=0)


def test_files_that_are_no_states_are_refused(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, like: Any
) -> None:
    def refused(error: type[Exception], text: str, source: str, destination: str = "new", **more: Any) -> None:
        with pytest.raises(error, match=re.escape(text)):
            paritree.convert_optimizer(source, destination, LANGUAGE.map, like, **{"model": model, **more})
        assert not Path("new").exists()

    for name in ("alone.pt", "state.msgpack"):
        if name == "state.msgpack":
            paritree.convert_optimizer("alone.pt", name, LANGUAGE.map, like, model=model)
        whole = Path(name).read_bytes()
        Path(f"cut.{name}").write_bytes(whole[: len(whole) // 2])
    refused(CheckpointError, "cut.alone.pt: expected a checkpoint of torch.save", "cut.alone.pt")
    refused(CheckpointError, "expected a file of flax.serialization", "cut.state.msgpack", "new.pt")
    refused(CheckpointError, "none.pt: expected a", "none.pt")
    Path("model.safetensors").write_bytes(b"")
    refused(CheckpointError, "found a file that ends in '.safetensors'", "model.safetensors")
    torch.save(model.state_dict(), "weights.pt")
    refused(UsageError, "found a mapping with 'encoder.weight', 'hidden.weight'", "weights.pt")
    text = "expected a destination that is a .msgpack file of Flax's, or a folder of Orbax, found one that ends in"
    refused(CheckpointError, f"new.pt: {text} '.pt'", "alone.pt", "new.pt")
    refused(CheckpointError, "a file of torch.save (.pt, .pth, .bin, .ckpt), found one without", "state.msgpack")
    text = "state.msgpack: expected a destination that is not there yet, found a file."
    refused(CheckpointError, text, "alone.pt", "state.msgpack")
    refused(WeightsError, "2 updates, as the state counts them, found 5", "alone.pt", step=5)
    Path("empty").mkdir()
    refused(CheckpointError, "empty: expected an Orbax checkpoint", "empty", "new.pt")
    Path("empty/.metadata").touch()
    text = (
        "found a folder of torch.distributed.checkpoint. Make a file of it first: torch.distributed.checkpoint.format"
    )
    refused(CheckpointError, text, "empty", "new.pt")
    text = "found 'alone.pt', which is a file of torch.save"
    with pytest.raises(CheckpointError, match=text):
        paritree.convert_optimizer("alone.pt", "new", paritree.Map((), ("linen", "nnx")), like)


FILE = """
import optax, torch
from flax import nnx

reference = torch.nn.Linear(4, 3)
optimizer = torch.optim.AdamW(reference.parameters(), lr=0.01)
port = nnx.Optimizer(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), optax.adamw(0.01), wrt=nnx.Param)
"""


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, ["convert", *arguments])
    return found.exit_code, found.output if found.exception is None or found.exit_code == 2 else str(found.exception)


def test_the_command_converts_an_optimizer() -> None:
    Path("port.py").write_text(FILE)
    kernel = paritree.MapRow("weight", "kernel", (3, 4), (4, 3), "o i -> i o", "rule")
    bias = paritree.MapRow("bias", "bias", (3,), (3,), "a -> a", "rule")
    paritree.Map((kernel, bias), ("torch", "nnx")).save("map.json")
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), "state.pt")
    own = ("--optimizer", "--map", "map.json")

    done = run("state.pt", "new", *own, "--like", "port.py:port", "--model", "reference")

    assert done == (0, "torch -> nnx: 6 tensors, 128 bytes\n")
    back = run("new", "back.pt", *own, "--like", "port.py:optimizer", "--model", "reference")
    assert back == (0, "nnx -> torch: 6 tensors, 128 bytes\n")
    torch.testing.assert_close(torch.load("back.pt")["state"], optimizer.state_dict()["state"], rtol=0, atol=0)

    code, text = run("state.pt", "other", *own)
    assert (code, "--optimizer needs --like FILE.py:NAME" in text) == (2, True)
    code, text = run("state.pt", "other", *own, "--like", "port.py:port", "--dtype", "bfloat16")
    assert (code, "goes with --map, --like, --model, --step" in text) == (2, True)
    code, text = run("state.pt", "other", "--map", "map.json", "--step", "3")
    assert (code, "--model and --step are for --optimizer." in text) == (2, True)
    _, text = run("state.pt", "other", *own, "--like", "port.py:port", "--model", "referenze")
    assert "expected the name 'referenze' in the file of --like, found none. Did you mean 'reference'?" in text
    _, text = run("state.pt", "other", *own, "--like", "port.py:port")
    assert "expected an optimizer that knows its parameters' names" in text
