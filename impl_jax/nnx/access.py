"""Access: a live module's table, its parameters one by one, its weights as neutral arrays, its gradients.

Neutral arrays are NumPy's, in the canonical layout, by path; a tied parameter appears under its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...common.errors import ShapeError
from ...common.tables import Row, Table
from ...common.ties import Tie
from ...common.wing import one_array
from ..parts import joined, native_shape, parted
from .naming import Leaf, find, leaves, members, nodes


def table(model: nnx.Module, inputs: Sequence[np.ndarray] | None = None) -> Table:
    """The table of a live module.

    inputs: not needed in this wing; a Linen module shows its layers only when called.
    """
    return Table(
        tuple(
            Row(
                path=leaf.path,
                shape=leaf.layout.canonical_shape(native_shape(leaf.layout, leaf.variables)),
                dtype=str(leaf.variables[0].dtype),
                kind=leaf.kind,
                layer=leaf.layer,
                tie=None if leaf.owner == leaf.path else Tie(leaf.owner, leaf.path),
                native_path=leaf.native_path,
                layout=leaf.layout,
                persistent=leaf.persistent,
            )
            for leaf in leaves(model, inputs)
        )
    )


def get_parameter(model: nnx.Module, path: str) -> Any:
    """The live Variable at `path`, not a copy, in its native layout; a tuple where several hold it.

    Raises:
        PathError
    """
    variables = find(model, path).variables
    return variables[0] if len(variables) == 1 else variables


def set_parameter(model: nnx.Module, path: str, value: Any) -> nnx.Module:
    """Write `value` (canonical layout) into the Variable at `path`; every alias sees it. Returns `model`.

    Raises:
        PathError, ShapeError, DtypeError: and the model is as it was.
    """
    table(model).check(path, value)
    write(find(model, path), value)
    return model


def write(leaf: Leaf, value: Any) -> None:
    """Put a canonical array where `leaf` is: in its layout, dtype and device."""
    for variable, part in zip(leaf.variables, parted(leaf.layout, value, len(leaf.variables)), strict=True):
        # By a copy of NumPy's, whose memory JAX would otherwise share: a later write to `value` would reach the model.
        array = np.array(part, variable.dtype, order="C")
        variable[...] = jax.device_put(array, variable[...].sharding)


def state(model: nnx.Module) -> nnx.State:
    """The framework's own state: `nnx.state`, every Variable once."""
    return nnx.state(model)


def weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """Every owner's values by path, as neutral arrays that share no memory with the model."""
    return {leaf.path: neutral(leaf, values(leaf)) for leaf in leaves(model) if leaf.owner == leaf.path}


def values(leaf: Leaf) -> tuple[jax.Array, ...]:
    """What the Variables of a leaf hold."""
    return tuple(variable[...] for variable in leaf.variables)


def neutral(leaf: Leaf, arrays: Sequence[jax.Array]) -> np.ndarray:
    """A NumPy copy of arrays that lie as those of `leaf` do, in the canonical layout."""
    return joined(leaf.layout, arrays)


def load(model: nnx.Module, weights: Mapping[str, np.ndarray]) -> nnx.Module:
    """Copy neutral weights into the module, all or nothing. Returns `model`.

    Raises:
        WeightsError: one message for every missing, extra and misshapen entry.
    """
    table(model).check_weights(weights)
    for leaf in leaves(model):
        if leaf.owner == leaf.path:
            write(leaf, weights[leaf.path])
    return model


def inference(model: nnx.Module) -> AbstractContextManager[None]:
    """The module in inference mode; what each submodule was set to is put back afterwards."""
    return in_mode(model, training=False)


@contextmanager
def in_mode(model: nnx.Module, training: bool) -> Iterator[None]:
    """The module in training or inference mode; what each submodule was set to is put back afterwards."""
    switches = ("deterministic", "use_running_average")
    before = [
        (module, name, getattr(module, name))
        for _, module in nnx.iter_modules(model)
        for name in switches
        if name in vars(module)
    ]
    (model.train if training else model.eval)()
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def arrays(inputs: Sequence[np.ndarray]) -> tuple[jax.Array, ...]:
    """Neutral inputs as jax arrays."""
    return tuple(jnp.asarray(array) for array in inputs)


def call(model: nnx.Module, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The output for neutral `inputs`, in inference mode, as a neutral array.

    Raises:
        NotExpressibleError: the output is not one array.
    """
    with inference(model):
        return np.asarray(one_array(model(*arrays(inputs))))  # type: ignore[operator]


def value_and_gradients(
    model: nnx.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The value <output, cotangent> and its gradient by every parameter, in inference mode.

    cotangent: an array of the output's shape. A tied parameter's gradient is the sum over its sites; one that the
    output does not depend on has gradient zero.

    Raises:
        ShapeError: a cotangent of another shape.
    """
    owners = owner_leaves(model)
    parameters = {path: values(leaf) for path, leaf in owners.items()}
    with inference(model):
        value, gradients = jax.value_and_grad(objective(model, inputs, cotangent))(parameters)
    return value.item(), {path: neutral(leaf, gradients[path]) for path, leaf in owners.items()}


def owner_leaves(model: nnx.Module) -> dict[str, Leaf]:
    """The parameters by path, each once, in the table's order."""
    return {leaf.path: leaf for leaf in leaves(model) if leaf.owner == leaf.path and leaf.kind == "parameter"}


def objective(
    model: nnx.Module, inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> Callable[[Mapping[str, Sequence[jax.Array]]], jax.Array]:
    """<output, cotangent> as a function of the parameters by path, each as the native arrays that hold it.

    The graph is taken apart and put together around the call: a tied Variable is one entry of the state, so its
    gradient is the sum over its sites, which jax.grad on the module itself would not give.
    """
    owners = owner_leaves(model)
    graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)
    by_variable = {
        id(variable): (path, number) for path, leaf in owners.items() for number, variable in enumerate(leaf.variables)
    }
    # nnx.split lists a Variable under one of its native paths, not always the first in order of registration.
    place: dict[Any, tuple[str, int]] = {
        (*native, name): by_variable[id(value)]
        for _, native, node in nodes(model)
        for name, value in members(node)
        if id(value) in by_variable
    }

    def value(parameters: Mapping[str, Sequence[jax.Array]]) -> jax.Array:
        entries = []
        for native, variable in zip(flat.paths, flat.leaves, strict=True):
            if native in place:
                path, number = place[native]
                variable = variable.replace(parameters[path][number])
            entries.append((native, variable))
        output = one_array(nnx.merge(graph, nnx.from_flat_state(entries))(*arrays(inputs)))  # type: ignore[operator]
        if output.shape != np.shape(cotangent):
            found = f"shape {np.shape(cotangent)}"
            raise ShapeError("", f"a cotangent of the output's shape {output.shape}", found)
        return (output * jnp.asarray(cotangent)).sum()

    return value
