"""What a record holds, as JSON: an array is named by the digest of its content, a run by what it was asked.

Equal arrays have one digest and are stored once. A question is told by the digest of the weights, not by the device.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...common.arrays import as_numpy
from ...common.errors import ParitreeError
from ...common.wing import Cotangents, Inputs, Optimizer, Pass, Probe, RoundTrip, Site, StoredTensor, Training

Form = dict[str, Any]
# Keeps an array and gives its digest; gives the array of a digest.
Put = Callable[[np.ndarray], str]
Get = Callable[[str], np.ndarray]
Shapes = Sequence[tuple[int, ...]]


def digest(array: np.ndarray) -> str:
    """A hash of an array's dtype, shape and bytes."""
    made = hashlib.blake2b(f"{array.dtype.name} {array.shape}".encode(), digest_size=16)
    made.update(np.asarray(array, order="C").reshape(-1).view(np.uint8).data)
    return made.hexdigest()


def digest_of(arrays: Iterable[tuple[str, Any]]) -> str:
    """A hash of named arrays, in whatever order they are given."""
    named = sorted((name, digest(as_numpy(array))) for name, array in arrays)
    return hashlib.blake2b(json.dumps(named).encode(), digest_size=16).hexdigest()


def digest_for(made: Cotangents, shapes: Shapes) -> str:
    """A hash of the cotangents or targets for outputs of these shapes."""
    return digest_of((str(number), np.asarray(array)) for number, array in enumerate(made(shapes)))


def address(kind: str, precision: str, weights: Mapping[str, Any], **others: Any) -> str:
    """The name of a run: `probe float32 5d41...`, with what else it was asked."""
    told = [f"{name}={value}" for name, value in sorted(others.items())]
    return " ".join((kind, precision, digest_of(weights.items()), *told))


def optimizer_text(optimizer: Optimizer) -> str:
    return json.dumps(asdict(optimizer), separators=(",", ":"))


def arrays_form(arrays: Mapping[str, np.ndarray], put: Put) -> Form:
    return {name: put(array) for name, array in arrays.items()}


def arrays_of(form: Form, get: Get) -> dict[str, np.ndarray]:
    return {name: get(key) for name, key in form.items()}


def stored_tensors_form(stored_tensors: Mapping[str, StoredTensor], put: Put) -> list[Form]:
    """In their order, what has its default left out."""
    return [
        {
            "path": each.path,
            "array": put(each.array),
            "keys": list(each.keys),
            **({"trainable": True} if each.trainable else {}),
            **({} if each.saved else {"saved": False}),
            **({"aliases": list(each.aliases)} if each.aliases else {}),
            **({"frozen": True} if each.frozen else {}),
        }
        for each in stored_tensors.values()
    ]


def stored_tensors_of(form: Sequence[Form], get: Get) -> dict[str, StoredTensor]:
    return {
        each["path"]: StoredTensor(
            each["path"],
            get(each["array"]),
            trainable=each.get("trainable", False),
            saved=each.get("saved", True),
            aliases=tuple(each.get("aliases", ())),
            keys=tuple(each["keys"]),
            frozen=each.get("frozen", False),
        )
        for each in form
    }


def inputs_form(inputs: Inputs, put: Put) -> Form:
    if isinstance(inputs, Mapping):
        return {"by": "name", "arrays": arrays_form(inputs, put)}
    return {"by": "position", "arrays": [put(array) for array in inputs]}


def inputs_of(form: Form, get: Get) -> Inputs:
    if form["by"] == "name":
        return arrays_of(form["arrays"], get)
    return tuple(get(key) for key in form["arrays"])


def probe_form(probe: Probe, given: str | None, put: Put) -> Form:
    """given: the digest of the cotangents; None for a run without gradients."""
    form: Form = {"outputs": arrays_form(probe.outputs, put)}
    if given is None:
        return form
    return {**form, "gradients": arrays_form(probe.gradients, put), "cotangents": given}


def sites_form(sites: Mapping[str, Sequence[Site]], shapes: Shapes, given: str, put: Put) -> Form:
    """shapes, given: of the outputs, and the digest of the cotangents for them."""
    shares = {path: [[site.operation, put(site.gradient)] for site in each] for path, each in sites.items()}
    return {"sites": shares, "shapes": [list(each) for each in shapes], "cotangents": given}


def sites_of(form: Form, paths: Iterable[str], get: Get) -> dict[str, tuple[Site, ...]]:
    return {path: tuple(Site(operation, get(key)) for operation, key in form["sites"][path]) for path in paths}


def training_form(trained: Training, shapes: Shapes, given: str, put: Put) -> Form:
    """shapes, given: of the outputs, and the digest of the targets for them."""
    stored_tensors = stored_tensors_form(trained.stored_tensors, put)
    return {
        "losses": list(trained.losses),
        "natives": stored_tensors,
        "shapes": [list(each) for each in shapes],
        "targets": given,
    }


def training_of(form: Form, get: Get) -> Training:
    return Training(tuple(form["losses"]), stored_tensors_of(form["natives"], get))


def pass_form(passed: Pass, put: Put) -> Form:
    return {"outputs": arrays_form(passed.outputs, put), "buffers": arrays_form(passed.buffers, put)}


def pass_of(form: Form, get: Get) -> Pass:
    return Pass(arrays_of(form["outputs"], get), arrays_of(form["buffers"], get))


def trip_form(trip: RoundTrip, put: Put) -> Form:
    return {"way": trip.way, "natives": stored_tensors_form(trip.stored_tensors, put)}


def trip_of(form: Form, get: Get) -> RoundTrip:
    return RoundTrip(form["way"], stored_tensors_of(form["natives"], get))


def error_form(error: ParitreeError) -> Form:
    """What a run raised: it is told again."""
    fields = {name: getattr(error, name) for name in ("path", "expected", "found", "remedy")}
    return {"error": type(error).__name__, **fields}


def raise_error(form: Form) -> None:
    """Raises the error of a run that gave one."""
    if "error" in form:
        family = {each.__name__: each for each in (ParitreeError, *_below(ParitreeError))}
        of = family.get(form["error"], ParitreeError)
        raise of(form["path"], form["expected"], form["found"], form["remedy"])


def _below(family: type[ParitreeError]) -> list[type[ParitreeError]]:
    return [each for below in family.__subclasses__() for each in (below, *_below(below))]
