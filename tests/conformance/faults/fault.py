"""What a fault is, and which contracts fail on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paritree.conformance import DEFAULT_CONTRACTS
from paritree.conformance.check import Examination, Wanted
from paritree.conformance.contracts import Sampling
from paritree.conformance.results import Result
from paritree.pairs.comparison import Bound

# Enough for what is planted in initial values, and no more.
SAMPLING = Sampling(target=2048, most=64)


@dataclass(frozen=True)
class Fault:
    """One fault in one pair.

    contract: the one that it is about, which must fail. name: what is wrong. wing: of the port.
    pair: gives the pair with it.
    at: the reference's paths of the contract's failures; empty for what is about the whole model.
    cause: of the first of them. says: a part of its message.
    others: the other contracts that fail on it too: none, for what this contract alone sees.
    """

    contract: str
    name: str
    wing: str
    pair: Callable[[], Bound]
    at: tuple[str, ...] = ("",)
    cause: str = ""
    says: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.contract}, {self.wing}: {self.name}"


def failures(bound: Bound, contracts: Sequence[str] = DEFAULT_CONTRACTS) -> tuple[Result, ...]:
    """What fails of a pair on the CPU, in the order of the contracts."""
    examined = Examination(bound, Wanted(contracts, ("cpu",), sampling=SAMPLING))
    return tuple(found for unit in examined.units for found in examined.results(unit) if found.status == "fail")


def missed(fault: Fault, contracts: Sequence[str] = DEFAULT_CONTRACTS) -> str:
    """What is wrong with the verdict on a fault of its contract and the given ones; empty if nothing is."""
    contracts = tuple({*contracts, fault.contract})
    pair = fault.pair()
    found = failures(pair, contracts)
    expected = {each for each in (fault.contract, *fault.others) if each in contracts}
    failed = {each.contract for each in found}
    if failed != expected:
        return f"{fault}: expected failures of {sorted(expected)}, found {sorted(failed)}"
    own = [each for each in found if each.contract == fault.contract]
    if tuple(dict.fromkeys(each.path for each in own)) != fault.at:
        return f"{fault}: expected failures at {fault.at}, found {[each.path for each in own]}"
    if own[0].cause != fault.cause or fault.says not in own[0].message:
        return f"{fault}: expected {fault.cause!r} and {fault.says!r}, found {own[0].cause!r} and {own[0].message!r}"
    number = len(own) if fault.contract in _COUNTED else 1
    if fault.contract in (*_COUNTED, *_ONE) and not {each.measured for each in own} <= {None, number}:
        return f"{fault}: expected {number} of it, found {[each.measured for each in own]}"
    return next((f"{fault}: {wrong}" for each in own if (wrong := _misplaced(pair, each))), "")


# Of these each failure is one of so many.
_COUNTED = ("names", "ties")
# Of these each is one alone.
_ONE = ("shapes", "round trip")
# Those that tell where to look: the modules of the tensor, in both namings.
_WITH_MODULES = ("gradients", "training", "values", "initialization")


def _misplaced(pair: Bound, found: Result) -> str:
    """What is wrong with where a failure is said to be."""
    rows = pair.map.by_reference.get(found.path)
    measured, allowed = found.measured, found.allowed or 0.0
    is_beyond = measured is None or (measured <= allowed if found.policy.startswith("p-value") else measured > allowed)
    if not is_beyond:
        return f"expected what is beyond {allowed}, found {measured}"
    if rows is None or found.contract == "modules":
        return ""
    if found.cause == "lost tie" and found.contract == "training" and found.measured != 1:
        return f"expected one, found {found.measured}"
    if found.port_path != rows[0].port:
        return f"expected the port's {rows[0].port}, found {found.port_path!r}"
    if found.contract in _WITH_MODULES and found.cause != "lost tie" and found.module != pair.modules(rows[0]):
        return f"expected {pair.modules(rows[0])}, found {found.module!r}"
    return ""
