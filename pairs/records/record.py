"""Records: what one side of a pair is and tells, kept in a file, to be held against another side somewhere else.

A record stands in a pair as the reference. It needs no framework: it answers what it was asked when it was made, and
refuses any other question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from ...common.errors import NotExpressibleError, listed
from ...common.wing import (
    Call,
    CallRecorder,
    Cotangents,
    Inputs,
    Optimizer,
    PairError,
    Pass,
    Passer,
    Probe,
    Prober,
    RoundTrip,
    Site,
    SiteProber,
    StoredTensor,
    Trace,
    Tracer,
    Trainer,
    Training,
    asked,
)
from ..maps import Map, MapRow
from . import activations, files, schema
from . import forms as forms
from .files import RecordError as RecordError
from .replay import Answering, asked_with

DISTRIBUTIONS = ("paritree", "numpy", "torch", "jax", "flax")


class UnrecordedError(RecordError, NotExpressibleError):
    """What a record was asked and does not hold."""


class Record(Answering):
    """One side of a pair as it was recorded: `Pair(Record.load(file), port, record.inputs)`.

    wing: `torch`, `linen`, `nnx` or `pytree`, that of the model that was recorded.
    is_factory: whether a factory was, whose initial values are then recorded too.

    Recorded with the model are the calls of the pair: `reference_call` and `reference_train_call` are left out.
    """

    def __init__(self, content: forms.Form, arrays: Mapping[str, np.ndarray]) -> None:
        self._content = content
        self._arrays = arrays
        self.wing: str = content["wing"]
        self.is_factory: bool = content["is_factory"]

    @staticmethod
    def load(file: str | Path) -> Record:
        """Read a record. Its arrays stay in the file until they are needed.

        Raises:
            RecordError: the file is not there, is no record, is one of another schema, or is damaged.
        """
        content, arrays = files.load(Path(file))
        schema.check(content, arrays, str(file))
        return Record(content, arrays)

    def save(self, file: str | Path) -> None:
        """Write the record as one safetensors file. It appears whole or not at all; a record that is there is replaced.

        Raises:
            UsageError: something else is there.
            RecordError: an array of a dtype that safetensors does not have; OSError: the file cannot be written.
        """
        files.save(self._content, self._arrays, Path(file))

    @property
    def inputs(self) -> Inputs:
        """The inputs that the model was given; copies."""
        return forms.inputs_of(self._content["inputs"], lambda key: np.array(self._arrays[key]))

    @property
    def versions(self) -> dict[str, str]:
        """Of what it was made with."""
        return dict(self._content["versions"])

    @property
    def seed(self) -> int:
        """That of the checks which it answers."""
        return self._content["seed"]

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be recorded, and why."""
        return tuple(self._content["notes"])

    @property
    def nbytes(self) -> int:
        """Of all arrays, each counted once."""
        return sum(array.nbytes for array in self._arrays.values())

    @property
    def activations(self) -> int:
        """At how many values it has those of each call of a module."""
        return len(self._activations["passes"])

    @property
    def activations_nbytes(self) -> int:
        """Of their arrays, each counted once."""
        return activations.sizes_of(self._activations, {key: array.nbytes for key, array in self._arrays.items()})

    @property
    def _activations(self) -> forms.Form:
        return self._content.get("activations", {"modules": [], "passes": {}})

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        what = "factory" if self.is_factory else "model"
        kept = f", with the activations of {self.activations}" if self.activations else ""
        return f"record of a {self.wing} {what}, {len(self._stored_tensors)} tensors and {len(self._runs)} runs{kept}"

    def __call__(self, seed: int) -> Record:
        """The record itself, as the model of seed 0.

        Raises:
            UnrecordedError: another seed.
        """
        if seed:
            raise UnrecordedError("", "the seed 0, whose model was recorded", str(seed), "Use the factory itself.")
        return self

    @cached_property
    def _stored_tensors(self) -> dict[str, StoredTensor]:
        return forms.stored_tensors_of(self._content["natives"], self._arrays.__getitem__)

    @property
    def _runs(self) -> dict[str, forms.Form]:
        return self._content["runs"]

    def stored_tensors(self) -> dict[str, StoredTensor]:
        """The table: every tensor of the model by its path, with its values."""
        return dict(self._stored_tensors)

    def prober(self, inputs: Inputs, call: Call | None, dtype: str) -> Prober:
        self._check_asked(inputs, call)

        def run(
            weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True, rounded: int = 0
        ) -> Probe:
            if rounded:
                raise self._unrecorded("a run that rounds otherwise")
            form = self._answer("probe", dtype, weights)
            outputs = forms.arrays_of(form["outputs"], self._arrays.__getitem__)
            if not gradients:
                return Probe(outputs, {})
            if "gradients" not in form:
                raise self._unrecorded("the gradients of a run that was recorded without")
            self._check_given("cotangents", form, cotangents, [array.shape for array in outputs.values()])
            return Probe(outputs, forms.arrays_of(form["gradients"], self._arrays.__getitem__))

        return run

    def tracer(self, inputs: Inputs, call: Call | None, dtype: str) -> Tracer:
        """The recorded calls, rounded if the pass was in float64; none at other values, or if watched otherwise."""
        self._check_asked(inputs, call)

        def run(weights: Mapping[str, Any], recorder: Callable[..., CallRecorder] = CallRecorder) -> tuple[Trace, ...]:
            if not self.activations or recorder is not CallRecorder or asked_with().tf32:
                return ()
            finer = {"float32": ("float32", "float64")}.get(dtype, (dtype,))
            passes = self._activations["passes"]
            found = (forms.address("trace", each, weights) for each in finer)
            address = next((each for each in found if each in passes), "")
            return activations.traces_of(self._activations, address, self._arrays.__getitem__, dtype)

        return run

    def site_prober(self, inputs: Inputs, call: Call | None, dtype: str) -> SiteProber:
        self._check_asked(inputs, call)

        def run(weights: Mapping[str, Any], cotangents: Cotangents, paths: Any) -> dict[str, tuple[Site, ...]]:
            wanted = asked(
                paths, [path for path, each in self._stored_tensors.items() if each.trainable and each.is_floating]
            )
            form = self._answer("sites", dtype, weights)
            missing = [path for path in wanted if path not in form["sites"]]
            if missing:
                raise self._unrecorded(f"the sites of {missing[0]}")
            self._check_given("cotangents", form, cotangents, [tuple(shape) for shape in form["shapes"]])
            return forms.sites_of(form, wanted, self._arrays.__getitem__)

        return run

    def trainer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Trainer:
        self._check_asked(inputs, call, train_call)

        def run(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
            about = {"optimizer": forms.optimizer_text(optimizer), "steps": steps}
            form = self._answer("training", dtype, weights, **about)
            self._check_given("targets", form, targets, [tuple(shape) for shape in form["shapes"]])
            return forms.training_of(form, self._arrays.__getitem__)

        return run

    def passer(self, inputs: Inputs, call: Call | None, dtype: str, train_call: Call | None) -> Passer:
        self._check_asked(inputs, call, train_call)

        def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
            form = self._answer("pass", dtype, weights, training=training, dropout=dropout, seed=seed)
            return forms.pass_of(form, self._arrays.__getitem__)

        return run

    def round_trips(self) -> Iterator[RoundTrip]:
        """What came back when the model was recorded."""
        for form in self._content["round_trips"]:
            forms.raise_error(form)
            yield forms.trip_of(form, self._arrays.__getitem__)

    def draws(self, seeds: Sequence[int], device: str, target: int | None) -> dict[str, np.ndarray]:
        """The recorded ones.

        Raises:
            UnrecordedError: draws of other seeds, or of another number.
        """
        form = self._content["draws"].get(draws_address(seeds, target))
        if form is None:
            raise self._unrecorded(f"{len(seeds)} seeds of draws, for {target} values each")
        forms.raise_error(form)
        return forms.arrays_of(form["draws"], self._arrays.__getitem__)

    def _answer(self, kind: str, dtype: str, weights: Mapping[str, Any], **about: Any) -> forms.Form:
        """Raises UnrecordedError for a question that was not recorded, and what the run raised if it did."""
        form = self._runs.get(forms.address(kind, precision_text(dtype), weights, **about))
        if form is None:
            told = "".join(f", {name} {value}" for name, value in about.items())
            raise self._unrecorded(f"a {kind} in {precision_text(dtype)} at other values{told}")
        forms.raise_error(form)
        return form

    def _unrecorded(self, found: str) -> UnrecordedError:
        return UnrecordedError(
            "",
            f"one of the {len(self._runs)} runs that the record of the {self.wing} model holds",
            found,
            f"Give the check a map that was made where both models are, or record again.{self._reason()}",
        )

    def _reason(self) -> str:
        """What else may be one: NumPy's generators may give other numbers in another version."""
        here = versions()
        apart = [f"{name} {self.versions[name]}" for name in ("paritree", "numpy") if self.versions[name] != here[name]]
        made = f", with {' and '.join(apart)}, of which another version is here" if apart else ""
        return f" It answers the checks of seed {self.seed}{made}."

    def _check_asked(self, inputs: Inputs, *calls: Call | None) -> None:
        """Raises PairError for inputs that are not the recorded ones, and for a call."""
        if any(call is not None for call in calls):
            remedy = "They were made when the model was recorded: leave reference_call and reference_train_call out."
            raise PairError("", "no calls of a record", "one", remedy)
        for name, expected, found in _apart(self.inputs, inputs):
            raise PairError(name, f"{expected}, as recorded", found, "Give the pair record.inputs, or record again.")

    def _check_given(self, what: str, form: forms.Form, made: Cotangents, shapes: Sequence[tuple[int, ...]]) -> None:
        if forms.digest_for(made, shapes) != form[what]:
            raise self._unrecorded(f"other {what}")


def precision_text(dtype: str) -> str:
    """A run's precision as its name has it."""
    return f"{dtype} by tf32" if asked_with().tf32 else dtype


def draws_address(seeds: Sequence[int], target: int | None) -> str:
    return f"{list(seeds)} {target}"


def versions_of(distributions: Iterable[str]) -> dict[str, str]:
    """By name; nothing is imported for it."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def versions() -> dict[str, str]:
    """Of what runs depend on."""
    return versions_of(DISTRIBUTIONS)


def _apart(recorded: Inputs, given: Inputs) -> Iterator[tuple[str, str, str]]:
    """Where two inputs differ, what was recorded, what was given."""
    ours, theirs = _named(recorded), _named(given)
    if {*ours} != {*theirs}:
        yield "inputs", _listed(ours), _listed(theirs)
        return
    for name, array in ours.items():
        other = np.asarray(theirs[name])
        if (other.dtype, other.shape) != (array.dtype, array.shape):
            yield f"inputs.{name}", _kind(array), _kind(other)
        elif forms.digest(other) != forms.digest(array):
            yield f"inputs.{name}", f"the values of {_kind(array)}", "other values"


def _named(inputs: Inputs) -> dict[Any, np.ndarray]:
    """By name or by number: 0 is not "0", which a dict of inputs may have."""
    return dict(inputs) if isinstance(inputs, Mapping) else dict(enumerate(inputs))


def _listed(names: Mapping[Any, Any]) -> str:
    return "inputs " + listed([repr(name) for name in names], separator=", ") if names else "no inputs"


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype.name} of shape {array.shape}"


def identity_map(
    reference: Mapping[str, StoredTensor], port: Mapping[str, StoredTensor], direction: tuple[str, str]
) -> Map:
    """The map of a model to its next release: what has one path and one shape is the same tensor.

    It is not proved. What has no partner of its path and shape is unmatched.

    reference, port: as `stored_tensors` gives them. direction: the two sides' wings.
    """
    ours, theirs = _mapped(reference), _mapped(port)
    same = [path for path, each in ours.items() if path in theirs and each.array.shape == theirs[path].array.shape]
    return Map(
        tuple(_same_row(ours[path], theirs[path]) for path in same),
        direction,
        tuple(path for path in ours if path not in same),
        tuple(path for path in theirs if path not in same),
        tuple(path for path in reference if path not in ours),
        tuple(path for path in port if path not in theirs),
    )


def _mapped(stored_tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Those that a map is about."""
    return {path: each for path, each in stored_tensors.items() if each.saved and each.is_floating}


def _same_row(one: StoredTensor, other: StoredTensor) -> MapRow:
    axes = " ".join(ascii_lowercase[: one.array.ndim])
    shape = tuple(one.array.shape)
    return MapRow(
        one.path,
        other.path,
        shape,
        shape,
        f"{axes} -> {axes}",
        "name",
        reference_aliases=one.aliases,
        port_aliases=other.aliases,
    )
