"""Pairs: two models that claim to be the same, and the inputs that both are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..common.wing import Call, Inputs, PairError, Plan, StepFunction, is_factory


@dataclass(frozen=True)
class Pair:
    """A reference and a port of it.

    reference, port: an `nn.Module`, an `nnx.Module`, `(linen module, variables)` or any pytree of JAX's or NumPy's
        arrays; or a factory, a function that gives one of these for a seed.
    inputs: a tuple or a dict of NumPy arrays, given to a model by position or by name.
    reference_call, port_call: `call(model, inputs)` for a side that wants another call than `model(*inputs)` (in
        Linen `module.apply(variables, *inputs)`), or gives more than is to be compared. A pytree cannot be called, and
        needs one. The model is in inference mode as far as its framework knows one: a Linen module has arguments for
        it, a pytree's call its own ways.
    reference_train_call, port_train_call: the same in training mode, for the contracts that are about it. PyTorch and
        NNX models are put into that mode and need none. In Linen it gives `(output, updated collections)`, as
        `module.apply(variables, *inputs, train=True, mutable=["batch_stats"])` does.
    reference_optimizer, port_optimizer: what either side is trained with, for the contract `recipe`. Of PyTorch a
        function that makes it: `lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)`, or one of `model` or of
        `named_parameters`, by these names. It may give `(optimizer, scheduler)`, with functions of the parameters that
        are called before each step, as for clipping, and with an `AveragedModel`. Of JAX an Optax transformation with
        its schedule in it, or a function of the parameters or of the `model` that gives one, an `nnx.Optimizer` or a
        `TrainState`; a tuple has an average of the parameters as its second.
    reference_step, port_step: whole step functions, where a recipe is more than an optimizer: `step(model, batch)`, or
        `step(model, optimizer, batch)` with what the side's optimizer is made of (PyTorch: what the function gave; an
        `nnx.Optimizer` or a `TrainState`; of a transformation its state). The batch is the inputs. It changes the model
        in PyTorch and NNX; elsewhere it gives the new one, `(model, state)` if it has a state.
    training_steps: how many steps a training has, for the contract `recipe`: what a schedule does after the last one is
        not compared. Without it schedules are compared up to the 100,000th step.
    loaded: whether the port was given the reference's weights, which are then checked. Unless it is said, a port that
        holds none of them is taken for one that was never given them, and its values are not judged.
    mesh: the devices that the port is sharded over, for the contract `sharded`: a `jax.sharding.Mesh`. It is set, by
        `jax.set_mesh`, while the port is made and run; all other contracts have a mesh of one device with the same
        axes. A call with an argument `mesh` is given it. For a PyTorch port, if its `port_sharding` takes a mesh, that.
    port_sharding: how the port is sharded, where it does not say itself. In JAX a sharding for all arrays, a tree or a
        mapping from paths to them, or a function `(model, mesh)` that gives the sharded model. In PyTorch a function
        `(model)` or `(model, mesh)` that shards the module it is given, as by `fully_shard`.
    input_sharding: how the inputs are: a `PartitionSpec` for all of them or one for each. Without it JAX's lie on all
        devices.
    port_gradients: `call(model, inputs)` that gives gradients, alone or with the loss, as the port's own training
        takes them over the mesh. They are held against those that it gives on one device.

    Raises:
        PairError: inputs of another kind; training_steps that are no number of steps.
    """

    reference: Any
    port: Any
    inputs: Inputs
    reference_call: Call | None = None
    port_call: Call | None = None
    reference_train_call: Call | None = None
    port_train_call: Call | None = None
    reference_optimizer: Any = field(default=None, kw_only=True)
    port_optimizer: Any = field(default=None, kw_only=True)
    reference_step: StepFunction | None = field(default=None, kw_only=True)
    port_step: StepFunction | None = field(default=None, kw_only=True)
    training_steps: int | None = field(default=None, kw_only=True)
    loaded: bool = field(default=False, kw_only=True)
    mesh: Any = field(default=None, kw_only=True)
    port_sharding: Any = field(default=None, kw_only=True)
    input_sharding: Any = field(default=None, kw_only=True)
    port_gradients: Call | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, tuple | Mapping):
            found = type(self.inputs).__name__
            raise PairError("inputs", "a tuple or a dict of arrays", found, "For one array write (array,).")
        named = self.inputs.items() if isinstance(self.inputs, Mapping) else enumerate(self.inputs)
        for name, array in named:
            if not isinstance(array, np.ndarray):
                raise PairError(
                    f"inputs.{name}", "a NumPy array", type(array).__name__, "Both sides get the same arrays."
                )
        steps = self.training_steps
        if steps is not None and (type(steps) is not int or steps < 1):
            remedy = "Leave it out to compare schedules up to the 100,000th step."
            raise PairError("training_steps", "how many steps a training has, 1 or more", repr(steps), remedy)


def check_two(pair: Pair) -> None:
    """Raises PairError for a pair whose sides are one object, in which nothing could differ; a factory makes two."""
    if pair.reference is pair.port and not is_factory(pair.reference):
        raise PairError(
            "port",
            "another model than the reference",
            "the reference itself, so that nothing could differ",
            "Give the port; of a model that is held against itself, two builds.",
        )


def plan_of(pair: Pair) -> Plan | None:
    """How the port is sharded; None where the pair does not say that it is."""
    if pair.mesh is None and pair.port_sharding is None:
        return None
    return Plan(pair.mesh, pair.port_sharding, pair.input_sharding)
