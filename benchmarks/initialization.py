"""Holding two initializers against each other: the time it takes, and whether one std that is 10 % off is found."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from paritree.conformance.contracts.initial_draws import ENOUGH, Judged, examine_pair, plan_seeds

from .measure import row, seconds

Draws = dict[str, np.ndarray]
Scales = dict[str, tuple[tuple[int, ...], float]]

WIDTH, BLOCKS, FACTOR = 768, 12, 1.1


def gpt2_small() -> Scales:
    """Every tensor of GPT-2 small: shape, and std as it is drawn in PyTorch; 0 for a constant."""
    residual = 0.02 / (2 * BLOCKS) ** 0.5
    found: Scales = {"wte.weight": ((50257, WIDTH), 0.02), "wpe.weight": ((1024, WIDTH), 0.02)}
    for block in range(BLOCKS):
        at = f"h.{block}"
        for name, rows, columns, std in (
            ("attn.c_attn", WIDTH, 3 * WIDTH, 0.02),
            ("attn.c_proj", WIDTH, WIDTH, residual),
            ("mlp.c_fc", WIDTH, 4 * WIDTH, 0.02),
            ("mlp.c_proj", 4 * WIDTH, WIDTH, residual),
        ):
            found[f"{at}.{name}.weight"] = (rows, columns), std
            found[f"{at}.{name}.bias"] = (columns,), 0.0
        found |= {f"{at}.{name}.{part}": ((WIDTH,), 0.0) for name in ("ln_1", "ln_2") for part in ("weight", "bias")}
    return found | {f"ln_f.{part}": ((WIDTH,), 0.0) for part in ("weight", "bias")}


def thousand() -> Scales:
    """1,000 parameters in one model, of the sizes of a small one."""
    shapes = [(64, 64), (128, 32), (256,), (16, 16, 3, 3)]
    return {f"layers.{number}.weight": (shapes[number % 4], 0.02 + 1e-4 * (number % 7)) for number in range(1000)}


def drawn(scales: Scales, seed: int) -> Draws:
    """Normal draws in float32, as many as `plan_seeds` says for each shape."""
    random = np.random.default_rng(seed)
    found = {}
    for path, (shape, std) in scales.items():
        count = plan_seeds([shape])
        values = random.standard_normal((count, *shape), np.float32) if std else np.zeros((count, *shape), np.float32)
        found[path] = values * np.float32(std)
    return found


def judged(name: str, reference: Draws, port: Draws, wrong: str = "") -> None:
    result: list[Judged] = []
    elapsed = seconds(lambda: result.extend(examine_pair(reference, port)))
    failed = [each for each in result if not each.ok]
    row(name, f"{elapsed:.1f} s for {len(result)} tensors; {len(failed)} fail")
    if [each.path for each in failed] != ([wrong] if wrong else []):
        sys.exit(f"{name}: expected {wrong or 'none'} to fail, found {[each.path for each in failed]}")
    for each in failed:
        print(f"    {each.message} [{each.cause}]")


def main() -> None:
    """Drawn by NumPy; with `--full` by the factories of transformers too."""
    print(f"Two initializers, one std times {FACTOR}, at most one false alarm in a million runs")
    for name, scales, wrong in (
        ("GPT-2 small", gpt2_small(), "h.5.attn.c_proj.weight"),
        ("a model of 1,000 parameters", thousand(), "layers.500.weight"),
    ):
        reference, port = drawn(scales, 0), drawn(scales, 1)
        judged(f"{name}, alike", reference, port)
        port[wrong] = port[wrong] * np.float32(FACTOR)
        judged(f"{name}, one wrong", reference, port, wrong)
    if "--full" in sys.argv:
        factories()


def factories() -> None:
    """GPT-2 small as transformers makes it, drawn and judged; the Flax one has its residual projections at 0.02."""
    from paritree import impl_torch
    from paritree.impl_jax import linen

    reference, port = _factories()
    made: list[Draws] = []
    for name, wing, factory in (("torch", impl_torch, reference), ("linen", linen, port)):
        elapsed = seconds(lambda wing=wing, factory=factory: made.append(wing.draws(factory, range(64), target=ENOUGH)))
        row(f"GPT-2 small's draws, {name}", f"{elapsed:.1f} s for {len(made[-1])} tensors")
    ours, theirs = made
    paths = {path: _flax_path(path) for path in ours if _flax_path(path) in theirs}
    result: list[Judged] = []
    own = {path: ours[path] for path in paths}
    other = {path: _laid(theirs[there], ours[path]) for path, there in paths.items()}
    elapsed = seconds(lambda: result.extend(examine_pair(own, other)))
    row("GPT-2 small, torch against Flax", f"{elapsed:.1f} s for {len(result)} tensors")
    failed = [each for each in result if not each.ok]
    print(f"    {len(failed)} fail, such as {failed[0].message} [{failed[0].cause}]" if failed else "    none fails")


def _factories() -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

    config = transformers.GPT2Config()

    def reference(seed: int) -> Any:
        torch.manual_seed(seed)
        return transformers.GPT2LMHeadModel(config)

    def port(seed: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapper = transformers.FlaxGPT2LMHeadModel(config, seed=seed)
        return wrapper.module, {"params": wrapper.params}

    return reference, port


def _flax_path(path: str) -> str:
    parts = path.split(".")
    parts[-1] = {"weight": "kernel"}.get(parts[-1], parts[-1])
    if parts[1] in ("wte", "wpe"):
        parts[-1] = "embedding"
    elif "ln_" in path:
        parts[-1] = {"kernel": "scale"}.get(parts[-1], parts[-1])
    return ".".join(["params", *parts])


def _laid(draws: np.ndarray, like: np.ndarray) -> np.ndarray:
    return draws if draws.shape[1:] == like.shape[1:] else draws.swapaxes(1, 2)
