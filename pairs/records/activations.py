"""Activations in a record: what each call of a module took and gave, at each of the values that the model was run at.

The modules are there once, and an array that one module gives and the next one takes is stored once, as all arrays are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...common.wing import Trace, Traced, is_floating
from .files import RecordError
from .forms import Form, Get, Put, arrays_form, arrays_of

# Above this many bytes they are refused unless more is asked for.
MOST_BYTES = 2**30
_MIB = 2**20


class Activations:
    """Those that are being recorded.

    put: keeps an array and gives its digest. most: how many bytes of arrays that no other pass has.
    """

    def __init__(self, put: Put, most: int) -> None:
        self._put, self._most = put, most
        self._modules: dict[str, int] = {}
        self._described: list[Form] = []
        self._sizes: dict[str, int] = {}
        self._passes: dict[str, list[Form]] = {}

    def __contains__(self, address: str) -> bool:
        return address in self._passes

    def add(self, address: str, traces: Sequence[Trace]) -> None:
        """One pass. Raises RecordError if all of them are too large."""
        self._passes[address] = [self._form(trace) for trace in traces]
        size = sum(self._sizes.values())
        if size > self._most:
            raise RecordError(
                "activations",
                f"no more than {self._most / _MIB:,.1f} MiB of activations",
                f"{size / _MIB:,.1f} MiB after {len(self._passes)} of the passes, of which there are about ten",
                "Give smaller inputs, or a larger activation_limit (--activation-limit, in MiB).",
            )

    @property
    def form(self) -> Form:
        return {"modules": list(self._described), "passes": dict(self._passes)}

    def _form(self, trace: Trace) -> Form:
        return {
            "module": self._module(trace),
            "call": trace.call,
            "depth": trace.depth,
            "inputs": arrays_form(trace.inputs, self._counted),
            "outputs": arrays_form(trace.outputs, self._counted),
        }

    def _module(self, trace: Trace) -> int:
        described = {
            "path": trace.path,
            "name": trace.name,
            "settings": dict(trace.settings),
            "holds": list(trace.holds),
            "subtree": list(trace.subtree),
        }
        number = self._modules.setdefault(repr(described), len(self._described))
        if number == len(self._described):
            self._described.append(described)
        return number

    def _counted(self, array: np.ndarray) -> str:
        key = self._put(array)
        self._sizes[key] = array.nbytes
        return key


def traces_of(form: Form, address: str, get: Get, dtype: str) -> tuple[Trace, ...]:
    """The calls of a pass, floating-point arrays no finer than `dtype`; none where it was not recorded."""
    modules = [_module_of(each) for each in form["modules"]]
    return tuple(_trace_of(each, modules, get, dtype) for each in form["passes"].get(address, ()))


def sizes_of(form: Form, sizes: Mapping[str, int]) -> int:
    """How many bytes the arrays have that the passes name, each counted once."""
    named = (key for calls in form["passes"].values() for call in calls for key in _keys(call))
    return sum(sizes[key] for key in {*named})


def _keys(call: Form) -> list[str]:
    return [*call["inputs"].values(), *call["outputs"].values()]


def _module_of(form: Form) -> Traced:
    settings = {name: tuple(each) if isinstance(each, list) else each for name, each in form["settings"].items()}
    return Traced(form["path"], form["name"], settings, tuple(form["holds"]), tuple(form["subtree"]))


def _trace_of(form: Form, modules: Sequence[Traced], get: Get, dtype: str) -> Trace:
    def rounded(key: str) -> np.ndarray:
        array = get(key)
        return array.astype(dtype) if is_floating(array) and array.dtype.itemsize > np.dtype(dtype).itemsize else array

    module = modules[form["module"]]
    return Trace(
        module.path,
        form["call"],
        module.name,
        form["depth"],
        arrays_of(form["inputs"], rounded),
        arrays_of(form["outputs"], rounded),
        module.settings,
        module.holds,
        module.subtree,
    )
