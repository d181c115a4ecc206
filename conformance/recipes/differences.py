"""Differences: by which numbers two rules differ, each with its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .rules import Numbers

# Two numbers that are fitted are one if they are as near.
NEAR = 1e-3


def kind(numbers: Numbers) -> str:
    """What a rule is called."""
    if numbers.squares == "none":
        return "SGD with momentum" if numbers.momentum else "SGD"
    if numbers.squares == "sum":
        return "Adagrad"
    if numbers.squares == "most":
        return "Adamax"
    return "Adam" if numbers.corrected or numbers.first else "RMSprop"


_FAMILIES = {"SGD": "SGD", "SGD with momentum": "SGD"}


def differences(ours: Numbers, theirs: Numbers) -> Iterator[tuple[str, str]]:
    """Causes and words for the numbers in which two rules differ."""
    one, other = kind(ours), kind(theirs)
    if ours.squares == "mean" == theirs.squares and _is(ours, theirs, "first", "second"):
        one = other = "Adam" if ours.first else "RMSprop"
    if _FAMILIES.get(one, one) != _FAMILIES.get(other, other):
        yield "optimizer", f"the reference moves as {described(ours)}, the port as {described(theirs)}"
        return
    if not _is(ours, theirs, "momentum"):
        yield "momentum", _both(ours, theirs, lambda each: f"{each.momentum:.6g}")
    if ours.nesterov != theirs.nesterov:
        yield "Nesterov", _one_alone(ours, theirs, "nesterov", "looks ahead as Nesterov's momentum does")
    if abs(ours.dampening - theirs.dampening) > NEAR:
        yield "dampening", _both(ours, theirs, lambda each: f"{each.dampening:.4g}")
    if not _is(ours, theirs, "first", "second"):
        if ours.first or theirs.first:
            yield "betas", _both(ours, theirs, lambda each: f"({each.first:.6g}, {each.second:.6g})")
        else:
            yield "betas", "the squares decay by " + _both(ours, theirs, lambda each: f"{each.second:.6g}")
    if ours.corrected != theirs.corrected:
        yield "bias correction", _one_alone(ours, theirs, "corrected", "corrects its averages for their start at zero")
    if ours.centered != theirs.centered:
        yield "centered", _one_alone(ours, theirs, "centered", "takes the mean from the squares")
    if ours.is_inside != theirs.is_inside:
        inside, outside = ("reference", "port") if ours.is_inside else ("port", "reference")
        eps = (ours.eps, theirs.eps) if ours.is_inside else (theirs.eps, ours.eps)
        words = f"the {inside} adds {eps[0]:.4g} inside of the root, the {outside} {eps[1]:.4g} outside of it"
        yield "eps inside of the root", words
    elif not np.allclose((ours.eps, ours.outer), (theirs.eps, theirs.outer), rtol=1e-2, atol=0):
        yield "eps", _both(ours, theirs, lambda each: f"{each.eps:.4g}")
    if not np.isclose(ours.start, theirs.start, rtol=1e-2, atol=1e-10):
        yield "initial accumulator", _both(ours, theirs, lambda each: f"{each.start:.4g}")
    if not np.isclose(ours.coupled, theirs.coupled, rtol=1e-2, atol=0) and ours.coupled and theirs.coupled:
        yield "weight decay", _both(ours, theirs, lambda each: f"{each.coupled:.4g} in the gradient")


def _is(ours: Numbers, theirs: Numbers, *names: str) -> bool:
    """Whether averages decay alike."""
    return all(np.isclose(1 - getattr(ours, name), 1 - getattr(theirs, name), rtol=NEAR, atol=1e-9) for name in names)


def described(numbers: Numbers) -> str:
    """A rule with its numbers."""
    name = kind(numbers)
    told = {
        "SGD": "",
        "SGD with momentum": f" {numbers.momentum:.4g}",
        "Adagrad": "",
        "Adamax": f" with betas ({numbers.first:.4g}, {numbers.second:.4g})",
        "Adam": f" with betas ({numbers.first:.4g}, {numbers.second:.4g})",
        "RMSprop": f" with a decay of {numbers.second:.4g}",
    }[name]
    return name + told


def _both(ours: Numbers, theirs: Numbers, told: Callable[[Numbers], str]) -> str:
    return f"{told(ours)} in the reference and {told(theirs)} in the port"


def _one_alone(ours: Numbers, theirs: Numbers, name: str, does: str) -> str:
    one, other = ("reference", "port") if getattr(ours, name) else ("port", "reference")
    return f"the {one} {does}, the {other} does not"
