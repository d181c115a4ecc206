"""`paritree.check`: aligns a pair, where no map is given, and checks its contracts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .common.wing import model_of, side_name
from .conformance.check import DEVICES, PAIR_CONTRACTS, Examination, Wanted, check_pair
from .conformance.contracts import Sampling
from .conformance.known import KnownDifference, load
from .conformance.report import Report
from .migration import AlignmentError, align
from .pairs.maps import Map
from .pairs.pair import Pair
from .pairs.records import Record, identity_map
from .pairs.side import Side


def check(
    pair: Pair,
    map: Map | None = None,
    *,
    contracts: Sequence[str] = PAIR_CONTRACTS,
    devices: Sequence[str] = DEVICES,
    precisions: Sequence[str] = ("float32",),
    required_device: str | None = None,
    known_differences: Sequence[KnownDifference] | str | Path = (),
    alpha: float = Sampling.alpha,
    seed: int = 0,
    name: str = "pair",
    progress: Callable[[str], None] = lambda what: None,
) -> Report:
    """Whether the two sides of a pair are one model, contract by contract.

    map: from the reference to the port; without one the two are aligned first (a model and a record of its own kind are
        paired path by path). Where no map can be proved, what is most likely one is used, and the contracts say what
        differs.
    contracts: some of the names of PAIR_CONTRACTS.
    devices: those that not both sides see are skipped, visibly. required_device: one whose absence is an error.
    precisions: of the contracts of arithmetic: `float32` (strict), `tf32`, `bfloat16`.
    known_differences: failures that are accepted, or the TOML file that lists them.
    alpha: the chance that a correct pair is said to be initialized differently, for all parameters together.
    seed: of everything random that the check makes: the values at which the sides are compared, the initial draws.
    name: of the pair, in the report.
    progress: told what is being done.

    Raises:
        PairError: a side that raises, ignores its seed or does not take the inputs, or outputs of unequal structure.
        UsageError: a side that is no model; a contract, device, precision or file that does not exist.
        DeviceError: the required device is absent.
    """
    declared = load(known_differences) if isinstance(known_differences, str | Path) else tuple(known_differences)
    wanted = Wanted(
        tuple(contracts), tuple(devices), tuple(precisions), required_device, declared, Sampling(alpha=alpha), seed
    )
    return check_pair(examined(pair, map, wanted, name=name, progress=progress), progress)


def examined(
    pair: Pair,
    map: Map | None,
    wanted: Wanted,
    *,
    name: str = "pair",
    progress: Callable[[str], None] = lambda what: None,
) -> Examination:
    """The examination of a pair. Without a map a model is held against a record of itself path by path; all else is
    aligned."""
    map = map or _same_paths(pair)
    if map is not None:
        return Examination(pair, map, wanted, name=name)
    progress(f"{name}: aligning")
    found, unproved = _aligned(pair)
    return Examination(pair, found, wanted, name=name, unproved=unproved)


def _same_paths(pair: Pair) -> Map | None:
    """The map of a model to its next release, where one of them is a record and every path has its partner."""
    if not isinstance(pair.reference, Record):
        return None
    sides = [Side.of(pair, role) for role in ("reference", "port")]
    if sides[0].wing.NAME != sides[1].wing.NAME:
        return None
    found = identity_map(sides[0].natives, sides[1].natives, (sides[0].wing.NAME, sides[1].wing.NAME))
    return None if found.unmatched_reference or found.unmatched_port else found


def _aligned(pair: Pair) -> tuple[Map, str]:
    """The proved map; or what is most likely one, and what was said against it."""
    try:
        return align(pair), ""
    except AlignmentError as error:
        if error.found_map is not None:
            return error.found_map, str(error)
        sides = [side_name(model_of(getattr(pair, role), role=role)) for role in ("reference", "port")]
        return Map((), (sides[0], sides[1])), str(error)
