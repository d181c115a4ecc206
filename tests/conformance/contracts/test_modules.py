"""Each module of a port on the reference's inputs: all faults at once, each in the innermost module that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import paritree
from paritree.conformance import DEFAULT_CONTRACTS, PAIR_CONTRACTS
from paritree.conformance.report import Report
from paritree.conformance.results import Result
from paritree.pairs.maps import Map, MapRow
from paritree.pairs.maps.pieces import parsed

WIDTH, WORDS = 8, 13
TOKENS = np.random.default_rng(0).integers(0, WORDS, (3, 5)).astype(np.int32)


class Mixer(nn.Module):
    """A projection of pairs of features, which it weighs by a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = (self.keys(x) @ x.transpose(-1, -2)).softmax(-1, dtype=torch.float32)
        return scores.to(x.dtype) @ self.values(x)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix, self.drop = nn.LayerNorm(WIDTH), Mixer(), nn.Dropout(0.1)
        self.up, self.act, self.down = nn.Linear(WIDTH, 12), nn.GELU(), nn.Linear(12, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop(self.mix(self.norm(x)))
        return x + self.down(self.act(self.up(x)))


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.layers = nn.Embedding(WORDS, WIDTH), nn.ModuleList([Layer(), Layer(), Layer()])
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def exact(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


@dataclass(frozen=True)
class Faults:
    """What a layer of the port does otherwise."""

    eps: float = 1e-5
    act: Callable[[Any], Any] = exact
    scale: float = 1.0
    after: Callable[[Any], Any] = field(default=lambda x: x)


RIGHT = Faults()
Layers = tuple[Faults, Faults, Faults]


def mixed(of: Any, x: Any, faults: Faults) -> Any:
    scores = of.k(x) @ x.swapaxes(-1, -2) * faults.scale
    return jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype) @ of.v(x)


class LinenMixer(linen.Module):
    faults: Faults

    @linen.compact
    def __call__(self, x: Any) -> Any:
        # Linen numbers the two in the order in which they are made.
        keys, values = linen.Dense(WIDTH), linen.Dense(WIDTH)
        scores = keys(x) @ x.swapaxes(-1, -2) * self.faults.scale
        return jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype) @ values(x)


class LinenLayer(linen.Module):
    faults: Faults

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = x + LinenMixer(self.faults, name="m")(linen.LayerNorm(epsilon=self.faults.eps, name="n")(x))
        return self.faults.after(x + linen.Dense(WIDTH, name="d")(self.faults.act(linen.Dense(12, name="u")(x))))


class LinenLanguage(linen.Module):
    layers: Layers
    end: Callable[[Any], Any] = lambda x: x

    def setup(self) -> None:
        self.w, self.z = linen.Embed(WORDS, WIDTH), linen.Dense(WORDS)
        self.l = [LinenLayer(faults) for faults in self.layers]

    def __call__(self, tokens: Any) -> Any:
        x = self.end(self.w(tokens))
        for layer in self.l:
            x = layer(x)
        return self.z(x)


class NnxMixer(nnx.Module):
    def __init__(self, faults: Faults, rngs: nnx.Rngs) -> None:
        self.faults = faults
        self.k, self.v = nnx.Linear(WIDTH, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return mixed(self, x, self.faults)


class NnxLayer(nnx.Module):
    def __init__(self, faults: Faults, rngs: nnx.Rngs) -> None:
        self.faults = faults
        self.n, self.m = nnx.LayerNorm(WIDTH, epsilon=faults.eps, rngs=rngs), NnxMixer(faults, rngs)
        self.u, self.d = nnx.Linear(WIDTH, 12, rngs=rngs), nnx.Linear(12, WIDTH, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = x + self.m(self.n(x))
        return self.faults.after(x + self.d(self.faults.act(self.u(x))))


class NnxLanguage(nnx.Module):
    def __init__(self, layers: Layers, end: Callable[[Any], Any], rngs: nnx.Rngs) -> None:
        self.w, self.z = nnx.Embed(WORDS, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WORDS, rngs=rngs)
        self.l = nnx.List([NnxLayer(faults, rngs) for faults in layers])
        self.end = end

    def __call__(self, tokens: Any) -> Any:
        x = self.end(self.w(tokens))
        for layer in self.l:
            x = layer(x)
        return self.z(x)


def unchanged(x: Any) -> Any:
    return x


def broken(x: Any) -> Any:
    raise RuntimeError("not written yet")


def port_of(wing: str, layers: Layers = (RIGHT, RIGHT, RIGHT), end: Callable[[Any], Any] = unchanged) -> Any:
    if wing == "nnx":
        return NnxLanguage(layers, end, nnx.Rngs(0))
    variables = LinenLanguage((RIGHT, RIGHT, RIGHT)).init(jax.random.key(0), TOKENS)
    return LinenLanguage(layers, end), variables


def map_of(wing: str) -> Map:
    def rows(path: str, other: str, is_table: bool = False) -> list[MapRow]:
        shapes = {name: tuple(parameter.shape) for name, parameter in Language().named_parameters()}
        found = []
        for name in ("weight", "bias"):
            if f"{path}.{name}" not in shapes:
                continue
            shape = shapes[f"{path}.{name}"]
            leaf = "bias" if name == "bias" else "embedding" if is_table else "kernel" if len(shape) > 1 else "scale"
            turned = leaf == "kernel"
            layout = "a b -> b a" if turned else "a b -> a b" if len(shape) > 1 else "a -> a"
            native = f"params.{other}.{leaf}" if wing == "linen" else f"{other}.{leaf}"
            found.append(MapRow(f"{path}.{name}", native, shape, shape[::-1] if turned else shape, layout, "name"))
        return found

    made = [*rows("words", "w", True), *rows("head", "z")]
    parts = {"norm": "n", "up": "u", "down": "d"}
    parts |= (
        {"mix.keys": "m.k", "mix.values": "m.v"}
        if wing == "nnx"
        else {
            "mix.keys": "m.Dense_0",
            "mix.values": "m.Dense_1",
        }
    )
    for number in range(3):
        layer = f"l.{number}" if wing == "nnx" else f"l_{number}"
        for one, other in parts.items():
            made += rows(f"layers.{number}.{one}", f"{layer}.{other}")
    return Map(tuple(made), ("torch", wing))


def checked(reference: Any, port: Any, made: Map | None, inputs: Any = (TOKENS,), **calls: Any) -> Report:
    pair = paritree.Pair(reference, port, inputs, **calls)
    return paritree.check(pair, made, contracts=("modules",), devices=("cpu",))


def by_status(report: Report) -> dict[str, dict[str, Result]]:
    found: dict[str, dict[str, Result]] = {"pass": {}, "fail": {}, "skip": {}}
    for result in report.results:
        found[result.status][result.path] = result
    return found


@pytest.fixture(params=["linen", "nnx"])
def wing(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_is_a_contract_that_is_checked_if_asked_for() -> None:
    assert set(PAIR_CONTRACTS) - set(DEFAULT_CONTRACTS) == {"modules"}
    assert len(PAIR_CONTRACTS) == 16


@pytest.mark.parametrize("is_port_of_flax", [False, True])
def test_all_modules_of_a_right_port_agree(wing: str, is_port_of_flax: bool) -> None:
    sides = (Language().eval(), port_of(wing))
    made = map_of(wing)
    report = checked(*sides[::-1], made.inverse()) if is_port_of_flax else checked(*sides, made)
    found = by_status(report)
    assert report.ok
    assert len(found["pass"]) == 24
    parts = [] if is_port_of_flax else [f"layers.{number}.{part}" for number in range(3) for part in ("drop", "act")]
    assert sorted(found["skip"]) == sorted(parts)
    for result in found["skip"].values():
        assert "the port has no module for it alone; " in result.message
        assert result.message.endswith("which it is a part of, agrees")


@pytest.mark.parametrize("seed", [2, 6])
def test_little_rounding_to_float32_is_no_fault(seed: int) -> None:
    """A softmax that is almost decided rounds few of its numbers, and these little."""
    torch.manual_seed(seed)
    assert checked(Language().eval(), port_of("nnx"), map_of("nnx")).ok


THREE = (Faults(eps=1e-4), Faults(act=jax.nn.silu), Faults(scale=0.5))
INNERMOST = ["layers.0.norm", "layers.1", "layers.2.mix"]


def test_three_faults_are_three_failures_in_the_innermost_modules(wing: str) -> None:
    found = by_status(checked(Language().eval(), port_of(wing, THREE), map_of(wing)))
    assert list(found["fail"]) == INNERMOST
    norm, layer, mix = found["fail"].values()
    assert norm.message.startswith("'layers.0.norm' (LayerNorm) = 'l")
    assert "on the reference's inputs its output differs by " in norm.message
    assert norm.cause == "module"
    assert (norm.measured or 0) > 1e-5 > (norm.allowed or 1)
    assert norm.port_path == ("l_0.n" if wing == "linen" else "l.0.n")
    down = "l_1.d" if wing == "linen" else "l.1.d"
    assert f"its parts agree, but it gives {down!r} other inputs than the reference does, by " in layer.message
    assert "its parts agree, what it makes of their outputs does not" in mix.message
    part = "l_0.n" if wing == "linen" else "l.0.n"
    assert found["skip"]["layers.0"].message.endswith(f"; its part {part!r} differs already")
    assert found["skip"][""].message.count("differ") == 2
    assert len(found["pass"]) == 24 - 3 - 3


def test_a_port_whose_call_raises_is_told_of_module_by_module(wing: str) -> None:
    found = by_status(checked(Language().eval(), port_of(wing, THREE, broken), map_of(wing)))
    assert list(found["fail"]) == [*INNERMOST, ""]
    assert "on the reference's inputs it raises RuntimeError: not written yet" in found["fail"][""].message
    assert len(found["pass"]) == 24 - 3 - 3


def test_a_module_that_raises_is_followed_by_what_it_should_have_given(wing: str) -> None:
    layers = (Faults(after=broken), RIGHT, Faults(eps=1e-4))
    found = by_status(checked(Language().eval(), port_of(wing, layers), map_of(wing)))
    assert list(found["fail"]) == ["layers.0", "layers.2.norm"]
    assert "on the reference's inputs it raises RuntimeError: not written yet" in found["fail"]["layers.0"].message
    assert found["fail"]["layers.0"].cause == "raises"
    assert "layers.1.mix.keys" in found["pass"]


class Joined(nnx.Module):
    """A layer that is cut otherwise: keys and values in one kernel, the norm's scale in front of it."""

    def __init__(self, eps: float, rngs: nnx.Rngs) -> None:
        self.n, self.kv = nnx.LayerNorm(WIDTH, epsilon=eps, rngs=rngs), nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.u, self.d = Upward(rngs), nnx.Linear(12, WIDTH, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        normed = self.n(x)
        keys, values = jnp.split(self.kv(normed), 2, -1)
        scores = (keys @ normed.swapaxes(-1, -2)).astype(jnp.float32)
        x = x + jax.nn.softmax(scores).astype(x.dtype) @ values
        return x + self.d(self.u(x))


class Upward(nnx.Module):
    """The activation is a part of it."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = nnx.Linear(WIDTH, 12, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return exact(self.inner(x))


class Cut(nnx.Module):
    def __init__(self, eps: float, rngs: nnx.Rngs) -> None:
        self.first, self.second = Joined(1e-5, rngs), Joined(eps, rngs)

    def __call__(self, x: Any) -> Any:
        return self.second(self.first(x))


class Pair(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(Layer(), Layer())


def cut_map() -> Map:
    rows = []
    for number, layer in enumerate(("first", "second")):
        for one, other, shape in (("norm", "n", ()), ("up", "u.inner", (12, WIDTH)), ("down", "d", (WIDTH, 12))):
            if shape:
                weight = f"{number}.{one}.weight", f"{layer}.{other}.kernel"
                rows.append(MapRow(*weight, shape, shape[::-1], "a b -> b a", "name"))
            else:
                rows.append(MapRow(f"{number}.{one}.weight", f"{layer}.{other}.scale", (8,), (8,), "a -> a", "name"))
            length = (shape[0],) if shape else (WIDTH,)
            rows.append(MapRow(f"{number}.{one}.bias", f"{layer}.{other}.bias", length, length, "a -> a", "name"))
        for part, span in (("keys", "0:8"), ("values", "8:16")):
            kernel, bias = f"{layer}.kv.kernel", f"{layer}.kv.bias"
            rows.append(packed(f"{number}.mix.{part}.weight", kernel, (8, 8), (8, 16), "a b -> b a", f"[:, {span}]"))
            rows.append(packed(f"{number}.mix.{part}.bias", bias, (8,), (16,), "a -> a", f"[{span}]"))
    return Map(tuple(rows), ("torch", "nnx"))


def packed(path: str, port: str, shape: Any, port_shape: Any, layout: str, piece: str) -> MapRow:
    return MapRow(path, port, shape, port_shape, layout, "name", port_piece=parsed(piece))


X = np.random.default_rng(2).normal(size=(3, 5, WIDTH)).astype(np.float32)


def test_what_is_cut_into_modules_otherwise_is_no_fault() -> None:
    found = by_status(checked(Pair().eval(), Cut(1e-5, nnx.Rngs(0)), cut_map(), (X,)))
    assert not found["fail"]
    assert {"", "0", "1", "0.norm", "0.up", "1.down"} <= set(found["pass"])


def test_a_fault_beside_what_is_cut_otherwise_is_the_only_one() -> None:
    found = by_status(checked(Pair().eval(), Cut(1e-4, nnx.Rngs(0)), cut_map(), (X,)))
    assert list(found["fail"]) == ["1.norm"]


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pool, self.last, self.head = nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.norm(self.stem(x)).relu())
        return self.head(self.last(x).mean((2, 3)))


class NnxPictures(nnx.Module):
    def __init__(self, slope: float, end: Callable[[Any], Any], rngs: nnx.Rngs) -> None:
        self.stem, self.norm = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, epsilon=1e-5, rngs=rngs)
        self.last, self.head = nnx.Conv(4, 6, (3, 3), padding="VALID", rngs=rngs), nnx.Linear(6, 5, rngs=rngs)
        self.slope, self.end = slope, end

    def __call__(self, x: Any) -> Any:
        x = self.end(self.norm(self.stem(x.transpose(0, 2, 3, 1))))
        x = nnx.max_pool(jax.nn.leaky_relu(x, self.slope), (2, 2), (2, 2))
        return self.head(self.last(x).mean((1, 2)))


PIXELS = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)


def picture_map() -> Map:
    made = paritree.align(paritree.Pair(Pictures().eval(), NnxPictures(0.0, unchanged, nnx.Rngs(0)), (PIXELS,)))
    assert made.verified
    return made


def test_channels_may_be_last() -> None:
    made = picture_map()
    right = by_status(checked(Pictures().eval(), NnxPictures(0.0, unchanged, nnx.Rngs(0)), made, (PIXELS,)))
    assert {*right["pass"]} == {"", "stem", "norm", "last", "head"}
    assert list(right["skip"]) == ["pool"]
    wrong = by_status(checked(Pictures().eval(), NnxPictures(0.1, unchanged, nnx.Rngs(0)), made, (PIXELS,)))
    assert list(wrong["fail"]) == [""]
    assert "its parts agree, but it gives 'last' other inputs than the reference does, by " in wrong["fail"][""].message
    raising = by_status(checked(Pictures().eval(), NnxPictures(0.0, broken, nnx.Rngs(0)), made, (PIXELS,)))
    assert list(raising["fail"]) == [""]
    assert {*raising["pass"]} == {"stem", "norm", "last", "head"}


def test_a_square_image_keeps_its_height_and_width_after_a_fault() -> None:
    port = NnxPictures(0.0, unchanged, nnx.Rngs(0))
    port.stem.padding = "CIRCULAR"
    port.norm.epsilon = 1.0
    found = by_status(checked(Pictures().eval(), port, picture_map(), (PIXELS,)))
    assert list(found["fail"]) == ["stem", "norm"]


def test_without_a_proved_map_the_likely_one_is_used() -> None:
    layers = (RIGHT, Faults(scale=0.5), RIGHT)
    found = by_status(checked(Language().eval(), port_of("nnx", layers), None))
    assert list(found["fail"]) == ["layers.1.mix"]


def test_what_the_map_is_not_about_is_left_out() -> None:
    rows = tuple(row for row in map_of("nnx").rows if not row.reference.startswith("head."))
    found = by_status(checked(Language().eval(), port_of("nnx", THREE), Map(rows, ("torch", "nnx"))))
    assert list(found["fail"]) == INNERMOST
    assert found["skip"]["head"].message == "'head' (Linear): no row of the map is about what it holds"
    rows = tuple(row for row in map_of("nnx").rows if not row.reference.startswith("head."))
    right = by_status(checked(Language().eval(), port_of("nnx"), Map(rows, ("torch", "nnx"))))
    assert not right["fail"]
    words = "it differs, and no row of the map is about 'head.bias' and 'z.bias', which the two hold"
    assert right["skip"][""].message == f"the model itself (Language = NnxLanguage): {words}"


def test_what_one_side_alone_holds_is_a_difference() -> None:
    port = port_of("nnx")
    port.z = nnx.Linear(WIDTH, WORDS, use_bias=False, rngs=nnx.Rngs(0))
    found = by_status(checked(Language().eval(), port, map_of("nnx")))
    assert list(found["fail"]) == ["head"]


def test_a_tensor_of_another_shape_leaves_the_others() -> None:
    port = port_of("nnx", (RIGHT, Faults(eps=1e-4), RIGHT))
    port.z = nnx.Linear(WIDTH, WORDS + 1, rngs=nnx.Rngs(0))
    found = by_status(checked(Language().eval(), port, map_of("nnx")))
    assert "layers.1.norm" in found["fail"]
    assert "words" in found["pass"]


def test_what_has_no_modules_is_skipped_with_the_reason() -> None:
    weights = {"kernel": np.ones((3, 4), np.float32)}
    pair = nn.Linear(3, 4, bias=False), weights
    rows = (MapRow("weight", "kernel", (4, 3), (3, 4), "a b -> b a", "name"),)
    inputs = (np.ones((2, 3), np.float32),)
    (result,) = checked(*pair, Map(rows, ("torch", "pytree")), inputs, port_call=multiplied).results
    assert (result.status, result.message) == ("skip", "the port is a pytree with a call, which has no modules")


def multiplied(tree: Any, inputs: Any) -> Any:
    return inputs[0] @ tree["kernel"]


def test_a_record_without_activations_holds_none() -> None:
    model, inputs = nn.Linear(3, 4), (np.ones((2, 3), np.float32),)
    record = paritree.record(model, inputs, contracts=("names",))
    (result,) = checked(record, model, None, inputs).results
    assert (result.status, result.message) == (
        "skip",
        "no call of a module of the reference is to be seen; a record without activations has none",
    )


def test_without_a_row_there_is_nothing_to_carry() -> None:
    (result,) = checked(nn.ReLU(), nn.ReLU(), Map((), ("torch", "torch")), (X,)).results
    assert (result.status, result.message) == ("skip", "there is no map to carry values with")


class Wide(nn.Module):
    """Like its partner, but for a part of another width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, width), nn.Linear(width, WIDTH)
        self.last = nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.down(self.up(self.first(x)).tanh()))


def test_the_outputs_may_be_of_another_shape() -> None:
    rows = tuple(
        MapRow(f"{part}.{name}", f"{part}.{name}", shape, shape, "a b -> a b" if len(shape) > 1 else "a -> a", "name")
        for part in ("first", "last")
        for name, shape in (("weight", (8, 8) if part == "first" else (8,)), ("bias", (8,)))
    )
    found = by_status(checked(Wide(12), Wide(16), Map(rows, ("torch", "torch")), (X,)))
    assert not {"first", "last"} & set(found["fail"])
    assert "first" in found["pass"]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.fc(x)))


class Times(nnx.Linear):
    def __call__(self, inputs: Any, times: float = 1.0) -> Any:
        return super().__call__(inputs) * times


class TwicePort(nnx.Module):
    """Its calls are as many times as large."""

    def __init__(self, first: float, second: float) -> None:
        self.fc, self.times = Times(WIDTH, WIDTH, rngs=nnx.Rngs(0)), (first, second)

    def __call__(self, x: Any) -> Any:
        return self.fc(jnp.tanh(self.fc(x, self.times[0])), self.times[1])


@pytest.mark.parametrize(
    ("times", "error"), [((1.0, 1.5), "0.5"), ((1.5, 1.0), "0.5"), ((2.0, 1.5), "1"), ((1.5, 2.0), "1")]
)
def test_of_several_calls_the_one_that_differs_most_is_told(times: tuple[float, float], error: str) -> None:
    made = paritree.align(paritree.Pair(Twice(), TwicePort(1.0, 1.0), (X,)))
    found = by_status(checked(Twice(), TwicePort(*times), made, (X,)))
    assert f"differs by {error} of its norm" in found["fail"]["fc"].message
