"""The steps of an alignment, in order: a symmetric point, fingerprints, what they leave open, a proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from types import MappingProxyType

from ...common.errors import DtypeError, NotExpressibleError, listed
from ...pairs.comparison import Bound
from ...pairs.maps import Map, MapRow
from ...pairs.modes import measuring
from ...pairs.pair import Pair, check_two
from ...pairs.precision import STRICT, Setting
from ...pairs.side import Side, sides_of
from .effects import assign_by_effect
from .errors import AlignmentError
from .guesses import Guess
from .interchangeable import assign_interchangeable
from .matching import Matching, matched, offer_zero_gradients
from .norms import merged
from .points import Hypothesis, SymmetricPoint, agree, are_of_one_shape, check_comparable, other_outputs, run
from .proof import outputs_apart, prove
from .rows import map_of
from .search import UNTRIED, agreeing, likeliest
from .tie_breaking import assign_by_module, assign_by_name, assign_by_value
from .user_rules import Rules, assign_by_rule, check_rules, paths_by

Progress = Callable[[str], None]
# Of so many likely maps it is sought what one of the programs makes up for.
MOST_FREED = 2


@measuring()
def align(
    pair: Pair, *, dtype: str = "float32", rules: Rules = MappingProxyType({}), progress: Progress = lambda what: None
) -> Map:
    """The map from the reference to the port: which tensor is which and with which axes, measured and then proved.

    It needs no names and no rules. Both models are set to a point at which every candidate holds the same numbers;
    equal gradients there find the partners (see `points` and `fingerprints`), weaker evidence assigns what has none
    (see `tie_breaking`), and distinct values carried across must give equal outputs and gradients (see `proof`). Each
    row says what assigned it. The models are not changed.

    Tensors may be packed, split, stacked or merged on one side, be sums or hold other values: see `search`. Weight
    norms of one side, called as a framework calls them, may be the other side's weights; the map leads to these.

    rules: for what measurement cannot assign, paths of the reference with the port's; `{i}` in both stands for one part
        of a path: `{"encoder.{i}.key.bias": "params.block_{i}.b2"}`. They are proved as far as all rows are.
    dtype: what both sides compute in, `float32` or `float64`, on the CPU.
    progress: told what is being done: each hypothesis, the matching, the proof.

    Raises:
        AlignmentError: the programs differ, also in the shapes of their outputs, a row is open, or the proof failed:
            what and by how much.
        PairError: outputs of unequal structure, or two sides that are one object.
        UsageError: a side that is no model, or a call from inside of a function that is traced;
        NotExpressibleError: an output that is no structure of arrays.
    """
    if dtype not in ("float32", "float64"):
        raise DtypeError("", "'float32' or 'float64'", repr(dtype))
    check_two(pair)
    setting = Setting(precision=dtype)
    sides = sides_of(pair)
    try:
        found = aligned(*sides, setting, rules, progress)
    except AlignmentError as error:
        return aligned_by_products(*sides, error, setting, rules, progress)
    return replace(found.map, notes=found.notes)


def aligned_by_products(
    reference: Side,
    port: Side,
    refused: AlignmentError,
    setting: Setting = STRICT,
    rules: Rules = MappingProxyType({}),
    progress: Progress = lambda what: None,
) -> Map:
    """The map of two sides that were refused, with products in the place of the weight norms that one alone has.

    Raises:
        AlignmentError: no side alone has some, or the two differ all the same: of the two errors that whose likely map
            leaves fewer tensors without a partner.
    """
    whole = merged(reference, port)
    if whole is None:
        raise refused
    progress("aligning: weight norms as their products")
    try:
        found = aligned(*whole.sides, setting, rules, progress)
    except AlignmentError as error:
        if error.found_map is None or _alone(error.found_map) >= _alone(refused.found_map):
            raise refused from None
        error.found_map = whole.with_factors(error.found_map, ())
        raise
    return whole.with_factors(found.map, found.notes)


def _alone(found: Map | None) -> float:
    """How many tensors have no partner."""
    return inf if found is None else len(found.unmatched_reference) + len(found.unmatched_port)


def aligned(
    reference: Side,
    port: Side,
    setting: Setting = STRICT,
    rules: Rules = MappingProxyType({}),
    progress: Progress = lambda what: None,
) -> Bound:
    """The two sides bound by the map of `align`, with the runs of its proof.

    Raises:
        AlignmentError, PairError, NotExpressibleError: as `align`.
    """
    reference, port = reference.at(setting), port.at(setting)
    for side in (reference, port):
        if not any(native.trainable for native in side.tensors.values()):
            raise AlignmentError(side.role, "a model with trainable tensors", "none of floating-point numbers")
    given = paths_by(rules, reference, port)
    return _aligned(reference, port, given, setting.allowed(len(reference.tensors)), progress)


def _aligned(reference: Side, port: Side, given: Mapping[str, str], limit: float, progress: Progress) -> Bound:
    progress("aligning: symmetric point")
    plain = run(Hypothesis(), reference, port)
    check_comparable(plain, reference, port)
    if not are_of_one_shape(plain):
        raise _other_outputs(plain, reference, port)
    tried = set[tuple[MapRow, ...]]()
    refused: tuple[AlignmentError, SymmetricPoint] | None = None
    for point in agreeing(reference, port, plain, limit, progress):
        progress("aligning: gradients and proof")
        try:
            return _proved(point, reference, port, given, limit, tried)
        except AlignmentError as error:
            # A hypothesis may agree by coincidence, at values that hide a difference; then another one may be right.
            if point is plain or point.hypothesis.structure.cost or point.hypothesis.states is not None:
                refused = refused or (error, point)
    progress("aligning: where the programs differ")
    error, agreed = refused or (None, None)
    if agreed is not None:
        wrong = Guess.by_outputs(agreed, reference, port, limit).wrong_gradients()
        if wrong is not None:
            raise wrong
    guesses = _guesses(plain, agreed, error.found_map if error else None, reference, port)
    if not guesses[0].outputs_agree:
        for guess in guesses[:MOST_FREED]:
            found = guess.freed(given, limit, progress)
            if found is not None:
                return found
    likely = guesses[0]
    if error is None or (error.found_map is None and not agree(likely.point, limit)):
        raise _difference(likely, limit)
    raise likely.wrong_gradients() or likely.refusal(error)


def _guesses(
    plain: SymmetricPoint, agreed: SymmetricPoint | None, refuted: Map | None, reference: Side, port: Side
) -> list[Guess]:
    """What is most likely the map, first that of measured rows which its proof refuted, if it is as plain as others."""
    known = [point for point in (agreed, plain) if point is not None]
    points = [] if agreed is None else [agreed]
    for hypothesis in likeliest(reference, port):
        if all(point.hypothesis != hypothesis for point in points):
            same = next((point for point in known if point.hypothesis == hypothesis), None)
            try:
                points = [*points, same or run(hypothesis, reference, port)]
            except NotExpressibleError:
                # A record has no runs of it.
                continue
    points = points or [plain]
    if agreed is None or refuted is None:
        return Guess.at(points, reference, port)
    first = Guess.refuted(agreed, refuted, reference, port)
    return [first] if first.outputs_agree or len(points) == 1 else Guess.at(points, reference, port, first)


def _proved(
    point: SymmetricPoint,
    reference: Side,
    port: Side,
    given: Mapping[str, str],
    limit: float,
    tried: set[tuple[MapRow, ...]],
) -> Bound:
    """Raises AlignmentError for open rows, and for a map that is not proved, or was not when it was tried before."""
    found = matched(point, reference, port, limit)
    candidates = offer_zero_gradients(found)
    assign_by_rule(found, given)
    values = [{path: native.array for path, native in side.tensors.items()} for side in (reference, port)]
    assign_by_module(candidates)
    assign_by_value(candidates, values[0], values[1])
    assign_by_module(candidates)
    assign_interchangeable(found, point, reference, port, limit)
    assign_by_effect(found, point, reference, port, limit)
    assign_by_name(candidates)
    check_rules(found, given)
    made = map_of(candidates, point.hypothesis, reference, port)
    _check_nothing_open(made, found, reference, port)
    if made.rows in tried:
        raise AlignmentError("", "another map than was tried", "the same")
    tried.add(made.rows)
    bound = Bound(reference, port, replace(made, verified=True))
    try:
        prove(bound.comparison(reference.setting))
    except AlignmentError as error:
        raise error.at(None, made) from None
    return bound


def _difference(likely: Guess, limit: float) -> AlignmentError:
    """That no hypothesis makes the programs agree, what is most likely which, and where they differ."""
    untried = UNTRIED in likely.bound.reference.notes
    faults = outputs_apart(likely.point.probes[0].outputs, likely.point.probes[1].outputs, limit)
    return AlignmentError(
        "",
        f"outputs that agree within {limit:.1e} when tensors of one shape hold the same numbers"
        + ", whatever the map" * (not untried),
        f"a difference in {listed([fault.text for fault in faults])}",
        " ".join(["The programs differ.", *filter(None, [likely.told, f"Of the reference: {UNTRIED}." * untried])]),
        found_map=likely.bound.map,
        place=likely.place,
    )


def _other_outputs(plain: SymmetricPoint, reference: Side, port: Side) -> AlignmentError:
    """That the outputs have other shapes, with what one of the sides alone has."""
    likely = _guesses(plain, None, None, reference, port)[0]
    remedy = "Give the pair calls that return the same."
    return AlignmentError(
        *other_outputs(plain),
        f"{remedy} {likely.told}".rstrip(),
        found_map=likely.bound.map,
        place=likely.place,
    )


def _check_nothing_open(made: Map, found: Matching, reference: Side, port: Side) -> None:
    """A tensor may be without a partner where it has none to choose from and no effect.

    Raises:
        AlignmentError: every other one, with its candidates.
    """
    faults = [
        *_open(found, reference, port, made.unmatched_reference),
        *_open(found, port, reference, made.unmatched_port),
    ]
    is_used = any(key in found.nonzero[0] or key in found.nonzero[1] for key, _ in faults)
    if faults:
        raise AlignmentError(
            "",
            f"a partner for every tensor{' that the outputs depend on' * is_used}",
            f"{len(faults)} without: {listed([text for _, text in faults])}",
            "Compare the ties, and what these are used for.",
        )


def _open(found: Matching, side: Side, other: Side, unmatched: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Of the tensors without a row each open part, or the whole, with what is open: its key, and words."""
    candidates = found.candidates
    done = candidates.taken if side.number else candidates.matches
    for path in unmatched:
        partition = next(iter(candidates.partitions[side.number][path]), ())
        for part in partition:
            options = candidates.options.get(part.key) if not side.number else None
            if options and part.key not in done and [len(each) > 1 for each in options.values()] == [True]:
                yield part.key, f"{part.key} is {next(iter(options))}, and nothing tells the order of its axes"
            elif options and part.key not in done:
                tells = "tells which" if len(options) > 1 else "says that it is"
                yield part.key, f"{part.key} may be {' or '.join(options)}, and nothing measured {tells}"
            elif part.key not in done and any(each.key in done for each in partition):
                yield part.key, f"{part.key} has no partner, where other parts of the tensor have one"
            elif part.key in found.nonzero[side.number] and part.key not in done:
                yield part.key, f"{part.key} of the {side.role} has a gradient that no open one of the {other.role} has"
