"""Known differences: a declared failure is accepted, an undeclared one is not, and one that is gone fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from paritree import KnownDifference
from paritree.common.errors import UsageError
from paritree.conformance import Wanted
from paritree.conformance.known import accepted, load
from paritree.conformance.report import Report
from paritree.conformance.results import Result, Status


def result(path: str, status: Status, contract: str = "initialization", device: str = "cpu") -> Result:
    return Result("pair", "torch -> nnx", device, contract, path, status, 0.5, 0.1, f"{path}: another std")


DEPTH = KnownDifference("initialization", "h.*.c_proj.weight", "the port does not scale by depth")


def test_a_declared_failure_is_known_and_the_report_holds() -> None:
    found = list(accepted([result("h.0.c_proj.weight", "fail"), result("h.1.c_proj.weight", "fail")], [DEPTH]))
    assert [each.status for each in found] == ["known", "known"]
    assert found[0].message == "h.0.c_proj.weight: another std (known: the port does not scale by depth)"
    assert Report((*found, result("wte.weight", "pass"))).ok


def test_an_undeclared_failure_stays_one() -> None:
    found = list(accepted([result("h.0.c_proj.weight", "fail"), result("h.0.c_fc.weight", "fail")], [DEPTH]))
    assert [each.status for each in found] == ["known", "fail"]
    assert not Report(tuple(found)).ok


def test_another_contract_at_the_same_path_is_not_declared() -> None:
    (found,) = accepted([result("h.0.c_proj.weight", "fail", "gradients")], [DEPTH])
    assert found.status == "fail"


def test_a_declared_difference_that_no_longer_occurs_fails() -> None:
    *_, gone = accepted([result("h.0.c_proj.weight", "pass"), result("h.1.c_proj.weight", "pass")], [DEPTH])
    assert (gone.status, gone.cause, gone.path) == ("fail", "known difference gone", "h.*.c_proj.weight")
    assert gone.message == (
        "the known difference initialization at 'h.*.c_proj.weight' no longer occurs: take it off the list "
        "(its reason was: the port does not scale by depth)"
    )


def test_one_place_of_several_is_enough_for_it_to_occur() -> None:
    found = list(accepted([result("h.0.c_proj.weight", "pass"), result("h.1.c_proj.weight", "fail")], [DEPTH]))
    assert [each.status for each in found] == ["pass", "known"]


@pytest.mark.parametrize("results", [[], [result("h.0.c_proj.weight", "skip")], [result("wte.weight", "pass")]])
def test_what_was_not_checked_is_not_said_to_be_gone(results: list[Result]) -> None:
    assert list(accepted(results, [DEPTH])) == results


def test_a_device_narrows_it() -> None:
    on_cuda = KnownDifference("initialization", "h.*", "the GPU draws otherwise", device="cuda")
    found = list(accepted([result("h.0.weight", "fail"), result("h.0.weight", "fail", device="cuda")], [on_cuda]))
    assert [each.status for each in found] == ["fail", "known"]


def test_a_file_lists_them(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(
        '[[known_difference]]\ncontract = "initialization"\npath = "h.*.c_proj.weight"\n'
        'reason = "the port does not scale by depth"\n\n'
        '[[known_difference]]\ncontract = "forward"\nreason = "an eps"\n'
    )
    assert load(file) == (DEPTH, KnownDifference("forward", "", "an eps"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("known = 1", "{file}: expected tables [[known_difference]], found 'known'. There is 'known_difference'."),
        ("known_difference = 1", "{file}: expected tables [[known_difference]], found int."),
        (
            '[[known_difference]]\ncontract = "forward"\nreasn = "x"',
            "{file}, difference 1: expected the keys contract, path, reason, device, precision, found 'reasn'. "
            "Did you mean 'reason'?",
        ),
        ('[[known_difference]]\ncontract = "forward"', "{file}, difference 1: expected a reason, found none."),
        (
            '[[known_difference]]\ncontract = "forward"\nreason = 3',
            "{file}, difference 1: expected a text as reason, found int.",
        ),
        (
            '[[known_difference]]\ncontract = "forward"\nreason = " "',
            "forward: expected a known difference with a reason, found none. Say why it is accepted.",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "known.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        load(file)
    assert str(refused.value) == message.format(file=file)


@pytest.mark.parametrize("content", [None, b"\xff", b"[["])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "known.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"known.toml: expected a readable TOML file, found "):
        load(file)


def test_a_contract_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        Wanted(known_differences=(KnownDifference("gradient", "h.*", "a reason"),))
    expected = "gradient at 'h.*': expected the name of a contract, found none of that name. Did you mean 'gradients'?"
    assert str(refused.value) == expected
