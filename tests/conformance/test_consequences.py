"""Which failures only follow from another one, and which never do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from paritree import Pair, check
from paritree.conformance.consequences import faults, headline, name_of, with_consequences
from paritree.conformance.report import Report
from paritree.conformance.reports import to_text
from paritree.conformance.results import Result

PLACE = "'up' (Linear) = 'up' (Linear)"


def failed(contract: str, path: str = "", measured: float = 1e-3, **values: Any) -> Result:
    named = {"message": f"{contract} at {path}", "port_path": path, **values}
    return Result("tiny", "torch -> nnx", "cpu", contract, path, "fail", measured, 1e-6, **named)


def passed(contract: str, path: str = "", **values: Any) -> Result:
    return replace(failed(contract, path, 0.0), status="pass", message="", **values)


FORWARD = failed("forward", cause="activation", module=PLACE, details={"output": "", "why": "the port takes tanh"})
GRADIENT = failed("gradients", "up.weight")
TRAINING = failed("training", "up.weight", cause="training")
MODES = failed("modes", cause="mode", details={"output": ""})


def of(*results: Result) -> list[str]:
    return [each.follows_from for each in with_consequences(results)]


@pytest.mark.parametrize(
    "result",
    [
        GRADIENT,
        TRAINING,
        MODES,
        replace(GRADIENT, cause="shift", measured=16e-3),
        replace(GRADIENT, cause="activation"),
        replace(TRAINING, measured=64e-3),
        failed("modes", "norm.running_mean", cause="buffer"),
        failed("modules", "up", cause="module", module="'up' = 'up'"),
        failed("forward", cause="activation", module=PLACE, details={"output": "", "values": "quiet values"}),
        replace(FORWARD, device="cuda"),
    ],
)
def test_it_follows_from_the_output(result: Result) -> None:
    at = "" if result.device == "cpu" else " [cpu, float32]"
    assert of(FORWARD, result) == ["", f"forward{at}"]


@pytest.mark.parametrize(
    "result",
    [
        *(failed(contract, "up.weight") for contract in ("names", "shapes", "ties", "values", "initialization")),
        failed("round trip", "up.weight"),
        failed("determinism", cause="random"),
        failed("layout", "up.weight", cause="transposed"),
        failed("tied gradients", "up.weight"),
        *(
            failed("gradients", "up.weight", cause=cause)
            for cause in (
                "no gradient",
                "gradient scale",
                "padding row",
                "swapped",
                "gradient in the port alone",
                "transposed",
            )
        ),
        replace(GRADIENT, measured=17e-3),
        replace(GRADIENT, measured=float("inf"), cause="not finite"),
        replace(GRADIENT, precision="bfloat16"),
        replace(GRADIENT, device="cuda"),
        replace(TRAINING, measured=65e-3),
        replace(TRAINING, details={"start": 1e-8}),
        replace(TRAINING, cause="only the port trains it"),
        replace(MODES, cause="dropout"),
        replace(MODES, measured=0.1),
        failed("modes", "norm.running_var", cause="momentum"),
        failed("modes", "norm.running_var", cause="buffer", details={"framework": "the variance is biased"}),
        failed("modules", "down", cause="module", module="'down' = 'down'"),
        replace(FORWARD, device="cuda", cause="mask"),
        failed("gradients", "up.weight", cause="known difference gone"),
    ],
)
def test_it_is_one_of_its_own(result: Result) -> None:
    assert of(FORWARD, result) == ["", ""]


def test_a_scale_makes_scales_and_a_random_side_is_random() -> None:
    scaled = replace(GRADIENT, cause="gradient scale")
    assert of(replace(FORWARD, cause="scale"), scaled) == ["", "forward"]
    again = failed("determinism", cause="random")
    assert of(replace(FORWARD, cause="randomness"), again) == ["", "forward"]


def test_nothing_follows_from_what_holds_or_is_skipped_and_nothing_that_holds_follows() -> None:
    assert of(replace(FORWARD, status="pass"), GRADIENT) == ["", ""]
    assert of(replace(FORWARD, status="skip"), GRADIENT) == ["", ""]
    assert of(FORWARD, replace(GRADIENT, status="pass"), replace(GRADIENT, status="known")) == ["", "", ""]
    assert of(FORWARD, replace(GRADIENT, model="other")) == ["", ""]


def test_what_follows_from_a_declared_difference_says_so_and_fails_still() -> None:
    results = with_consequences((replace(FORWARD, status="known"), GRADIENT))
    assert [each.status for each in results] == ["known", "fail"]
    (fault,) = faults(results)
    assert (fault.result.status, fault.followers) == ("known", results[1:])
    assert not Report(results).ok
    text = to_text(Report(results), 100)
    assert "tiny [torch -> nnx]: 1 failure, of which 1 only follows from another one\n  forward: activation" in text
    assert "forward: differs as declared\n" in text


def test_an_output_that_is_wrong_at_other_values_alone_explains_what_is_measured_there() -> None:
    outer = replace(FORWARD, cause="eps", details={"output": "", "values": "quiet values"})
    plain = passed("forward", details={"output": ""})
    # A gradient with the very place and cause, no larger than what is allowed of the outputs lets it be.
    placed = replace(GRADIENT, module=PLACE, cause="eps", measured=1.5e-5)
    assert of(plain, outer, placed) == ["", "", "forward"]
    assert of(plain, outer, replace(placed, measured=0.1)) == ["", "", ""]
    assert of(plain, outer, replace(placed, cause="")) == ["", "", ""]
    assert of(plain, outer, replace(TRAINING, details={"start": 1e-4})) == ["", "", "forward"]
    assert of(plain, outer, TRAINING) == ["", "", ""]


def test_of_several_outputs_a_gradient_follows_if_it_is_right_through_those_that_agree() -> None:
    wrong, agrees = replace(FORWARD, details={"output": "a"}), passed("forward", details={"output": "b"})
    right = replace(GRADIENT, details={"right_elsewhere": True})
    assert of(wrong, agrees, GRADIENT) == ["", "", ""]
    assert of(wrong, agrees, replace(GRADIENT, details={"right_elsewhere": False})) == ["", "", ""]
    assert of(wrong, agrees, right, TRAINING) == ["", "", "forward", "forward"]
    assert of(wrong, agrees, TRAINING) == ["", "", ""]
    modes = [replace(MODES, details={"output": name}) for name in ("a", "b")]
    assert of(wrong, agrees, *modes) == ["", "", "forward", ""]
    # One search found the place of all outputs.
    assert of(wrong, replace(wrong, details={"output": "b"})) == ["", "forward"]


def test_where_outputs_agree_gradients_follow_from_the_module_that_is_called_last() -> None:
    first = failed("gradients", "up.weight", module="'down' = 'down'", details={"called_last": False})
    last = failed("gradients", "down.weight", module="'down' = 'down'", details={"called_last": True})
    named = "gradients at 'down.weight'"
    assert of(first, last, replace(last, path="down.bias")) == [named, "", named]
    assert of(replace(first, cause="padding row"), last) == ["", ""]
    assert of(replace(first, measured=1.0), last) == ["", ""]
    assert of(first, last, TRAINING, failed("training", "norm.weight", cause="training")) == [named, "", named, ""]
    # Of modules that nobody has seen called nothing is known.
    assert of(replace(first, details={}), replace(last, details={})) == ["", ""]
    placed = [replace(each, module=PLACE, cause="eps", details={"called_last": False}) for each in (first, last)]
    assert of(*placed) == ["", "gradients at 'up.weight'"]


def test_a_buffer_that_is_trained_otherwise_follows_from_its_statistic() -> None:
    statistic = failed("modes", "norm.running_mean", cause="momentum")
    trained = failed("training", "norm.running_mean", cause="buffer")
    assert of(trained, statistic) == ["modes at 'norm.running_mean'", ""]
    assert of(replace(trained, path="other.running_mean"), statistic) == ["", ""]


def test_one_tensor_in_several_contracts_is_one() -> None:
    tied = failed("tied gradients", "up.weight", cause="missing site")
    assert of(GRADIENT, tied) == ["tied gradients at 'up.weight'", ""]
    assert of(GRADIENT, replace(tied, cause="")) == ["", "gradients at 'up.weight'"]
    lost = failed("ties", "up.weight", cause="lost tie")
    assert of(lost, GRADIENT, tied, TRAINING) == ["", *["ties at 'up.weight'"] * 3]
    assert of(replace(lost, path="down.weight"), tied) == ["", ""]
    kind = failed("shapes", "up.weight", cause="kind")
    assert of(kind, replace(TRAINING, cause="only the port trains it"), TRAINING) == [
        "",
        "shapes at 'up.weight'",
        "",
    ]
    layout = failed("layout", "up.weight", cause="transposed")
    assert of(layout, replace(GRADIENT, cause="transposed")) == ["", "layout at 'up.weight'"]
    named = replace(FORWARD, cause="transposed", message="Likely cause: up.weight is used transposed")
    assert of(layout, named, replace(GRADIENT, cause="transposed")) == ["forward", "", "forward"]


def test_two_lost_ties_of_one_path_and_an_error_of_one_word() -> None:
    lost = [failed("ties", "up.weight", cause="lost tie", message=f"h.{n}.weight: is lost, 2 of 3") for n in (0, 1)]
    assert of(*lost) == ["", ""]
    errors = [
        replace(failed(contract, cause="SpecError"), measured=None, message="the same")
        for contract in ("modes", "ties")
    ]
    assert of(*errors) == ["", "modes"]
    again = replace(lost[0], device="cuda", message="h.0.weight: is lost, 3 of 4")
    assert of(*lost, again) == ["", "", "ties at 'up.weight' [cpu, float32]"]


def test_names_of_failures_and_lines_that_begin_with_the_cause() -> None:
    assert name_of(GRADIENT, TRAINING) == "gradients at 'up.weight'"
    assert name_of(replace(GRADIENT, device="cuda"), TRAINING) == "gradients at 'up.weight' [cuda, float32]"
    assert headline(FORWARD) == "activation in 'up': the port takes tanh"
    assert headline(
        replace(FORWARD, cause="", module="'a' (A) = 'b' (B)", details={}, message="It differs. By 2.")
    ) == ("'a' (A) = 'b' (B): It differs")
    assert headline(replace(GRADIENT, message="")) == "gradients does not hold"


def test_a_name_that_is_not_there_hides_nothing() -> None:
    orphan = replace(GRADIENT, follows_from="forward")
    (fault,) = faults((orphan,))
    assert fault.result is orphan
    assert "gradients at up.weight" in to_text(Report((orphan,)), 100)


class Stopped(torch.nn.Module):
    def __init__(self, slope: float = 1.0, is_stopped: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.slope, self.is_stopped = slope, is_stopped
        self.first, self.second, self.third = (torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.second(torch.tanh(self.first(x))) * self.slope
        return self.third(torch.tanh(hidden.detach() if self.is_stopped else hidden))


def test_a_gradient_that_is_stopped_behind_a_wrong_output_is_one_more_cause() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    report = check(
        Pair(Stopped(), Stopped(1.5, True), (x,)), contracts=("forward", "gradients", "training"), devices=("cpu",)
    )
    found = [(fault.result.contract, fault.result.path) for fault in faults(report.results)]
    assert found == [("forward", ""), ("gradients", "second.weight")]
    assert {each.status for each in report.failures} == {"fail"}


class Twice(torch.nn.Module):
    """Two towers with an output each."""

    def __init__(self, slope: float = 1.0, is_cut: bool = False) -> None:
        super().__init__()
        self.slope, self.is_cut = slope, is_cut
        self.one, self.other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        other = self.other(x)
        return torch.tanh(self.one(x) * self.slope), (other + other.detach()) / 2 if self.is_cut else other


def test_a_tower_of_its_own_is_a_fault_of_its_own() -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    pair = Pair(Twice(), Twice(1.5, is_cut=True), (x,))
    report = check(pair, contracts=("forward", "gradients"), devices=("cpu",))
    found = {each.path or each.contract: each.follows_from for each in report.failures}
    assert found == {
        "forward": "",
        "one.weight": "forward",
        "one.bias": "forward",
        "other.weight": "",
        "other.bias": "",
    }
