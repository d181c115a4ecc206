"""Faults in what a side is and holds: names, shapes, ties, values, what comes back when it is saved, and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import paritree
from paritree.common.errors import NotExpressibleError
from paritree.common.wing import RoundTrip
from paritree.pairs.comparison import Bound
from paritree.pairs.maps import Map, MapRow
from paritree.pairs.side import Side

from ..mutants import modes
from .fault import Fault
from .runs import BIAS, GAIN, KERNEL, MEAN, OFFSET, TIED, VARIANCE, Change, no_number, one_entry, port_path, turned
from .sides import Tensors, drawing, fresh, holding, network, saving, with_functions

ALIAS = "second.weight"


# Names


def with_extra(wing: str) -> Bound:
    """The port has a parameter more, which it does not use."""
    bound, made = network(wing), fresh(wing)
    if wing == "torch":
        made.register_parameter("extra", torch.nn.Parameter(torch.ones(3)))
    elif wing == "nnx":
        made.extra = nnx.Param(jnp.ones(3))
    else:
        module, variables = made
        made = module, {**variables, "params": {**variables["params"], "extra": jnp.ones(3)}}
    held = {path: native.array for path, native in bound.port.stored_tensors.items()}
    model = bound.port.wing.with_stored_tensors(made, held)
    whole = paritree.conformance.load_wing(wing)
    port = Side("port", whole, model, model, bound.port.inputs, bound.port.call, bound.port.train_call)
    return replace(bound, port=port)


def without_partner(bound: Bound) -> Bound:
    made = modes.reference(0)
    made.register_parameter("extra", torch.nn.Parameter(torch.ones(3)))
    whole = paritree.conformance.load_wing("torch")
    return replace(bound, reference=Side("reference", whole, made, made, bound.reference.inputs))


def mapped(bound: Bound, change: Callable[[MapRow], MapRow | None]) -> Bound:
    rows = [change(row) for row in bound.map.rows]
    return replace(bound, map=Map(tuple(row for row in rows if row is not None), bound.map.direction))


def at(path: str, **changed: Any) -> Callable[[MapRow], MapRow]:
    return lambda row: replace(row, **changed) if row.reference == path else row


def names(wing: str) -> list[Fault]:
    bound = network(wing)
    extra = {"torch": "extra", "nnx": "extra", "linen": "params.extra"}[wing]

    def fault(name: str, pair: Callable[[], Bound], at: tuple[str, ...], cause: str, says: str, *others: str) -> Fault:
        return Fault("names", name, wing, pair, at, cause, says, others)

    return [
        fault("one more in the port", lambda: with_extra(wing), ("",), "unmatched parameter", f"{extra}: the port has"),
        fault(
            "one more in the reference",
            lambda: without_partner(bound),
            ("extra",),
            "unmatched parameter",
            "extra: the reference has it and nothing in the other side is its partner",
        ),
        fault(
            "a map of another reference",
            lambda: mapped(bound, at(OFFSET, reference="norm.offset")),
            ("norm.offset", OFFSET),
            "missing parameter",
            "norm.offset: the map has it and the reference does not.",
        ),
        fault(
            "a map of another port",
            lambda: mapped(bound, at(OFFSET, port="norm.shift")),
            (OFFSET, ""),
            "missing parameter",
            "norm.shift: the map has it and the port does not.",
        ),
        fault(
            "a map without a parameter",
            lambda: mapped(bound, lambda row: None if row.reference == OFFSET else row),
            (OFFSET, ""),
            "unmatched parameter",
            f"{OFFSET}: the reference has it",
            "forward",
            "gradients",
            "tied gradients",
            "modes",
        ),
        fault(
            "no map",
            lambda: replace(bound, map=Map((), bound.map.direction), unproved="no map was found"),
            ("",),
            "no map",
            "no map was found",
        ),
    ]


# Shapes


def each(bound: Bound, role: str, path: str) -> str:
    return path if role == "reference" else port_path(bound, path)


def shapes(wing: str) -> list[Fault]:
    bound = network(wing)

    def fault(name: str, role: str, path: str, cause: str, says: str, **changed: Any) -> Fault:
        own = each(bound, role, path)

        def change(found: Tensors) -> Tensors:
            held = found[own]
            dtype = changed.get("dtype", held.array.dtype)
            rest = {key: value for key, value in changed.items() if key != "dtype"}
            return {**found, own: replace(held, array=held.array.astype(dtype), **rest)}

        return Fault("shapes", name, wing, lambda: holding(bound, role, change), (path,), cause, says)

    theirs = port_path(bound, KERNEL)
    return [
        fault(
            "float64 in the port",
            "port",
            KERNEL,
            "dtype",
            f"is float32 in the reference and float64 in the port ({theirs})",
            dtype=np.float64,
        ),
        fault(
            "float64 in the reference",
            "reference",
            BIAS,
            "dtype",
            "is float64 in the reference and float32",
            dtype=np.float64,
        ),
        fault(
            "a buffer in the port",
            "port",
            GAIN,
            "kind",
            "is a parameter in the reference and a buffer in",
            trainable=False,
        ),
        fault(
            "a parameter in the port",
            "port",
            MEAN,
            "kind",
            "is a buffer in the reference and a parameter",
            trainable=True,
        ),
        fault(
            "frozen in the port", "port", OFFSET, "frozen", "is trained in the reference and frozen in the", frozen=True
        ),
        fault(
            "frozen in the reference",
            "reference",
            KERNEL,
            "frozen",
            "is frozen in the reference and trained",
            frozen=True,
        ),
        Fault(
            "shapes",
            "another shape in the reference",
            wing,
            lambda: mapped(bound, at(BIAS, shape=(1, 5), layout="1 a -> a")),
            (BIAS,),
            "shape",
            "the reference's last.bias has shape (5,), expected (1, 5) as the map has it",
        ),
        Fault(
            "shapes",
            "another shape in the port",
            wing,
            lambda: mapped(bound, at(BIAS, port_shape=(5, 1), layout="a -> a 1")),
            (BIAS,),
            "shape",
            "has shape (5,), expected (5, 1) as the map has it",
            ("values",),
        ),
    ]


# Ties


def loose(path: str) -> Callable[[Tensors], Tensors]:
    """The aliases are tensors of their own, which are not saved: what is not the map's gets no values."""

    def change(found: Tensors) -> Tensors:
        held = found[path]
        copies = {each: replace(held, path=each, aliases=(), saved=False) for each in held.aliases}
        return {**found, path: replace(held, aliases=()), **copies}

    return change


def joined(path: str, other: str) -> Callable[[Tensors], Tensors]:
    """Another parameter is the same one."""

    def change(found: Tensors) -> Tensors:
        rest = {each: native for each, native in found.items() if each != other}
        return {**rest, path: replace(rest[path], aliases=(*rest[path].aliases, other))}

    return change


def ties(wing: str) -> list[Fault]:
    bound = network(wing)
    own, gain, offset = (port_path(bound, path) for path in (TIED, GAIN, OFFSET))

    def fault(
        name: str, role: str, change: Any, at: tuple[str, ...], cause: str, says: str, others: tuple[str, ...] = ()
    ) -> Fault:
        return Fault("ties", name, wing, lambda: holding(bound, role, change), at, cause, says, others)

    def elsewhere(owner: str, other: str) -> Callable[[Tensors], Tensors]:
        def change(found: Tensors) -> Tensors:
            aliases = found[owner].aliases
            return {**found, owner: replace(found[owner], aliases=()), other: replace(found[other], aliases=aliases)}

        return change

    lost = f"{ALIAS}: is a parameter of its own in the reference, expected {TIED} itself: the tie is lost"
    many = "itself in the {}, expected a parameter of its own: a tie too many"
    found = [
        fault("lost in the reference", "reference", loose(TIED), (TIED,), "lost tie", lost),
        fault(
            "with another one in the reference",
            "reference",
            elsewhere(TIED, GAIN),
            (TIED,),
            "lost tie",
            lost,
            ("training",),
        ),
        fault(
            "two more in the reference",
            "reference",
            joined(GAIN, OFFSET),
            (GAIN, OFFSET),
            "new tie",
            f"{OFFSET}: is {GAIN} {many.format('reference')}",
        ),
        fault("two more in the port", "port", joined(gain, offset), (GAIN, OFFSET), "new tie", many.format("port")),
        fault("a third one in the port", "port", joined(own, gain), (TIED, GAIN), "new tie", many.format("port")),
    ]
    if wing != "linen":
        words = f"is a parameter of its own in the port, expected {own} itself: the tie is lost"
        found += [
            fault("lost in the port", "port", loose(own), (TIED,), "lost tie", words),
            fault(
                "with another one in the port",
                "port",
                elsewhere(own, gain),
                (TIED,),
                "lost tie",
                words,
                ("training",),
            ),
        ]
    return found


# Values


def with_array(path: str, change: Change) -> Callable[[Tensors], Tensors]:
    return lambda found: {**found, path: replace(found[path], array=change(found[path].array))}


def exchanged(path: str, other: str) -> Callable[[Tensors], Tensors]:
    return lambda found: {
        **found,
        path: replace(found[path], array=found[other].array),
        other: replace(found[other], array=found[path].array),
    }


def values(wing: str) -> list[Fault]:
    bound = network(wing)

    def fault(name: str, path: str, change: Change, cause: str, says: str) -> Fault:
        pair = with_array(port_path(bound, path), change)
        return Fault("values", name, wing, lambda: holding(bound, "port", pair), (path,), cause, says)

    gain, offset = port_path(bound, GAIN), port_path(bound, OFFSET)
    both = exchanged(gain, offset)
    return [
        fault("scaled", KERNEL, lambda array: 2 * array, "scale", "what the port holds is 2 times what it should be"),
        fault("not transposed", TIED, lambda array: array.T.copy(), "transposed", "is the transpose of what it should"),
        fault("one entry off", KERNEL, one_entry, "some entries", "of its norm, in 1 of its "),
        fault("upside down", VARIANCE, turned, "reversed", "backwards along axis 0"),
        fault("not finite", BIAS, no_number, "not finite", "what the port holds is not finite"),
        fault("as it was initialized", GAIN, np.ones_like, "not carried", "is 1 everywhere, as it was initialized"),
        Fault(
            "values",
            "two swapped",
            wing,
            lambda: holding(bound, "port", both),
            (GAIN, OFFSET),
            "swapped",
            f"{gain}: what the port holds is that of {offset}",
        ),
    ]


# Round trips


def refusing(bound: Bound) -> Bound:
    def trips(model: Any) -> Iterator[RoundTrip]:
        yield from ()
        raise NotExpressibleError("state", "a model that can be saved", "none")

    return replace(bound, port=with_functions(bound.port, round_trips=trips))


def round_trips(wing: str) -> list[Fault]:
    bound = network(wing)

    def fault(name: str, path: str, change: Any, cause: str, says: str, role: str = "port") -> Fault:
        at = path if path in bound.map.by_reference else bound.map.by_port[path][0].reference
        return Fault("round trip", name, wing, lambda: saving(bound, role, change), (at,), cause, says)

    def without(path: str) -> Callable[[Tensors], Tensors]:
        return lambda found: {each: native for each, native in found.items() if each != path}

    def in_half(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float16)

    def least(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed.flat[0] = np.nextafter(changed.flat[0], np.float32(9), dtype=changed.dtype)
        return changed

    kernel, mean = port_path(bound, KERNEL), port_path(bound, MEAN)
    unsaved = Fault(
        "round trip",
        "a buffer that is not saved",
        wing,
        lambda: holding(bound, "port", lambda found: {**found, mean: replace(found[mean], saved=False)}),
        (MEAN,),
        "not saved",
        f"{mean}: the port does not save it, and the reference saves its {MEAN}",
    )
    cannot = Fault(
        "round trip",
        "cannot be saved",
        wing,
        lambda: refusing(bound),
        ("",),
        "cannot be saved",
        "port: state: expected",
    )
    return [
        fault("missing", kernel, without(kernel), "missing parameter", "of the port it is missing"),
        fault("in half", kernel, with_array(kernel, in_half), "dropped dtype", "it is float16, expected float32"),
        fault("flat", kernel, with_array(kernel, np.ravel), "shape", "it has shape (40,), expected ("),
        fault("the least that is", mean, with_array(mean, least), "values lost", f"{mean}: after "),
        fault(
            "through half",
            kernel,
            with_array(kernel, lambda a: in_half(a).astype(np.float32)),
            "dropped dtype",
            "rounded to float16",
        ),
        fault("no number", KERNEL, with_array(KERNEL, no_number), "values lost", "it is not finite", "reference"),
        fault("an untied reference", TIED, loose(TIED), "lost tie", f"{ALIAS} is not tied to it any more", "reference"),
        unsaved,
        cannot,
    ]


# Initial values


def initialization(wing: str) -> list[Fault]:
    bound = network(wing)

    def fault(name: str, path: str, change: Change, cause: str, says: str, role: str = "port") -> Fault:
        own = each(bound, role, path)

        def drawn(draws: dict[str, Any]) -> dict[str, Any]:
            return {**draws, own: change(draws[own]).astype(np.float32)}

        return Fault("initialization", name, wing, lambda: drawing(bound, role, drawn), (path,), cause, says)

    def one_draw(array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array[:1], array.shape)

    def cut(array: np.ndarray) -> np.ndarray:
        return np.clip(array, -0.5, 0.5)

    return [
        fault("half the std", KERNEL, lambda array: array / 2, "std", "ratio of std 0.5"),
        fault("a constant", GAIN, np.ones_like, "constant", "port: ones"),
        fault("one draw for all seeds", TIED, one_draw, "constant", "the port's is constant in every draw"),
        fault("another mean", KERNEL, lambda array: array + 0.1, "mean", ""),
        fault("cut off", KERNEL, cut, "initializer family", "furthest from the middle"),
        fault("not finite", BIAS, no_number, "not finite", ""),
        fault(
            "twice the std in the reference", TIED, lambda array: 2 * array, "std", "ratio of std 0.497", "reference"
        ),
    ]


FAULTS = {
    "names": names,
    "shapes": shapes,
    "ties": ties,
    "values": values,
    "round trip": round_trips,
    "initialization": initialization,
}
