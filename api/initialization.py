"""`paritree.initialize`: of one model by rules, or of both sides of a pair by the law of its reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from .common.draws import Stream, check_seed, check_stream
from .common.errors import UsageError
from .common.spec import Echo, Rule
from .common.wing import PairError, is_factory, model_of
from .front import wing
from .migration import carry
from .pairs.maps import Map
from .pairs.modes import ordinary
from .pairs.pair import Pair


@ordinary()
def initialize(
    model: Any,
    rules: Rule | Iterable[Rule] | Map,
    *,
    seed: int = 0,
    echo: Echo | None = None,
    stream: Stream = "portable",
) -> Any:
    """Draw the parameters of a live model that the rules name, by path from `seed`; the others keep their values.

    Returns the model to go on with: the same object in PyTorch and NNX, a new `(module, variables)` of Linen's.

    Of a Pair and the map of its sides, both sides: the reference is what its factory makes of the seed, and the port
    gets these numbers by the map, and so the reference's law, whatever that is. Returns the two models. A port that is
    a factory is made for the same seed, and keeps what the map does not speak of.

    echo: called with one line for each parameter that a rule names, as it is drawn (`print` shows them).
    stream: for rules, `portable` draws the same numbers, bit for bit, in every wing; `native` with the framework's own
        generator. A pair's numbers are those of its reference's framework.

    Raises:
        PathError: a rule that matches nothing; InitializerError: one that does not fit, or whose bits cannot be
            portable; UsageError: no model, rule, map, seed or stream. Nothing was drawn.
        PairError: a reference that is a live model, which does not tell its law; a factory that raises.
        WeightsError: a map that does not fit the models.
    """
    seed, stream = check_seed(seed), check_stream(stream)
    if isinstance(model, Pair):
        return _both(model, rules, seed)
    if isinstance(rules, Map):
        raise UsageError("", "a Pair, with a Map", type(model).__name__, "One model is drawn by rules: Rule(Normal()).")
    return wing(model).initialize(model, rules, seed=seed, echo=echo, stream=stream)


def _both(pair: Pair, map: Any, seed: int) -> tuple[Any, Any]:
    if not isinstance(map, Map):
        raise UsageError("", "a Map, with a Pair", type(map).__name__, "paritree.align(pair) finds it.")
    if not is_factory(pair.reference):
        remedy = "Give a factory, a function of a seed."
        raise PairError("reference", "a factory, whose draws have its law", "a live model, which tells none", remedy)
    reference, port = model_of(pair.reference, seed, "reference"), model_of(pair.port, seed, "port")
    return reference, carry(reference, port, cast(Map, map))
