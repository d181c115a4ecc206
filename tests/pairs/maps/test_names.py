"""Names that a map crosses."""

from __future__ import annotations

import pytest

from paritree.pairs.maps import Map, MapRow, crossing_note, crossings


def made(*pairs: tuple[str, str]) -> Map:
    rows = [MapRow(one, other, (4, 4), (4, 4), "a b -> b a", "fingerprint") for one, other in pairs]
    return Map(tuple(rows), ("torch", "nnx"))


CROSSED = {
    "gates": (("mlp.gate_proj.weight", "mlp.up.kernel"), ("mlp.up_proj.weight", "mlp.gate.kernel")),
    "short names": (("attn.k.weight", "attn.value.kernel"), ("attn.v.weight", "attn.key.kernel")),
    "directions": (("rnn.weight_hh_l0", "rnn.hh_l0_reverse"), ("rnn.weight_hh_l0_reverse", "rnn.hh_l0")),
    "other words for directions": (
        ("rnn.weight_hh_l0", "backward.hh.kernel"),
        ("rnn.weight_hh_l0_reverse", "forward.hh.kernel"),
    ),
    "layers": (("h.0.fc.weight", "h_1.fc.kernel"), ("h.1.fc.weight", "h_0.fc.kernel")),
}
STRAIGHT = {
    "plain": (("mlp.gate_proj.weight", "mlp.gate.kernel"), ("mlp.up_proj.weight", "mlp.up.kernel")),
    "other names": (("mlp.w1.weight", "mlp.up.kernel"), ("mlp.w2.weight", "mlp.gate.kernel")),
    "numbers of a sequence": (("net.0.weight", "Dense_0.kernel"), ("net.2.weight", "Dense_1.kernel")),
    "one name on one side": (("fc1.weight", "fc2.kernel"), ("out.weight", "head.kernel")),
    "directions": (("rnn.weight_hh_l0", "forward.hh.kernel"), ("rnn.weight_hh_l0_reverse", "backward.hh.kernel")),
}


@pytest.mark.parametrize("name", CROSSED)
def test_names_that_cross(name: str) -> None:
    (found,) = crossings(made(*CROSSED[name]))
    assert str(found) == " and ".join(f"{one} is {other}" for one, other in CROSSED[name])


@pytest.mark.parametrize("name", STRAIGHT)
def test_names_that_do_not(name: str) -> None:
    assert crossings(made(*STRAIGHT[name])) == []
    assert crossing_note(made(*STRAIGHT[name])) == ""


def test_the_note_says_what_to_do() -> None:
    assert crossing_note(made(*CROSSED["gates"])) == (
        "the map crosses names that both sides have: mlp.gate_proj.weight is mlp.up.kernel and mlp.up_proj.weight is "
        "mlp.gate.kernel. The port's program may use the one where it means the other; if it was not meant, exchange "
        "them in the program and align again"
    )
