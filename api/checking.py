"""`paritree.check`: aligns a pair, where no map is given, and checks its contracts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .conformance.check import DEFAULT_CONTRACTS, DEVICES, Examination, Wanted, check_pair
from .conformance.contracts import Sampling
from .conformance.known import KnownDifference, load
from .conformance.report import Report
from .migration import AlignmentError, aligned, aligned_by_products
from .pairs.comparison import Bound
from .pairs.maps import Map
from .pairs.modes import measuring
from .pairs.pair import Pair, check_two
from .pairs.records import Record, identity_map
from .pairs.side import Side, sides_of
from .pairs.weight_norms import with_products


@measuring()
def check(
    pair: Pair,
    map: Map | None = None,
    *,
    contracts: Sequence[str] = DEFAULT_CONTRACTS,
    devices: Sequence[str] = DEVICES,
    precisions: Sequence[str] = ("float32",),
    required_device: str | None = None,
    known_differences: Sequence[KnownDifference] | str | Path = (),
    alpha: float = Sampling.alpha,
    seed: int = 0,
    name: str = "pair",
    mesh: Any = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Report:
    """Whether the two sides of a pair are one model, contract by contract.

    map: from the reference to the port; without one the two are aligned first (a model and a record of its own kind are
        paired path by path). Where no map can be proved, what is most likely one is used, and the contracts say what
        differs.
    contracts: some of the names of PAIR_CONTRACTS; without, all but `modules`.
    devices: `cpu`, `cuda`, `cuda:1`, `tpu`, or `cpu:cuda` for the reference on one and the port on another. Those that
        not both sides see are skipped, visibly. required_device: one more, whose absence is an error.
    precisions: of the contracts of arithmetic: `float32` (strict), `tf32`, `bfloat16`.
    known_differences: failures that are accepted, or the TOML file that lists them.
    alpha: the chance that a correct pair is said to be initialized differently, for all parameters together.
    seed: of everything random that the check makes: the values at which the sides are compared, the initial draws.
    name: of the pair, in the report.
    mesh: the pair's, which the port is sharded over; see `Pair`.
    progress: told what is being done.

    Raises:
        PairError: a side that raises, ignores its seed or does not take the inputs, or outputs of unequal structure.
        UsageError: a side that is no model; a contract, device, precision or file that does not exist; a call from
            inside of a function that JAX or PyTorch traces or transforms, where arrays have no values.
        DeviceError: the required device is absent.
    """
    declared = load(known_differences) if isinstance(known_differences, str | Path) else tuple(known_differences)
    wanted = Wanted(
        tuple(contracts), tuple(devices), tuple(precisions), required_device, declared, Sampling(alpha=alpha), seed
    )
    pair = pair if mesh is None else replace(pair, mesh=mesh)
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
    bound = _bound(pair, map, wanted.seed, lambda what: progress(f"{name}: {what}"))
    return Examination(bound, wanted, name=name)


def _bound(pair: Pair, map: Map | None, seed: int, progress: Callable[[str], None]) -> Bound:
    check_two(pair)
    sides = sides_of(pair)
    map = map or _same_paths(*sides)
    if map is not None:
        return Bound(*with_products(*sides, map), seed=seed)
    try:
        found = aligned(*sides, progress=progress)
    except AlignmentError as error:
        map, unproved = _by_products(sides, error, progress)
        return Bound(*with_products(*sides, map or Map((), (sides[0].kind, sides[1].kind))), unproved, seed)
    return replace(found, seed=seed) if seed else found


def _by_products(
    sides: tuple[Side, Side], refused: AlignmentError, progress: Callable[[str], None]
) -> tuple[Map | None, str]:
    """The map with weight norms as their products, or what is most likely the map, and what was said against it."""
    try:
        return aligned_by_products(*sides, refused, progress=progress), ""
    except AlignmentError as error:
        return error.found_map, str(error)


def _same_paths(reference: Side, port: Side) -> Map | None:
    """The map of a model to its next release, where one of them is a record and every path has its partner."""
    if not isinstance(reference.model, Record) or reference.wing.NAME != port.wing.NAME:
        return None
    found = identity_map(reference.stored_tensors, port.stored_tensors, (reference.wing.NAME, port.wing.NAME))
    return None if found.unmatched_reference or found.unmatched_port else found
