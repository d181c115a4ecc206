"""A map found on a tiny model, fitted to the full-size one: depth, widths, packed and stacked tensors; and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from paritree import Map, MapError, MapRow
from paritree.pairs.maps.pieces import WHOLE, parsed

Shapes = Mapping[str, tuple[int, ...]]


def row(reference: str, port: str, shape: Any, port_shape: Any, layout: str, **more: Any) -> MapRow:
    """A row whose pieces are texts."""
    pieces = {name: parsed(more.pop(name, "")) for name in ("reference_piece", "port_piece")}
    sizes = tuple(more.pop("sizes", {}).items())
    return MapRow(reference, port, shape, port_shape, layout, "fingerprint", sizes, **pieces, **more)


def map_of(*rows: MapRow, **more: Any) -> Map:
    return Map(rows, ("torch", "linen"), verified=True, **more)


def shapes(made: Map) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {path: rows[0].shape for path, rows in made.by_reference.items()},
        {path: rows[0].port_shape for path, rows in made.by_port.items()},
    )


def decoder(depth: int, width: int, heads: int, vocabulary: int = 11) -> Map:
    """A packed attention, a dense pair and a tied embedding, as a map found at that size would be."""
    head = width // heads
    rows = [
        row("wte.weight", "params.wte.embedding", (vocabulary, width), (vocabulary, width), "v e -> v e",
            reference_aliases=("lm_head.weight",)),
    ]  # fmt: skip
    for layer in range(depth):
        ours, theirs = f"h.{layer}", f"params.h_{layer}"
        for number, name in enumerate("qkv"):
            bounds = f"[{number * width}:{(number + 1) * width}]"
            rows += [
                row(f"{ours}.attn.in_proj", f"{theirs}.{name}.kernel", (3 * width, width), (width, heads, head),
                    "(h d) i -> i h d", sizes={"h": heads}, reference_piece=bounds),
                row(f"{ours}.attn.in_bias", f"{theirs}.{name}.bias", (3 * width,), (heads, head), "(h d) -> h d",
                    sizes={"h": heads}, reference_piece=bounds),
            ]  # fmt: skip
        for number in (1, 2):
            rows.append(row(f"{ours}.ln_{number}.weight", f"{theirs}.ln_{number}.scale", (width,), (width,), "a -> a"))
        rows.append(
            row(f"{ours}.fc.weight", f"{theirs}.fc.kernel", (4 * width, width), (width, 4 * width), "o i -> i o")
        )
    return map_of(*rows)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_tiny_decoder_serves_the_full_size(depth: int) -> None:
    full = decoder(12, 768, 12, 50257)
    fitted = decoder(depth, 8, 2).fit(*shapes(full))
    assert set(fitted.rows) == set(full.rows)
    assert (fitted.verified, fitted.direction) == (False, full.direction)


def test_without_the_ports_shapes_the_heads_are_not_known() -> None:
    full = decoder(2, 12, 3)
    with pytest.raises(MapError) as caught:
        decoder(2, 8, 2).fit(shapes(full)[0])
    assert str(caught.value) == (
        "expected the shapes of the same model in another size, found 12 that do not fit: 12 rows (h.0.attn.in_proj -> "
        "params.h_0.q.kernel, h.0.attn.in_proj -> params.h_0.k.kernel, h.0.attn.in_proj -> params.h_0.v.kernel, "
        "and 9 more): nothing tells the length of 'd', the length of 'h', the shape of the port. Give the port's "
        "shapes too, or align models of this size."
    )


def test_the_pieces_of_every_layer_are_equal_where_nothing_tells_otherwise() -> None:
    def layers(count: int, width: int) -> Map:
        return map_of(
            *(
                row(f"h.{layer}.qkv", f"h_{layer}.{name}", (3 * width,), (width,), "a -> a",
                    reference_piece=f"[{number * width}:{(number + 1) * width}]")
                for layer in range(count)
                for number, name in enumerate("qkv")
            )
        )  # fmt: skip

    assert set(layers(2, 4).fit(shapes(layers(5, 6))[0]).rows) == set(layers(5, 6).rows)


def packed(width: int, other: int | None = None) -> Map:
    """A fused projection whose parts are kernels: queries of one length, keys and values of another."""
    widths = [width, other or width, other or width]
    starts = np.cumsum([0, *widths])
    return map_of(
        *(
            row("qkv", name, (width, int(starts[-1])), (width, length), "i o -> i o",
                reference_piece=f"[:, {start}:{start + length}]")
            for name, start, length in zip("qkv", starts, widths, strict=False)
        )
    )  # fmt: skip


def test_bounds_follow_from_the_partners_length() -> None:
    fitted = packed(8).fit({"qkv": (768, 2304)})
    assert [str(each.reference_piece) for each in fitted.rows] == ["[:, 0:768]", "[:, 768:1536]", "[:, 1536:2304]"]
    assert set(fitted.rows) == set(packed(768).rows)


def test_pieces_may_be_of_several_lengths_where_the_ports_shapes_tell() -> None:
    full = packed(32, 8)
    assert set(packed(8).fit(*shapes(full)).rows) == set(full.rows)
    assert set(packed(8, 2).fit(*shapes(full)).rows) == set(full.rows)
    assert set(packed(8, 2).inverse().fit(shapes(full)[1]).rows) == set(full.inverse().rows)


def test_pieces_are_not_taken_to_be_equal_where_another_axis_tells_otherwise() -> None:
    with pytest.raises(MapError) as caught:
        packed(8).fit({"qkv": (32, 48)})
    assert str(caught.value) == (
        "expected the shapes of the same model in another size, found 3 that do not fit: 3 rows (qkv -> q, qkv -> "
        "k, qkv -> v): nothing tells the length of 'o', the shape of the port, the bounds of the reference's pieces. "
        "Give the port's shapes too, or align models of this size."
    )


def scanned(depth: int, width: int) -> Map:
    """Layers that the port stacks on a leading axis."""
    return map_of(
        *(
            row(f"layers.{layer}.weight", "params.layers.kernel", (2 * width, width), (depth, width, 2 * width),
                "o i -> i o", port_piece=f"[{layer}]")
            for layer in range(depth)
        )
    )  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3])
def test_a_stack_grows_with_the_layers(depth: int) -> None:
    full = scanned(7, 6)
    tiny = scanned(depth, 2)
    for fitted in (tiny.fit(*shapes(full)), tiny.fit(shapes(full)[0])):
        assert set(fitted.rows) == set(full.rows)
    back = full.inverse()
    for fitted in (tiny.inverse().fit(*shapes(back)), tiny.inverse().fit(shapes(back)[0])):
        assert set(fitted.rows) == set(back.rows)


def experts(layers: int, count: int, width: int) -> Map:
    """Experts that are modules of their own on one side, and one stack in each layer on the other."""
    return map_of(
        *(
            row(f"layers.{layer}.experts.{expert}.w{part}", f"layers_{layer}.w{part}", (width, 3), (count, 3, width),
                "o i -> i o", port_piece=f"[{expert}]")
            for layer in range(layers)
            for expert in range(count)
            for part in (1, 2)
        )
    )  # fmt: skip


def test_stacks_of_experts_in_each_layer() -> None:
    full = experts(3, 5, 4)
    assert set(experts(2, 2, 2).fit(shapes(full)[0]).rows) == set(full.rows)
    assert set(experts(2, 2, 2).inverse().fit(shapes(full)[1]).rows) == set(full.inverse().rows)


def two_kinds(dense: int, layers: int) -> Map:
    """Layers of two kinds that are called alike, each kind in a stack of its own."""
    rows = []
    for layer in range(layers):
        kind, index, depth = ("dense", layer, dense) if layer < dense else ("sparse", layer - dense, layers - dense)
        names = ("norm", "up") if kind == "dense" else ("norm", "experts.0.up", "experts.1.up")
        for name in names:
            port = f"{kind}.{name.replace('experts.', 'expert_')}"
            rows.append(row(f"layers.{layer}.{name}", port, (4,), (depth, 4), "a -> a", port_piece=f"[{index}]"))
    return map_of(*rows)


def test_a_new_layer_goes_to_the_stack_of_those_that_hold_the_same() -> None:
    tiny, full = two_kinds(2, 4), two_kinds(2, 9)
    assert {*tiny.fit(*shapes(full)).rows} == {*full.rows}


def concatenated(count: int, width: int) -> Map:
    """Parts that the port lays side by side, two of each layer."""
    return map_of(
        *(
            row(f"{name}.{layer}", "all", (width,), (2 * count * width,), "a -> a",
                port_piece=f"[{(2 * layer + number) * width}:{(2 * layer + number + 1) * width}]")
            for layer in range(count)
            for number, name in enumerate(("gate", "up"))
        )
    )  # fmt: skip


def test_spans_keep_their_order() -> None:
    full = concatenated(4, 5)
    assert set(concatenated(2, 2).fit(shapes(full)[0]).rows) == set(full.rows)


def interleaved(heads: int, head: int) -> Map:
    """Heads that each hold their query, key and value."""
    width = heads * head
    return map_of(
        *(
            row("qkv", f"{name}.kernel", (3 * width, width), (width, width), "h d i -> i (h d)",
                sizes={"h": heads, "d": head}, reference_piece=f"({heads} 3 {head} {width})[:, {number}]")
            for number, name in enumerate("qkv")
        ),
        row("out", "out.kernel", (heads, head, width), (width, width), "h d o -> (h d) o"),
    )  # fmt: skip


def test_interleaved_views() -> None:
    full = interleaved(4, 6)
    with pytest.raises(MapError, match="nothing tells the length of 'd', the length of 'h'"):
        interleaved(2, 3).fit(*shapes(full))
    split = map_of(
        *(
            row("qkv", f"{name}.kernel", (3 * 6, 6), (2, 3, 6), "h d i -> h d i", reference_piece=f"(2 3 3 6)[:, {n}]")
            for n, name in enumerate("qkv")
        )
    )
    fitted = split.fit({"qkv": (3 * 24, 24)}, {f"{name}.kernel": (4, 6, 24) for name in "qkv"})
    assert [str(each.reference_piece) for each in fitted.rows] == [f"(4 3 6 24)[:, {n}]" for n in range(3)]


def test_what_a_flatten_turned_over_does_not_tell_its_channels() -> None:
    tiny = map_of(row("head", "dense", (18, 4), (18, 4), "(c h w) o -> (h w c) o", sizes={"c": 2, "h": 3, "w": 3}))
    assert tiny.fit({"head": (18, 4)}, {"dense": (18, 4)}).rows == tiny.rows
    expected = "head -> dense: nothing tells the length of 'c', the length of 'h', the length of 'w'"
    for port, remedy in (
        (None, ", the shape of the port. Give the port's shapes too, or align models of this size."),
        ({"dense": (36, 4)}, ". Align models of this size."),
    ):
        with pytest.raises(MapError) as caught:
            tiny.fit({"head": (36, 4)}, port)
        assert str(caught.value).split("not fit: ")[1] == f"{expected}{remedy}"


def test_alternating_entries_keep_their_step() -> None:
    tiny = map_of(
        *(row("gu", name, (6, 2), (2, 3), "o i -> i o", reference_piece=f"[{n}::2]") for n, name in enumerate("gu"))
    )
    fitted = tiny.fit({"gu": (20, 4)})
    assert [(str(each.reference_piece), each.port_shape) for each in fitted.rows] == [
        ("[::2]", (4, 10)),
        ("[1::2]", (4, 10)),
    ]


def test_numbers_may_be_moved_and_thinned_out() -> None:
    def sequential(count: int) -> Map:
        return map_of(
            *(row(f"net.{2 * n}.weight", f"dense_{n + 1}.kernel", (3, 3), (3, 3), "o i -> i o") for n in range(count))
        )

    assert set(sequential(2).fit(shapes(sequential(5))[0]).rows) == set(sequential(5).rows)


def test_stages_of_several_depths_number_their_blocks_alike() -> None:
    def stages(*depths: int) -> Map:
        rows = []
        for stage, depth in enumerate(depths, 1):
            ours, theirs = f"layer{stage}", f"stage{stage}_block"
            for block in range(depth):
                for n in (1, 2):
                    names = f"{ours}.{block}.conv{n}.weight", f"{theirs}{block}.conv{n}.kernel"
                    rows.append(row(*names, (4, 3, 1, 1), (1, 1, 3, 4), "o i h w -> h w i o"))
            skip = f"{ours}.0.downsample"
            rows.append(row(f"{skip}.0.weight", f"{theirs}0.skip", (4, 3, 1, 1), (1, 1, 3, 4), "o i h w -> h w i o"))
            rows.append(row(f"{skip}.1.weight", f"{theirs}0.norm", (4,), (4,), "a -> a"))
        return map_of(*rows)

    full = stages(3, 4, 6, 3)
    assert set(stages(1, 2).fit(*shapes(full)).rows) == set(full.rows)


def test_a_number_on_which_nothing_depends_does_not_generalize() -> None:
    tiny = map_of(row("layers.0.weight", "only.kernel", (2, 3), (3, 2), "o i -> i o"))
    with pytest.raises(MapError) as caught:
        tiny.fit({"layers.0.weight": (2, 3), "layers.1.weight": (2, 3)})
    assert str(caught.value) == (
        "expected the shapes of the same model in another size, found 1 that does not fit: layers.1.weight is not in "
        "the map. Align models of this size."
    )


def test_all_that_is_missing_extra_or_misshapen_is_listed() -> None:
    tiny = map_of(
        *(row(f"h.{n}.w", f"h_{n}.k", (2, 3), (3, 2), "o i -> i o") for n in range(2)),
        row("norm.weight", "norm.scale", (2,), (2,), "a -> a"),
        row("head", "head", (2, 3), (2, 3), "a b -> a b"),
        row("tail", "tail", (2,), (2,), "a -> a"),
    )
    given = {"h.0.w": (4, 5), "h.1.w": (4, 5), "h.2.w": (4, 5), "head": (2, 3, 1), "tail": (2,), "new": (1,)}
    port = {"h_0.k": (5, 4), "h_1.k": (4, 5), "head": (2, 3), "tail": (3,), "norm.scale": (2,), "other": (1,)}
    with pytest.raises(MapError) as caught:
        tiny.fit(given, port)
    assert str(caught.value) == (
        "expected the shapes of the same model in another size, found 8 that do not fit: head has shape (2, 3, 1) and "
        "needs 2 axes; norm.weight is missing; the port's h_2.k is missing; h.1.w -> h_1.k: h_1.k has an axis of "
        "length 4 and not 5; tail -> tail: tail has an axis of length 3 and not 2; new is not in the map; the "
        "port's norm.scale is not in the map; the port's other is not in the map. Align models of this size."
    )


def test_what_had_no_row_has_none_in_another_size() -> None:
    def made(depth: int) -> Map:
        return map_of(
            *(row(f"bn.{n}.weight", f"bn_{n}.scale", (2,), (2,), "a -> a") for n in range(depth)),
            unmatched_reference=("pooler",),
            unmatched_port=tuple(f"extra_{n}" for n in range(depth)),
            aside_reference=tuple(f"bn.{n}.count" for n in range(depth)),
            aside_port=("step",),
        )

    given, port = shapes(made(3))
    given |= {"pooler": (5,), **{f"bn.{n}.count": () for n in range(3)}}
    port |= {"step": (), **{f"extra_{n}": (1,) for n in range(3)}}
    fitted = made(2).fit(given, port)
    assert set(fitted.rows) == set(made(3).rows)
    assert (fitted.unmatched_reference, fitted.unmatched_port) == (("pooler",), ("extra_0", "extra_1", "extra_2"))
    assert (fitted.aside_reference, fitted.aside_port) == (("bn.0.count", "bn.1.count", "bn.2.count"), ("step",))


SAME: dict[str, Callable[[], Map]] = {
    "decoder": lambda: decoder(2, 8, 2),
    "packed": lambda: packed(8, 2),
    "scanned": lambda: scanned(3, 2),
    "experts": lambda: experts(2, 3, 2),
    "interleaved": lambda: interleaved(2, 3),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_size_gives_the_same_map_verified_as_it_was(name: str) -> None:
    made = SAME[name]()
    assert made.fit(*shapes(made)) is made
    assert made.fit(shapes(made)[0]) is made


def test_aliases_follow_too() -> None:
    def tied(depth: int) -> Map:
        return map_of(
            *(
                row(f"a.{n}", f"b_{n}", (2,), (2,), "a -> a", reference_aliases=(f"again.{n + 1}",),
                    port_aliases=(f"c_{n}.x",))
                for n in range(depth)
            )
        )  # fmt: skip

    given, port = shapes(tied(4))
    fitted = tied(2).fit(given | {f"again.{n + 1}": (2,) for n in range(4)}, port)
    assert set(fitted.rows) == set(tied(4).rows)


def test_a_fitted_map_carries() -> None:
    full = decoder(3, 12, 3)
    fitted = decoder(1, 4, 2).fit(*shapes(full))
    random = np.random.default_rng(0)
    weights = {path: random.normal(size=shape) for path, shape in shapes(full)[0].items()}
    carried, expected = fitted.arrays(weights), full.arrays(weights)
    assert carried.keys() == expected.keys()
    for path in expected:
        np.testing.assert_array_equal(carried[path], expected[path])
    assert all(each.reference_piece is not WHOLE for each in fitted.rows if "attn" in each.reference)


LENGTHS: dict[str, tuple[Map, Shapes, Shapes, str]] = {
    "pieces longer than their tensor": (
        map_of(*(row("w", n, (4,), (2,), "a -> a", reference_piece=p) for n, p in (("a", "[0:2]"), ("b", "[2:4]")))),
        {"w": (5,)},
        {"a": (3,), "b": (3,)},
        "w -> b: expected an array that has a piece [3:6], found one of shape (5,)",
    ),
    "a split that does not divide": (
        map_of(row("w", "v", (6,), (2, 3), "(h d) -> h d", sizes={"h": 2})),
        {"w": (10,)},
        {"v": (4, 3)},
        "w -> v: w has 10 entries where the other side has 12",
    ),
    "a view that does not divide": (
        map_of(*(row("w", str(n), (12,), (2, 2), "h d -> h d", reference_piece=f"(2 3 2)[:, {n}]") for n in range(3))),
        {"w": (13,)},
        {"0": (2, 2), "1": (2, 2), "2": (2, 2)},
        "3 rows (w -> 0, w -> 1, w -> 2): w has an axis of length 13 and not 12",
    ),
    "a step that does not divide": (
        map_of(*(row("w", str(n), (4, 3), (2, 3), "a b -> a b", reference_piece=f"[{n}::2]") for n in range(2))),
        {"w": (5, 3)},
        {"0": (3, 3), "1": (3, 3)},
        "w -> 1: 1 has an axis of length 3 and not 2",
    ),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_that_no_model_has(name: str) -> None:
    tiny, given, port, expected = LENGTHS[name]
    with pytest.raises(MapError) as caught:
        tiny.fit(given, port)
    assert str(caught.value).split("not fit: ")[1] == f"{expected}. Align models of this size."
