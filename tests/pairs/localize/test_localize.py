"""Localization: the first module to differ and the likely cause, for each fault that is planted in ports."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch
from torch import nn

from paritree.common.wing.recognition import name_of
from paritree.common.wing.traces import Trace, first_nonfinite
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed
from paritree.pairs.localize import Localized, localize
from paritree.pairs.maps import Map, MapRow
from paritree.pairs.wings import HOMES

from .parting import INPUTS, WIDTH, Encoder, Faults, Images, apply, built, drawn, map_between


def traced(model: Any, inputs: Any, weights: Any, dtype: str = "float64") -> tuple[Trace, ...]:
    wing = name_of(model)
    tracer = import_module(f"paritree.{HOMES[wing]}.tracing").tracer
    with ExitStack() as stack:
        stack.enter_context(load_wing(wing).running("cpu", dtype))
        return tracer(model, inputs, apply if wing == "linen" else None, dtype=dtype)(weights)


def located(kind: type, wing: str, faults: Faults, dtype: str = "float64", again: bool = False) -> Localized | None:
    torch.manual_seed(0)
    reference, port = kind().eval(), built(kind, wing, faults)
    return between(reference, port, map_between(reference, port), INPUTS[kind], dtype, again)


def between(
    reference: Any, port: Any, made: Map, inputs: Any, dtype: str = "float64", again: bool = False
) -> Localized | None:
    shapes = {
        path: native.array.shape for path, native in load_wing(name_of(reference)).stored_tensors(reference).items()
    }
    weights = drawn({path: shapes[path] for path in (*made.by_reference, *made.unmatched_reference)})
    carried = made.arrays(weights)
    sides = [
        (traced(reference, inputs, weights, dtype), traced(port, inputs, carried, dtype)) for _ in range(1 + again)
    ]
    limit = allowed(len(made.rows), dtype)
    return localize(*sides[0], made, weights, limit=limit, again=sides[1] if again else None)


class Planted(NamedTuple):
    """A fault, the reference's module to be named ('' for between modules), the cause and a part of its text."""

    faults: Faults
    module: str
    cause: str
    text: str
    kind: type = Encoder


ATTENTION = "encoder.1.attention"
PLANTED = {
    "eps": Planted(
        Faults(epsilons=(1e-6, 1e-5)), "encoder.1.norm1", "eps", "eps is 1e-05 in the reference and 1e-06 in the port"
    ),
    "odd eps": Planted(
        Faults(epsilons=(1e-5, 3.3e-4)),
        "encoder.1.norm2",
        "eps",
        "eps is 1e-05 in the reference and 3.3e-04 in the port",
    ),
    "gelu": Planted(
        Faults(act=jax.nn.gelu),
        "encoder.1",
        "activation",
        "of the output of 'encoder.1.up' (Linear) the reference takes the exact GELU and the port GELU's tanh "
        "approximation",
    ),
    "quick gelu": Planted(
        Faults(act=lambda x: x * jax.nn.sigmoid(1.702 * x)),
        "encoder.1",
        "activation",
        "the port GELU's sigmoid approximation (x sigmoid(1.702 x))",
    ),
    "relu": Planted(Faults(act=jax.nn.relu), "encoder.1", "activation", "the exact GELU and the port ReLU"),
    "no scale": Planted(
        Faults(scale=1.0),
        ATTENTION,
        "scale",
        "the scores are taken 0.5 = 1/sqrt(4) times in the reference and 1 times in the port",
    ),
    "scale of the width": Planted(
        Faults(scale=WIDTH**-0.5), ATTENTION, "scale", "0.3536 = 1/sqrt(8) times in the port"
    ),
    "heads": Planted(
        Faults(heads=4, scale=0.5), ATTENTION, "heads", "the reference attends with 2 heads and the port with 4"
    ),
    "causal": Planted(
        Faults(causal=True),
        ATTENTION,
        "mask",
        "the reference hides masked positions from the scores, the port later positions and masked positions",
    ),
    "no mask": Planted(
        Faults(ignores_mask=True),
        ATTENTION,
        "mask",
        "the reference hides masked positions from the scores, the port nothing",
    ),
    "query and key": Planted(
        Faults(swapped=True),
        ATTENTION,
        "wiring",
        "the two take other projections for the query, the key and the value",
    ),
    "default input": Planted(Faults(kind=1), "kinds", "default input", "1 where the reference has 0, 18 of 18 differ"),
    "embedding scale": Planted(
        Faults(embedding_scale=math.sqrt(WIDTH)),
        "",
        "scale",
        "the output of 'words' (Embedding) counts once in the reference and 2.828 = sqrt(8) times in the port",
    ),
    "norm inside": Planted(
        Faults(norm_first=True),
        "encoder.1",
        "norm placed elsewhere",
        "'encoder.1.norm1' (LayerNorm) takes the output of 'encoder.1.attention' (Attention) + the input of "
        "'encoder.1' (Block) in the reference, and in the port the output of 'encoder.1.attention' (Attention), where "
        "the rest is added after it",
    ),
    "no residual": Planted(Faults(no_residual=True), "encoder.1", "wiring", "the port with the output of 'encoder.1."),
    "rms": Planted(
        Faults(rms=True),
        "encoder.1.norm1",
        "statistics",
        "the port by the root mean square of each position's features",
    ),
    "dropout": Planted(
        Faults(dropout=True), "encoder.1", "dropout", "dropout with a rate of 0.25 is active in the port"
    ),
    "padding": Planted(
        Faults(padding="circular"),
        "conv",
        "padding",
        "the input is continued by zeros in the reference and the other end in the port",
        Images,
    ),
    "batch statistics": Planted(
        Faults(batch_statistics=True),
        "norm",
        "statistics",
        "the reference normalizes by the running statistics, the port by the batch's own statistics",
        Images,
    ),
    "bias": Planted(Faults(bias=False), "second", "bias", "the port leaves out 'second.bias', a bias", Images),
    "factor": Planted(
        Faults(logit_scale=0.25),
        "",
        "scale",
        "the output of 'head' (Linear) counts once in the reference and 0.25 times in the port",
        Images,
    ),
}


@pytest.mark.parametrize("wing", ["linen", "nnx"])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_with_its_cause(name: str, wing: str) -> None:
    planted = PLANTED[name]
    found = located(planted.kind, wing, planted.faults)
    assert found is not None
    assert (found.reference.path if found.reference else "") == planted.module
    assert found.cause is not None, str(found)
    assert found.cause.name == planted.cause
    assert planted.text in found.cause.text


@pytest.mark.parametrize("wing", ["linen", "nnx"])
@pytest.mark.parametrize("kind", [Encoder, Images])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_found_where_nothing_differs(kind: type, wing: str, dtype: str) -> None:
    assert located(kind, wing, Faults(), dtype) is None


@pytest.mark.parametrize("wing", ["linen", "nnx"])
@pytest.mark.parametrize("strength", [0.1, 1.0, -3.0])
def test_no_cause_is_claimed_where_none_fits(wing: str, strength: float) -> None:
    found = located(Encoder, wing, Faults(wave=strength))
    assert found is not None
    assert found.reference is not None
    assert found.reference.path == "encoder.1"
    assert found.cause is None
    assert "Likely cause" not in str(found)


def test_float32_tells_what_is_larger_than_its_rounding() -> None:
    found = located(Encoder, "linen", Faults(epsilons=(1e-5, 3.3e-3)), "float32")
    assert found is not None
    assert found.cause is not None
    assert found.cause.text == "eps is 1e-05 in the reference and 3.3e-03 in the port"


def test_the_message_names_both_sides_and_measures_both_errors() -> None:
    found = located(Encoder, "nnx", Faults(epsilons=(1e-4, 1e-5)))
    assert found is not None
    assert str(found) == (
        "The first module to differ is reference 'encoder.1.norm1' (LayerNorm) = port 'e_1.n_a' (LayerNorm), "
        f"by {found.error:.1e} of its output; its inputs agree to {found.input_error:.1e}. "
        "Likely cause: eps is 1e-05 in the reference and 1e-04 in the port."
    )
    assert found.input_error < 1e-7 < found.error < 1e-3


def test_between_two_modules_the_message_names_both_ends() -> None:
    found = located(Encoder, "linen", Faults(wave=0.1))
    assert found is not None
    assert str(found).endswith(
        "Inside it the difference arises between reference 'encoder.1.up' (Linear) = port 'e_1.u' (Dense), which "
        "agrees, and reference 'encoder.1.down' (Linear) = port 'e_1.d' (Dense)."
    )
    found = located(Images, "linen", Faults(logit_scale=0.25))
    assert found is not None
    assert str(found).startswith(
        "No module differs by itself: the difference arises after reference 'head' (Linear) = port 'z' (Dense), "
        "which agrees. Likely cause: "
    )


@pytest.mark.parametrize("wing", ["linen", "nnx"])
def test_the_module_that_made_numbers_not_finite_is_named(wing: str) -> None:
    port = built(Images, wing, Faults(overflows=True))
    # Made in the model's own code, of finite numbers: no inner module is to blame.
    assert first_nonfinite(traced(port, INPUTS[Images], {})) == (
        "",
        type(port[0] if wing == "linen" else port).__name__,
    )
    assert first_nonfinite(traced(built(Images, wing, Faults()), INPUTS[Images], {})) is None
    kernel = {"linen": "params.s.kernel", "nnx": "s.kernel"}[wing]
    named = first_nonfinite(
        traced(built(Images, wing, Faults()), INPUTS[Images], {kernel: np.full((3, 3, 4, 6), 1e999)})
    )
    assert named == ("s", "Conv")


class Noisy(nn.Module):
    """Two layers, with what the fields ask for between and in them."""

    def __init__(self, noise: float = 0.0, slope: float = 0.01, turned: bool = False, windows: int = 0) -> None:
        super().__init__()
        self.one, self.act, self.two = nn.Linear(6, 6), nn.LeakyReLU(slope), nn.Linear(6, 6)
        self.pool = nn.AvgPool1d(windows, 1) if windows else nn.Identity()
        self.noise, self.turned = noise, turned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.one(x))
        x = x + self.noise * torch.randn_like(x)
        return self.pool(self.two(x.transpose(1, 2) if self.turned else x))


X = (np.random.default_rng(2).normal(size=(3, 6, 6)).astype(np.float32),)


def own_map(model: nn.Module) -> Map:
    """The map of a torch model to one with the same names."""
    stored_tensors = load_wing("torch").stored_tensors(model)
    axes = {path: " ".join("abcd"[: native.array.ndim]) for path, native in stored_tensors.items()}
    return Map(
        tuple(
            MapRow(path, path, native.array.shape, native.array.shape, f"{axes[path]} -> {axes[path]}", "name")
            for path, native in stored_tensors.items()
        ),
        ("torch", "torch"),
    )


def test_noise_shows_in_a_second_run() -> None:
    found = between(Noisy(), Noisy(noise=0.1), own_map(Noisy()), X, again=True)
    assert found is not None
    assert found.cause is not None
    assert found.cause.name == "randomness"
    assert found.cause.text == "the port gives something else each time it is run: dropout, or other noise"


def test_axes_that_are_taken_for_others_are_found() -> None:
    found = between(Noisy(), Noisy(turned=True), own_map(Noisy()), X)
    assert found is not None
    assert found.cause is not None
    assert (found.cause.name, found.cause.text) == (
        "axis order",
        "the port's input is the reference's only once its axes are moved, 'a b c -> a c b'",
    )


def test_modules_without_parameters_are_compared_by_their_place() -> None:
    found = between(Noisy(), Noisy(slope=0.2), own_map(Noisy()), X)
    assert found is not None
    assert found.reference is not None
    assert found.reference.path == "act"
    assert found.cause is not None
    assert found.cause.text.endswith("leaky ReLU with a slope of 0.01 and the port leaky ReLU with a slope of 0.2")


def test_a_kernel_used_transposed_is_found() -> None:
    made = own_map(Noisy())
    rows = tuple(replace(row, layout="a b -> b a") if row.reference == "two.weight" else row for row in made.rows)
    found = between(Noisy(), Noisy(), replace(made, rows=rows), X)
    assert found is not None
    assert found.cause is not None
    assert (found.reference and found.reference.path, found.cause.name) == ("two", "transposed")


class Windowed(nn.Module):
    def __init__(self, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 4, 3, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def test_outputs_of_another_shape_are_told() -> None:
    found = between(Windowed(1), Windowed(0), own_map(Windowed(0)), X)
    assert found is not None
    assert found.cause is not None
    assert found.cause.text == "its output has shape (3, 4, 6) in the reference and (3, 4, 4) in the port"


class Opened(nn.Module):
    """Norms before their layers, or after the sum of both."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.norm, self.layer, self.before = nn.LayerNorm(6), nn.Linear(6, 6), before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(self.norm(x)) if self.before else self.norm(x + self.layer(x))


@pytest.mark.parametrize("before", [True, False])
def test_a_norm_before_and_one_after_is_found(before: bool) -> None:
    found = between(Opened(before), Opened(not before), own_map(Opened(True)), X)
    assert found is not None
    assert found.cause is not None
    assert found.cause.name == "norm placed elsewhere", str(found)


def test_a_pair_without_traces_tells_nothing() -> None:
    reference = Noisy()
    made = own_map(reference)
    assert localize(traced(reference, X, {}), (), made, {}, limit=1e-12) is None
