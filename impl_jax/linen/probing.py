"""Probing: outputs, gradients and sites, of a live model as it is or for any weights.

What is canonical has neutral arrays under canonical paths, of the model itself, in its own dtype and on its device.
A prober has native arrays, as `stored_tensors` gives them, a tied parameter once, under its owner; it
is compiled, and is to be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...common.wing import Call, Inputs, Prober, Site, SiteProber, one_array
from ..core import arrays
from ..devices import check_dtype
from ..probing import Owner, canonical_gradients, canonical_sites, compiled_prober, compiled_site_prober
from ..trees import dotted
from .core import called, functional
from .naming import Model, owner_leaves


def call(model: Model, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The output for neutral `inputs`, in inference mode (no dropout key), as a neutral array.

    Raises:
        NotExpressibleError: the output is not one array.
    """
    return np.asarray(one_array(called(model, arrays(inputs))))


def value_and_gradients(
    model: Model, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The value <output, cotangent> and its gradient by every parameter, in inference mode.

    cotangent: an array of the output's shape. A tied parameter's gradient is the sum over its sites; one that the
    output does not depend on has gradient zero.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: a cotangent of another shape.
    """
    return canonical_gradients(functional(model), _owners(model), inputs, cotangent)


def site_gradients(model: Model, inputs: Sequence[np.ndarray], cotangent: np.ndarray) -> dict[str, tuple[Site, ...]]:
    """Each owner's sites in the order of the program, with each site's share of the gradient of <output, cotangent>.

    A site is an operation of the traced program that takes the parameter as an argument.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: a cotangent of another shape.
    """
    return canonical_sites(functional(model), _owners(model), inputs, cotangent)


def _owners(model: Model) -> dict[str, Owner]:
    return {
        path: Owner(tuple(dotted(place) for place in leaf.stored_at), leaf.layout)
        for path, leaf in owner_leaves(model).items()
    }


def prober(model: Model, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The model made ready to be probed: `run(weights, cotangents)` gives a Probe.

    call: `call(model, inputs)`; without it `module.apply(variables, *inputs)`, with no dropout key.

    The run is compiled once, for all weights. A layer with a dtype of its own computes in that.

    Arguments and errors: see `SideWing`.
    """
    check_dtype(dtype)
    return compiled_prober(functional(model, call), inputs, dtype)


def site_prober(model: Model, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> SiteProber:
    """The model made ready to be asked for sites: `run(weights, cotangents, paths)` gives those of each path.

    A site is an operation of the traced program that takes the parameter as an argument; a loop is one. The program is
    compiled once for each choice of paths. The rest is as for `prober`.

    Raises:
        DtypeError, WeightsError, NotExpressibleError: as from `prober`.
        PathError: from the run, a path of no parameter.
    """
    check_dtype(dtype)
    return compiled_site_prober(functional(model, call), inputs, dtype)
