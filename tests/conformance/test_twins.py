"""Real twins, judged: what agrees in the models that transformers ships both ways, and where they truly differ."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import jax
import pytest
import torch

import paritree
from paritree import KnownDifference, Pair
from paritree.conformance.report import Report

from ..migration import twins

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

ARITHMETIC = ("names", "shapes", "ties", "layout", "forward", "gradients", "tied gradients", "determinism")
QUICK = ("gpt2", "bert")
# A pooler that Flax lacks, and nothing depends on.
WITHOUT_PARTNER = ("big-bird", "big-bird-sparse")
# What torch keeps from training and the Flax model has among its parameters.
TRAINED_BY_FLAX = {
    **dict.fromkeys(("bart", "blenderbot", "blenderbot-small", "marian", "mbart", "pegasus"), "final_logits_bias"),
    "whisper": "model.encoder.embed_positions.weight",
    "whisper-classifier": "encoder.embed_positions.weight",
}


def factories(name: str) -> Pair:
    """The twin with both sides drawn from a seed as the library draws them."""
    twin, built = twins.TWINS[name], twins.build(name)
    module, wrapper = built.wrapper.module, built.wrapper

    def reference(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(transformers, twin.torch)(twin.config()).eval()

    def port(seed: Any) -> Any:
        return module, {"params": wrapper.init_weights(jax.random.key(seed), wrapper.input_shape)}

    return replace(built.pair, reference=reference, port=port)


def checked(pair: Pair, contracts: tuple[str, ...], name: str, **more: Any) -> Report:
    return paritree.check(pair, contracts=contracts, devices=("cpu",), name=name, **more)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.thorough) for name in twins.TWINS]
)
def test_a_twin_holds_every_contract_of_structure_and_arithmetic(name: str) -> None:
    poolers = [KnownDifference("names", "*.pooler.*", "no output depends on it, and Flax leaves it out")]
    known = poolers if name in WITHOUT_PARTNER else []
    if name in TRAINED_BY_FLAX:
        known = [KnownDifference("shapes", TRAINED_BY_FLAX[name], "a parameter of the Flax model, and none of torch's")]
    report = checked(twins.build(name).pair, ARITHMETIC, name, known_differences=known)
    assert report.ok, str(report)
    assert bool(known) == any(result.status == "known" for result in report.results)


@pytest.mark.thorough
@pytest.mark.parametrize("name", twins.DIFFERING)
def test_a_twin_that_differs_fails_forward_with_the_module_and_the_cause(name: str) -> None:
    twin, cause, module = twins.DIFFERING[name]
    report = checked(twins.made(twin).pair, ("forward",), name)
    (failure,) = (result for result in report.failures if result.contract == "forward")
    assert failure.module.startswith(f"'{module}")
    # A mask that is made inside a module's forward is not to be seen from without.
    assert failure.cause in (cause, "") if cause == "mask" else failure.cause == cause


RESIDUAL = KnownDifference(
    "initialization", "transformer.h.*.c_proj.weight", "torch divides the residual projections by sqrt(2 n_layer)"
)


def test_gpt2_is_initialized_alike_but_for_the_residual_projections() -> None:
    pair, map = factories("gpt2"), paritree.align(twins.build("gpt2").pair)
    report = checked(pair, ("initialization",), "gpt2", map=map)
    projections = {f"transformer.h.{n}.{part}.c_proj.weight" for n in range(2) for part in ("attn", "mlp")}
    assert {failure.path for failure in report.failures} == projections
    for failure in report.failures:
        # 0.02 over the square root of twice two layers.
        assert failure.details["schemes"]["port"].startswith("normal, std 0.02")
        assert failure.details["std"]["reference"] == pytest.approx(0.01, rel=0.05)
    accepted = checked(pair, ("initialization",), "gpt2", map=map, known_differences=[RESIDUAL])
    assert accepted.ok
    assert sum(result.status == "known" for result in accepted.results) == 4
