"""What the frameworks themselves differ in is told apart from faults, and can be accepted; a fault cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import paritree
from paritree import KnownDifference
from paritree.common.errors import UsageError
from paritree.conformance.known import accept, as_code, load, proposed
from paritree.conformance.report import Report
from paritree.conformance.results import Result

X = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
VARIANCE = "Flax's running variance is the biased one, (n - 1) / n of PyTorch's"
LINEAR = (
    "PyTorch draws the weight of its Linear uniform +-1/sqrt(fan_in) and "
    "Flax draws the kernel of its {} truncated normal, std 1/sqrt(fan_in)"
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.parts = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).relu().mean((2, 3))
        for part in self.parts:
            x = part(x).tanh()
        return x


class NnxNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, momentum: float = 0.9, **kernel: Any) -> None:
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=momentum, epsilon=1e-5, rngs=rngs)
        self.parts = nnx.List([nnx.Linear(8, 8, rngs=rngs, **kernel) for _ in range(2)])

    def __call__(self, x: Any) -> Any:
        x = jax.nn.relu(self.norm(self.conv(x.transpose(0, 2, 3, 1)))).mean((1, 2))
        for part in self.parts:
            x = jax.nn.tanh(part(x))
        return x


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = linen.Conv(8, (3, 3), name="conv")(x.transpose(0, 2, 3, 1))
        x = linen.BatchNorm(not train, momentum=0.9, epsilon=1e-5, name="norm")(x)
        x = jax.nn.relu(x).mean((1, 2))
        for number in range(2):
            x = jax.nn.tanh(linen.Dense(8, name=f"parts_{number}")(x))
        return x


def reference(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Net()


def linen_port(seed: int) -> Any:
    return LinenNet(), LinenNet().init(jax.random.key(seed), X)


def applied(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], *inputs)


def trained(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], *inputs, train=True, mutable=["batch_stats"])


def checked(reference: Any, port: Any, *contracts: str, **calls: Any) -> Report:
    return paritree.check(paritree.Pair(reference, port, (X,), **calls), contracts=contracts, devices=("cpu",))


def words(report: Report) -> dict[tuple[str, str], str]:
    return {(each.contract, each.path): each.details.get("framework", "") for each in report.failures}


ALL = ("training", "modes", "initialization")


def test_all_that_a_right_port_differs_in_is_recognized() -> None:
    report = checked(reference, lambda seed: NnxNet(nnx.Rngs(seed)), *ALL)
    found = words(report)
    assert found["modes", "norm.running_var"] == found["training", "norm.running_var"] == VARIANCE
    assert found["initialization", "parts.0.weight"] == LINEAR.format("Linear")
    assert all(found.values())
    assert [(each.contract, each.path) for each in proposed(report.results)] == [
        ("training", "norm.running_var"),
        ("modes", "norm.running_var"),
        ("initialization", "conv.weight"),
        ("initialization", "conv.bias"),
        ("initialization", "parts.*.weight"),
        ("initialization", "parts.*.bias"),
    ]
    line = f'  KnownDifference("modes", "norm.running_var", "{VARIANCE}"),'
    assert line in str(report).splitlines()
    said = " ".join(str(report).split())
    assert "These differences come from the frameworks themselves. To accept them, pass them as" in said
    assert Report.from_json(report.to_json()).failures[0].details["framework"] == VARIANCE
    page = report.to_html()
    assert "What the frameworks differ in" in page
    assert "parts.*.weight" in page
    known = proposed(report.results)
    again = paritree.check(
        paritree.Pair(reference, lambda seed: NnxNet(nnx.Rngs(seed)), (X,)),
        contracts=ALL,
        devices=("cpu",),
        known_differences=known,
    )
    assert again.ok, str(again)
    assert "The frameworks themselves differ" not in str(again)


def test_linen_s_defaults_are_recognized_in_either_direction() -> None:
    forth = checked(reference, linen_port, "initialization", "modes", port_call=applied, port_train_call=trained)
    assert words(forth)["initialization", "parts.1.weight"] == LINEAR.format("Dense")
    assert words(forth)["modes", "norm.running_var"] == VARIANCE
    back = checked(linen_port, reference, "modes", reference_call=applied, reference_train_call=trained)
    assert words(back) == {("modes", "batch_stats.norm.var"): VARIANCE}


def test_a_table_s_default_is_recognized() -> None:
    def table(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Embedding(40, 8))

    pair = paritree.Pair(
        table, lambda seed: nnx.Sequential(nnx.Embed(40, 8, rngs=nnx.Rngs(seed))), (np.array([[1, 2, 3]]),)
    )
    report = paritree.check(pair, contracts=("initialization",), devices=("cpu",))
    (found,) = words(report).values()
    assert found == (
        "PyTorch draws the weight of its Embedding normal, std 1 and "
        "Flax draws the embedding of its Embed normal, std 1/sqrt(features)"
    )


@pytest.mark.parametrize(
    ("port", "contract", "path"),
    [
        (lambda seed: NnxNet(nnx.Rngs(seed), momentum=0.1), "modes", "norm.running_var"),
        (
            lambda seed: NnxNet(nnx.Rngs(seed), kernel_init=nnx.initializers.normal(0.02)),
            "initialization",
            "parts.0.weight",
        ),
        (
            lambda seed: NnxNet(nnx.Rngs(seed), kernel_init=nnx.initializers.he_normal()),
            "initialization",
            "parts.1.weight",
        ),
    ],
)
def test_a_fault_is_none_of_them(port: Callable[[int], Any], contract: str, path: str) -> None:
    report = checked(reference, port, contract)
    assert words(report)[contract, path] == ""
    assert all(path not in known.path for known in proposed(report.results))


def test_the_reference_s_own_law_is_none_of_its_framework_s_defaults() -> None:
    def drawn(seed: int) -> nn.Module:
        made = reference(seed)
        torch.nn.init.normal_(made.parts[0].weight, 0, 0.02)  # type: ignore[union-attr]
        return made

    found = words(checked(drawn, lambda seed: NnxNet(nnx.Rngs(seed)), "initialization"))
    assert found["initialization", "parts.0.weight"] == ""
    assert found["initialization", "parts.1.weight"]


def failing(path: str, told: str, contract: str = "modes") -> Result:
    return Result("pair", "torch -> nnx", "cpu", contract, path, "fail", 1.0, 0.1, details={"framework": told})


def test_layers_of_one_kind_are_one_line_unless_one_of_them_is_right_or_wrong() -> None:
    alike = [failing(f"layers.{number}.var", VARIANCE) for number in range(3)]
    assert proposed(alike) == (KnownDifference("modes", "layers.*.var", VARIANCE),)
    for other in (failing("layers.3.var", ""), failing("layers.3.var", "something else")):
        found = [known.path for known in proposed([*alike, other])]
        assert found[:3] == [f"layers.{number}.var" for number in range(3)]
        assert "layers.*.var" not in found
    assert proposed([failing("layers.0.var", VARIANCE), failing("layers.0.mean", "")])[0].path == "layers.*.var"


def test_a_line_is_python() -> None:
    known = KnownDifference("modes", "a.*.var", 'Flax\'s "own" way, \\ and é')
    assert eval(as_code(known), {"KnownDifference": KnownDifference}) == (known,)


def test_what_is_accepted_is_written_behind_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text('# By hand.\n[[known_difference]]\ncontract = "forward"\nreason = "an eps"\n')
    found = [KnownDifference("modes", "a.*.var", VARIANCE), KnownDifference("forward", "", VARIANCE)]
    new = accept(file, found, 'weights are "converted"\x7f')
    assert new == (KnownDifference("modes", "a.*.var", 'weights are "converted"\x7f'),)
    assert load(file) == (KnownDifference("forward", "", "an eps"), *new)
    assert file.read_text().startswith("# By hand.\n[[known_difference]]\n")
    before = file.read_text()
    assert accept(file, found, "again") == ()
    assert file.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["known.toml"]


def test_nothing_is_accepted_without_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        accept(tmp_path / "known.toml", [KnownDifference("modes", "a", VARIANCE)], " ")
    assert "expected a known difference with a reason, found none" in str(refused.value)
    assert not list(tmp_path.iterdir())
