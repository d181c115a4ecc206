"""Faults in what a side tells when it is run: outputs, gradients, sites, steps, modes, and a second run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paritree.common.wing import Optimizer, Pass, Probe, Trace, Training
from paritree.pairs.comparison import Bound
from paritree.pairs.maps import Map
from paritree.pairs.values import cotangents

from ..mutants import modes as network_model
from . import axes
from .fault import Fault
from .sides import Lie, arrays, drawing, fresh, lying, network

Array = np.ndarray[Any, Any]
Change = Callable[[Array], Array]
# The reference's paths in the network.
TIED, GAIN, OFFSET, MEAN, VARIANCE = (
    "first.weight",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
)
KERNEL, BIAS = "last.weight", "last.bias"


def port_path(bound: Bound, path: str) -> str:
    return bound.map.by_reference[path][0].port


def one_entry(array: Array) -> Array:
    changed = array.copy()
    changed.flat[-1] += 0.1 * np.abs(array).max()
    return changed


def no_number(array: Array) -> Array:
    changed = array.copy()
    changed.flat[0] = np.nan
    return changed


def turned(array: Array) -> Array:
    """Upside down: of the same shape and norm."""
    return np.flip(array, 0).copy()


# What is done to one array, by its name.
NUMBERS: dict[str, Change] = {
    "scaled": lambda array: array * np.float32(1.01),
    "zero": np.zeros_like,
    "not finite": no_number,
    "one entry off": one_entry,
    "negated": np.negative,
    "upside down": turned,
}


# Outputs


def told(change: Change, is_wrong: Callable[[Mapping[str, Array]], bool] = lambda weights: True) -> Lie:
    def lie(probe: Probe, weights: Mapping[str, Array], *_: Any, **how: Any) -> Probe:
        if not is_wrong(weights):
            return probe
        return probe._replace(outputs={name: change(array) for name, array in probe.outputs.items()})

    return lie


def forward(wing: str) -> list[Fault]:
    bound = network(wing)
    gain = port_path(bound, GAIN)

    def fault(name: str, change: Change, cause: str, says: str, **where: Any) -> Fault:
        return Fault(
            "forward", name, wing, lambda: lying(bound, "port", prober=told(change, **where)), ("",), cause, says
        )

    def is_faint(weights: Mapping[str, Array]) -> bool:
        return bool(np.abs(weights[gain]).max() < 1e-3)

    def is_large(weights: Mapping[str, Array]) -> bool:
        return bool(np.abs(weights[gain]).max() > 8)

    return [
        fault("outputs scaled", NUMBERS["scaled"], "scale", "the output differs by 0.01 of its norm. "),
        fault("outputs zero", NUMBERS["zero"], "", "the output differs by 1 of its norm."),
        fault("an output that is no number", no_number, "not finite", "0 of the reference's 160 entries and 1 of the"),
        fault("one entry off", one_entry, "", "the output differs by 0.0"),
        fault("outputs without an axis", lambda array: array[:, 0], "shape", "It has shape (32,), expected (32, 5)."),
        fault("off at faint values", NUMBERS["scaled"], "scale", "the output at faint v", is_wrong=is_faint),
        fault("off at large values", NUMBERS["scaled"], "scale", "at large values of either sign", is_wrong=is_large),
    ]


# Gradients


def derived(path: str, change: Change) -> Lie:
    def lie(probe: Probe, *_: Any, **how: Any) -> Probe:
        if not probe.gradients:
            return probe
        return probe._replace(gradients={**probe.gradients, path: change(probe.gradients[path])})

    return lie


def swapped(one: str, other: str) -> Lie:
    def lie(probe: Probe, *_: Any, **how: Any) -> Probe:
        found = probe.gradients
        return probe._replace(gradients={**found, one: found[other], other: found[one]} if found else found)

    return lie


def gradients(wing: str) -> list[Fault]:
    bound = network(wing)
    gain, offset = port_path(bound, GAIN), port_path(bound, OFFSET)

    def fault(name: str, path: str, change: Change, cause: str, says: str) -> Fault:
        lie = derived(port_path(bound, path), change)
        return Fault("gradients", name, wing, lambda: lying(bound, "port", prober=lie), (path,), cause, says)

    both = Fault(
        "gradients",
        "two swapped",
        wing,
        lambda: lying(bound, "port", prober=swapped(gain, offset)),
        (GAIN, OFFSET),
        "swapped",
        f"{GAIN} (= {gain}): the gradient is that of {OFFSET}; the outputs agree",
    )
    return [
        fault("scaled", KERNEL, NUMBERS["scaled"], "gradient scale", "the gradient is 1.01 times what it should be"),
        fault("zero", BIAS, NUMBERS["zero"], "no gradient", "the gradient is zero everywhere"),
        fault("not finite", GAIN, no_number, "not finite", "the gradient is not finite"),
        fault("one entry off", KERNEL, one_entry, "", "the gradient differs by 0.0"),
        fault("negated", OFFSET, NUMBERS["negated"], "gradient scale", "the gradient is -1 times what it should be"),
        fault("upside down", BIAS, turned, "reversed", "backwards along axis 0"),
        both,
    ]


def layout(wing: str) -> list[Fault]:
    """Whatever is used in another order has a wrong gradient, so that `layout` never fails alone; it says what to do.

    Where the axes are the map's fault, everything is wrong that needs carried values.
    """
    bound = arrays(wing)

    def fault(name: str, path: str, order: tuple[int, ...]) -> Fault:
        lie = derived(port_path(bound, path), lambda array: array.transpose(order).copy())
        return Fault(
            "layout",
            name,
            wing,
            lambda: lying(bound, "port", prober=lie),
            (path,),
            "transposed",
            f"in the order {order} of {axes.LAYOUTS[path]!r}: transpose it",
            ("gradients",),
        )

    def mapped(name: str, path: str, pattern: str) -> Fault:
        rows = [replace(row, layout=pattern) if row.reference == path else row for row in bound.map.rows]
        made = Map(tuple(rows), bound.map.direction)
        others = ("forward", "gradients", "training", "modes", "values")
        return Fault(
            "layout",
            name,
            wing,
            lambda: replace(bound, map=made),
            (path,),
            "transposed",
            f"of {pattern!r}: transpose it",
            others,
        )

    return [
        fault("a square transposed", "square", (1, 0)),
        fault("two axes of a cube", "cube", (0, 2, 1)),
        fault("a cube's axes backwards", "cube", (2, 1, 0)),
        fault("a cube's axes round", "cube", (1, 2, 0)),
        fault("the window of a kernel", "kernel", (1, 0, 2, 3)),
        fault("the channels of a kernel", "kernel", (0, 1, 3, 2)),
        mapped("a map that forgets to transpose", "square", "a b -> a b"),
        mapped("a map with another order", "cube", "a b c -> b a c"),
        mapped("a map with channels swapped", "kernel", "o i h w -> h w o i"),
    ]


# Sites


def sites(wing: str) -> list[Fault]:
    """Both sides leave the same out of a tied gradient, and agree: only the sum over the sites tells."""
    bound = network(wing)

    def shares(side: Any, weights: Mapping[str, Array], path: str, dtype: str) -> list[Array]:
        run = side.wing.site_prober(side.model, side.inputs, side.call, dtype=dtype)
        return [site.gradient for site in run(weights, cotangents, [path])[path]]

    def fault(name: str, change: Callable[[Array, list[Array], list[Array]], Array], cause: str, says: str) -> Fault:
        def pair() -> Bound:
            changed = bound
            for role in ("reference", "port"):
                side = getattr(bound, role)
                path = TIED if role == "reference" else port_path(bound, TIED)

                def lie(
                    probe: Probe, weights: Mapping[str, Array], *_: Any, side: Any = side, path: str = path, **how: Any
                ):
                    if not probe.gradients:
                        return probe
                    dtype = probe.gradients[path].dtype.name
                    earlier = {name: np.float32(1.1) * array for name, array in weights.items()}
                    own, old = (shares(side, each, path, dtype) for each in (weights, earlier))
                    found = change(probe.gradients[path], own, old).astype(dtype)
                    return probe._replace(gradients={**probe.gradients, path: found})

                changed = lying(changed, role, prober=lie)
            return changed

        return Fault("tied gradients", name, wing, pair, (TIED,), cause, says)

    return [
        fault(
            "without its first site", lambda whole, own, old: whole - own[0], "missing site", "the share of site 1 is"
        ),
        fault(
            "without its last site", lambda whole, own, old: whole - own[1], "missing site", "the share of site 2 is"
        ),
        fault("its first site twice", lambda whole, own, old: whole + own[0], "", "it differs by "),
        fault("its last site transposed", lambda whole, own, old: own[0] + own[1].T, "", "it differs by "),
        fault("a site of another step", lambda whole, own, old: own[0] + old[1], "", "it differs by "),
        fault("the mean over its sites", lambda whole, own, old: whole / 2, "", "it differs by 0.5 of its norm"),
        fault("a part of a site", lambda whole, own, old: whole - 0.1 * own[1], "", "it differs by "),
        fault("none of its sites", lambda whole, own, old: 0 * whole, "", "it differs by 1 of its norm"),
    ]


# Training


def trained(
    path: str,
    change: Callable[[Array, Array], Array],
    optimizers: tuple[str, ...] = ("sgd", "adamw"),
    least_steps: int = 1,
) -> Lie:
    """change: what is held after training, of what was before and what is."""

    def lie(found: Training, weights: Mapping[str, Array], targets: Any, optimizer: Optimizer, steps: int) -> Training:
        if optimizer.name not in optimizers or steps < least_steps:
            return found
        held = found.stored_tensors[path]
        after = change(np.asarray(weights[path], held.array.dtype), held.array)
        return found._replace(stored_tensors={**found.stored_tensors, path: replace(held, array=after)})

    return lie


def untied(path: str) -> Lie:
    def lie(found: Training, *_: Any) -> Training:
        held = found.stored_tensors[path]
        alone = {alias: replace(held, path=alias, aliases=()) for alias in held.aliases}
        return found._replace(stored_tensors={**found.stored_tensors, path: replace(held, aliases=()), **alone})

    return lie


def training(wing: str) -> list[Fault]:
    bound = network(wing)

    def fault(name: str, path: str, change: Any, cause: str, says: str, *optimizers: str) -> Fault:
        lie = trained(port_path(bound, path), change, optimizers or ("sgd", "adamw"))
        return Fault("training", name, wing, lambda: lying(bound, "port", trainer=lie), (path,), cause, says)

    alone = "only the reference trains it"
    role = "reference" if wing == "linen" else "port"
    owner = TIED if role == "reference" else port_path(bound, TIED)
    loose = Fault(
        "training",
        "a tie that is lost",
        wing,
        lambda: lying(bound, role, trainer=untied(owner)),
        (TIED,),
        "lost tie",
        f"it is not {owner} any more in the {role}",
    )

    def all_but_the_first_step() -> Bound:
        """Of several parameters, where none is the cause of another's."""
        changed = bound
        for path in (KERNEL, BIAS):
            lie = trained(port_path(bound, path), lambda before, after: 2 * before - after, least_steps=2)
            changed = lying(changed, "port", trainer=lie)
        return changed

    words = "after 3 steps of sgd it went another way"
    later = Fault("training", "after a step", wing, all_but_the_first_step, (KERNEL, BIAS), "training", words)
    return [
        fault(
            "steps too long", KERNEL, lambda before, after: before + 1.01 * (after - before), "training", "by 0.01 of"
        ),
        fault("no steps", GAIN, lambda before, after: before, alone, alone),
        fault("steps backwards", BIAS, lambda before, after: 2 * before - after, "training", "it went another way"),
        fault("no number", TIED, lambda before, after: no_number(after), "not finite", "it is not finite"),
        fault("statistics as they were", MEAN, lambda before, after: before, "buffer", "only the reference moves it"),
        fault("AdamW alone", OFFSET, lambda before, after: 0.9 * after, "training", "3 steps of adamw", "adamw"),
        later,
        fault("SGD alone", KERNEL, lambda before, after: 1.1 * after, "training", "after 3 steps of sgd", "sgd"),
        loose,
    ]


# Modes


def passing(change: Callable[[Pass, Mapping[str, Array], bool, bool, int], Pass]) -> Lie:
    def lie(found: Pass, weights: Mapping[str, Array], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
        return change(found, weights, training, dropout, seed)

    return lie


def modes(wing: str) -> list[Fault]:
    bound = network(wing)
    mean, variance = port_path(bound, MEAN), port_path(bound, VARIANCE)

    def fault(name: str, change: Any, at: str, cause: str, says: str) -> Fault:
        return Fault("modes", name, wing, lambda: lying(bound, "port", passer=passing(change)), (at,), cause, says)

    def outputs(found: Pass, change: Change) -> Pass:
        return found._replace(outputs={name: change(array) for name, array in found.outputs.items()})

    def plainly(change: Change) -> Any:
        """In training mode, with dropout and without: the change that dropout makes is the same."""
        return lambda found, weights, training, dropout, seed: outputs(found, change) if training else found

    def buffers(path: str, change: Callable[[Array, Array], Array], when: bool = True) -> Any:
        def lie(found: Pass, weights: Mapping[str, Array], training: bool, dropout: bool, seed: int) -> Pass:
            if training != when:
                return found
            return found._replace(buffers={**found.buffers, path: change(weights[path], found.buffers[path])})

        return lie

    def moved(factor: float) -> Callable[[Array, Array], Array]:
        """Where a statistic goes that is so many times the batch's."""

        def change(before: Array, after: Array) -> Array:
            batch = before + (after - before) / network_model.MOMENTUM
            return before + network_model.MOMENTUM * (factor * batch - before)

        return change

    def without_masks(found: Pass, weights: Mapping[str, Array], training: bool, dropout: bool, seed: int) -> Pass:
        return outputs(found, np.ones_like) if training and dropout else found

    def always_random(found: Pass, weights: Mapping[str, Array], training: bool, dropout: bool, seed: int) -> Pass:
        return outputs(found, lambda array: array + np.float32(seed)) if dropout and not training else found

    def stronger(found: Pass, weights: Mapping[str, Array], training: bool, dropout: bool, seed: int) -> Pass:
        return outputs(found, lambda array: 4 * array) if training and dropout else found

    return [
        fault("outputs of training scaled", plainly(NUMBERS["scaled"]), "", "mode", "the output differs by 0.01 of"),
        fault("outputs of training no numbers", plainly(no_number), "", "not finite", "the output is not finite"),
        fault("a mean that stays", buffers(mean, lambda before, after: before), MEAN, "stale", "has not updated it"),
        fault(
            "half the momentum",
            buffers(mean, lambda before, after: (before + after) / 2),
            MEAN,
            "momentum",
            "the port's step is 0.5 times the reference's",
        ),
        fault(
            "another variance",
            buffers(variance, lambda before, after: one_entry(after)),
            VARIANCE,
            "buffer",
            "it differs by",
        ),
        fault(
            "statistics moved in inference",
            buffers(mean, lambda before, after: after + 1, when=False),
            "",
            "mode",
            "inference changes this buffer of the port",
        ),
        fault("the biased variance", buffers(variance, moved(31 / 32)), VARIANCE, "variance", "is biased on its side"),
        fault(
            "an unbiased variance",
            buffers(variance, moved(32 / 31)),
            VARIANCE,
            "variance",
            "1.032 times the reference's: a variance that is unbiased on its side alone, of 32 values",
        ),
        fault(
            "a statistic much too large", buffers(variance, moved(-3.0)), VARIANCE, "buffer", "another statistic or mom"
        ),
        fault("no dropout", without_masks, "", "dropout", "the reference is random, the port is not"),
        fault("dropout in inference", always_random, "", "dropout", "the port is random in inference mode"),
        fault("stronger dropout", stronger, "", "dropout", "the change that dropout makes is "),
    ]


# Modules


def traced(path: str, change: Change) -> Lie:
    """A module gives something else, and so does the whole, by the record of the calls."""

    def lie(found: tuple[Trace, ...], *_: Any) -> tuple[Trace, ...]:
        return tuple(
            replace(each, outputs={name: change(array) for name, array in each.outputs.items()})
            if each.path in (path, "")
            else each
            for each in found
        )

    return lie


def modules(wing: str) -> list[Fault]:
    """By what the reference's modules are said to have given: the runs of the whole are as they were."""
    bound = network(wing)

    def fault(name: str, path: str, change: Change, says: str) -> Fault:
        lie = traced(path, change)
        # The last one's output is the whole's; given those of the others the whole makes what it made before.
        at = (path,) if path == "last" else (path, "")
        return Fault("modules", name, wing, lambda: lying(bound, "reference", tracer=lie), at, "module", says)

    return [
        fault("the last one scaled", "last", NUMBERS["scaled"], "its output differs by 0.0099 of its norm"),
        fault("the last one negated", "last", NUMBERS["negated"], "its output differs by 2 of its norm"),
        fault("one entry of the last", "last", one_entry, "its output differs by "),
        fault("the first one scaled", "first", NUMBERS["scaled"], "its output differs by 0.0099 of its norm"),
        fault("the norm upside down", "norm", turned, "its output differs by "),
        fault("the norm scaled", "norm", NUMBERS["scaled"], "its output differs by 0.0099 of its norm"),
    ]


# A second time


def again(change: Callable[[Probe], Probe]) -> Lie:
    """What a run at values tells from the second time on."""
    seen: set[tuple[str, bytes]] = set()

    def lie(probe: Probe, weights: Mapping[str, Array], *_: Any, **how: Any) -> Probe:
        if not probe.gradients:
            return probe
        asked = next(iter(probe.outputs.values())).dtype.name, b"".join(each.tobytes() for each in weights.values())
        if asked in seen:
            return change(probe)
        seen.add(asked)
        return probe

    return lie


def determinism(wing: str) -> list[Fault]:
    bound = network(wing)

    def least(array: Array) -> Array:
        changed = array.copy()
        changed.flat[0] = np.nextafter(array.flat[0], np.inf, dtype=array.dtype)
        return changed

    def outputs(change: Change) -> Callable[[Probe], Probe]:
        return lambda probe: probe._replace(outputs={name: change(array) for name, array in probe.outputs.items()})

    def gradient(probe: Probe) -> Probe:
        path = next(path for path in probe.gradients if "norm.bias" in path or path.endswith("offset"))
        return probe._replace(gradients={**probe.gradients, path: least(probe.gradients[path])})

    def run(name: str, role: str, change: Callable[[Probe], Probe], says: str) -> Fault:
        return Fault(
            "determinism",
            name,
            wing,
            lambda: lying(bound, role, prober=again(change)),
            ("",),
            "random",
            f"{role}: two runs at the same values differ in 1 arrays, most in {says}",
        )

    def made(name: str, path: str, change: Change) -> Fault:
        def pair() -> Bound:
            side = bound.port
            held = {each: native.array for each, native in side.stored_tensors.items()}
            own = port_path(bound, path)

            def other(seed: int) -> Any:
                return side.wing.with_stored_tensors(fresh(wing), {**held, own: change(held[own])})

            return drawing(bound, made=other)

        says = "port: two models of one seed differ in 1 arrays, most in "
        return Fault("determinism", name, wing, pair, ("",), "random", says)

    return [
        run("an output by the least that is", "port", outputs(least), "the output by "),
        run("an output that is no number again", "port", outputs(no_number), "the output by "),
        run("a gradient by the least that is", "port", gradient, "the gradient of "),
        run("a reference that is random", "reference", outputs(NUMBERS["negated"]), "the output by 2.0e+00"),
        made("a factory of other weights", KERNEL, NUMBERS["scaled"]),
        made("a factory of other buffers", VARIANCE, least),
    ]


FAULTS = {
    "layout": layout,
    "forward": forward,
    "gradients": gradients,
    "tied gradients": sites,
    "training": training,
    "modes": modes,
    "modules": modules,
    "determinism": determinism,
}
