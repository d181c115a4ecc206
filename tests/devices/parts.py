"""The parts of the check of a device: reference models, pairs of two architectures and twins, and draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import jax
import numpy as np
import torch

import paritree
from paritree import Pair
from paritree.common import draws
from paritree.common import initializers as init
from paritree.common.devices import sides_devices
from paritree.common.models import architectures as ours
from paritree.common.spec import Layer
from paritree.conformance import check_reference_models, load_wing
from paritree.conformance.report import Report

# Those that the values and the arithmetic of a device bear on.
CONTRACTS = ("names", "shapes", "ties", "layout", "forward", "gradients", "tied gradients", "training", "determinism")
PRECISIONS = ("float32", "tf32", "bfloat16")
TOKENS = np.random.default_rng(0).integers(0, 20, (2, 6)).astype(np.int32)
PIXELS = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
MODELS: dict[str, tuple[Layer, np.ndarray]] = {
    "gpt2": (ours.gpt2(ours.GPT2Config(vocab_size=20, n_positions=8, n_embd=24, n_layer=2, n_head=3)), TOKENS),
    "resnet": (
        ours.resnet(ours.ResNetConfig(embedding_size=8, hidden_sizes=(8, 16), depths=(1, 1), layer_type="basic")),
        PIXELS,
    ),
}
INITIALIZERS = (
    *[init.Uniform(-0.3, 0.3), init.Normal(0.0, 0.02), init.TruncatedNormal(std=0.02, low=-0.03, high=0.05)],
    *[init.Xavier(), init.Kaiming("normal"), init.LeCun(), init.Masked(init.Normal(), 0.5)],
)


@dataclass(frozen=True)
class Row:
    """One line of the table. forward: the output's error, the nearest to what is allowed. seconds: where it ran."""

    part: str
    what: str
    device: str
    precision: str
    status: str
    checks: int
    forward: float | None = None
    allowed: float | None = None
    seconds: float = 0.0
    details: list[str] = field(default_factory=list)

    _FORM: ClassVar[str] = "{:<17} {:<16} {:<10} {:<9} {:<5} {:>6} {:>9} {:>9} {:>7}"
    HEAD: ClassVar[str] = _FORM.format(
        "part", "what", "device", "precision", "", "checks", "forward", "allowed", "seconds"
    )

    def line(self) -> str:
        numbers = ["" if each is None else f"{each:.1e}" for each in (self.forward, self.allowed)]
        told = self.part, self.what, self.device, self.precision, self.status, self.checks, *numbers
        return "\n".join([self._FORM.format(*told, f"{self.seconds:.1f}"), *(f"    {each}" for each in self.details)])

    def failed(self) -> Row:
        return replace(self, status="fail")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows(devices: Sequence[str], parts: Sequence[str]) -> Iterator[Row]:
    """Of the parts on each device, as each is measured."""
    for device in devices:
        for part in parts:
            start = time.monotonic()
            for row in PARTS[part](device):
                yield replace(row, part=part, device=device, seconds=time.monotonic() - start)
                start = time.monotonic()


def _of_report(report: Report, what: str, precision: str) -> Row:
    """The numbers are those of the output that is nearest to what is allowed."""
    checked = [each for each in report.results if each.status in ("pass", "fail")]
    forward = [each for each in checked if each.contract == "forward" and each.allowed]
    if not forward and not report.failures:
        skipped = [each for each in report.results if each.status == "skip" and each.contract in ("", "forward")]
        return Row("", what, "", precision, "skip", 0, details=[each.message for each in skipped][:1])
    nearest = max(forward, key=lambda each: (each.measured or 0.0) / each.allowed, default=None)
    numbers = (nearest.measured, nearest.allowed) if nearest else (None, None)
    told = [each.message for each in report.failures]
    return Row("", what, "", precision, "fail" if told else "pass", len(checked), *numbers, details=told)


def reference_models(device: str) -> Iterator[Row]:
    """Every reference model in each wing."""
    for wing in ("torch", "linen", "nnx"):
        yield _of_report(check_reference_models(wings=(wing,), devices=(device,)), wing, "float32")


def architectures(device: str) -> Iterator[Row]:
    """A packed and tied GPT-2 and a ResNet, PyTorch's against both of Flax's, at each precision."""
    for name, (spec, inputs) in MODELS.items():
        for wing in ("linen", "nnx"):
            reference, port = paritree.build(spec, "torch"), paritree.build(spec, wing)
            train_call = None
            if wing == "linen":
                train_call = lambda model, given: model[0].apply(model[1], *given, mutable=["batch_stats"])  # noqa: E731
            pair = Pair(reference, port, (inputs,), port_train_call=train_call)
            yield from _at_each_precision(pair, f"{name} {wing}", device)


def _at_each_precision(pair: Pair, what: str, device: str) -> Iterator[Row]:
    map = paritree.align(pair)
    for precision in PRECISIONS:
        report = paritree.check(pair, map, contracts=CONTRACTS, devices=(device,), precisions=(precision,))
        yield _of_report(report, what, precision)


def twins(device: str) -> Iterator[Row]:
    """The same two as transformers ships them."""
    try:
        from ..migration import twins as shipped

        built = {name: shipped.build(name) for name in ("gpt2", "resnet")}
    except (ImportError, AttributeError) as error:
        yield Row("", "transformers", "", "", "skip", 0, details=[f"its Flax models are not there: {error}"])
        return
    for name, twin in built.items():
        map = paritree.align(twin.pair)
        arithmetic = ("names", "layout", "forward", "gradients", "tied gradients", "determinism")
        for precision in PRECISIONS:
            report = paritree.check(twin.pair, map, contracts=arithmetic, devices=(device,), precisions=(precision,))
            yield _of_report(report, name, precision)


def same_bits(device: str) -> Iterator[Row]:
    """One seed draws there what NumPy draws, bit for bit: large parameters, which the device itself makes."""
    shape, place = (1030, 1024), sides_devices(device).port
    for wing in (load_wing("torch"), load_wing("linen")):
        if place not in wing.devices():
            yield Row(
                "", wing.NAME, "", "float32", "skip", 0, details=[f"{wing.NAME} sees {', '.join(wing.devices())}"]
            )
            continue
        wrong = []
        for initializer in INITIALIZERS:
            expected = draws.drawn(initializer, shape, seed=3, path="w")
            made = wing.draw(initializer, shape, seed=3, path="w", device=place)
            found = made.cpu().numpy() if isinstance(made, torch.Tensor) else np.asarray(jax.device_get(made))
            if found.tobytes() != expected.tobytes():
                wrong.append(f"{initializer!r}: {int((found != expected).sum())} of {expected.size} values differ")
        yield Row("", wing.NAME, "", "float32", "fail" if wrong else "pass", len(INITIALIZERS), details=wrong)


PARTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "reference models": reference_models,
    "architectures": architectures,
    "twins": twins,
    "same bits": same_bits,
}
