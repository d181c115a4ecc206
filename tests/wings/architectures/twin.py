"""A torch model that nobody here wrote and the spec that claims to be its twin, held against each other.

Outputs and gradients are judged by their error relative to the tensor's norm against one oracle, our torch wing in
float64 with the model's own weights: both the model's own float32 results and those of every wing.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from paritree.common import initializers, layers
from paritree.common import spec as containers
from paritree.common.initializers import deterministic
from paritree.common.models.architectures import named
from paritree.common.spec import Layer, expansion
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge
from paritree.pairs.closeness import allowed, relative_error

Inputs = tuple[np.ndarray, ...]
Config = TypeVar("Config")


def config_of(kind: type[Config], theirs: Any) -> Config:
    """Our configuration, each field read from theirs, which has the same names."""
    return named.read(kind, theirs)


def tokens(vocabulary: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random tokens."""
    return np.random.default_rng(seed).integers(0, vocabulary, shape)


def scatter(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with distinct values everywhere, in inference mode.

    As initialized, biases are 0 and scales are 1: there a model does not show whether one stands for another, nor do
    weights of a std of 0.02 show a mask.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim < 2:
                parameter += 0.2 * noise
            else:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
    return model.eval()


@dataclass(frozen=True)
class Result:
    """A model's output, and the gradient of <output, cotangent> by each parameter."""

    output: np.ndarray
    gradients: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Twin:
    """A spec and the torch model that it is to be.

    model: in float32, in inference mode (`scatter` leaves it so).
    inputs: neutral arrays for both, in the order of the spec's inputs.
    run: the model's output for those inputs as tensors.
    depth: the number of layers that a value passes, for the allowance.
    vanishing: a pattern of the paths whose gradient is zero in exact arithmetic (a key's bias moves all scores of a
        query alike). Of such a one rounding is all there is, so it is held against the gradient of the weight beside.
    seen: weights the cotangent, to leave out places of the output; broadcast to its shape.
    """

    spec: Layer
    model: nn.Module
    inputs: Inputs
    run: Callable[..., torch.Tensor]
    depth: int
    vanishing: str = r"(?!)"
    seen: np.ndarray | float = 1.0

    def theirs(self, dtype: torch.dtype = torch.float32) -> Result:
        """What the model itself gives."""
        model = copy.deepcopy(self.model).to(dtype)
        output = self.run(model, *map(torch.from_numpy, self.inputs_in(_name(dtype))))
        parameters = dict(model.named_parameters())
        value = (output * torch.from_numpy(self.cotangent).to(dtype)).sum()
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        return Result(
            output.detach().numpy(),
            {
                name: (torch.zeros_like(parameter) if gradient is None else gradient).numpy()
                for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
            },
        )

    def ours(self, wing: str, device: str = "cpu", dtype: str = "float32") -> Result:
        """What the spec gives in a wing, with the model's own weights by name."""
        own = load_wing(wing)
        inputs = self.inputs_in(dtype)
        with own.running(device, dtype):
            model = own.load(own.build(self.spec, dtype=dtype, device=device), self.weights(dtype))
            output = own.call(model, inputs)
            _, gradients = own.value_and_gradients(model, inputs, self.cotangent.astype(dtype))
        return Result(output, gradients)

    def inputs_in(self, dtype: str) -> Inputs:
        """Images in the precision of a run; tokens are whole numbers in any."""
        return tuple(array.astype(dtype) if array.dtype == np.float32 else array for array in self.inputs)

    @cached_property
    def oracle(self) -> Result:
        """The torch wing in float64."""
        return self.ours("torch", dtype="float64")

    @cached_property
    def cotangent(self) -> np.ndarray:
        with torch.no_grad():
            shape = self.run(self.model, *map(torch.from_numpy, self.inputs)).shape
        return (np.random.default_rng(1).normal(size=shape) * self.seen).astype(np.float32)

    def weights(self, dtype: str) -> dict[str, np.ndarray]:
        """The model's parameters and buffers by name, each once; what is floating in `dtype`."""
        named = (*self.model.named_parameters(), *self.model.named_buffers())
        arrays = {name: array.detach().numpy() for name, array in named}
        return {name: array.astype(dtype) if array.dtype == np.float32 else array for name, array in arrays.items()}

    def errors(self, found: Result, exact: Result | None = None) -> dict[str, float]:
        """The error of the output (under the empty path) and of every gradient, relative to the norm of the tensor."""
        exact = exact or self.oracle
        assert list(found.gradients) == list(exact.gradients)
        seen = np.broadcast_to(np.asarray(self.seen) != 0, exact.output.shape)
        errors = {"": relative_error(found.output * seen, exact.output * seen)}
        for path, gradient in exact.gradients.items():
            if re.search(self.vanishing, path):
                scale = np.linalg.norm(exact.gradients[path.replace("bias", "weight")])
                errors[path] = float(np.linalg.norm(found.gradients[path] - gradient) / scale)
            else:
                errors[path] = relative_error(found.gradients[path], gradient)
        return errors

    def too_large(self, found: Result) -> dict[str, float]:
        """The errors against the oracle that are above 32 eps sqrt(depth) of float32."""
        limit = allowed(self.depth)
        return {path: error for path, error in self.errors(found).items() if not error <= limit}


def assert_same_tables(spec: Layer, model: nn.Module) -> None:
    """Names, shapes, dtypes, order, aliases, and which of the buffers `state_dict` lists, are those of the model."""
    table = expansion.table_of(spec)
    owners: dict[int, str] = {}
    parameters = [
        (name, tuple(array.shape), _name(array.dtype), owners.setdefault(id(array), name))
        for name, array in model.named_parameters(remove_duplicate=False)
    ]
    kept = set(model.state_dict())
    buffers = [
        (name, tuple(array.shape), _name(array.dtype), owners.setdefault(id(array), name), name in kept)
        for name, array in model.named_buffers(remove_duplicate=False)
    ]
    rows = [(row.path, row.shape, row.dtype, row.tie.owner if row.tie else row.path) for row in table]
    kinds = [row.kind for row in table]
    assert [row for row, kind in zip(rows, kinds, strict=True) if kind == "parameter"] == parameters
    persistent = [row.persistent for row in table]
    found = [(*row, here) for row, kind, here in zip(rows, kinds, persistent, strict=True) if kind == "buffer"]
    assert found == buffers


def assert_same_buffers(spec: Layer, model: nn.Module) -> None:
    """The spec draws every buffer with the model's values and dtype, but for the rounding of a formula in float32."""
    torch_wing = load_wing("torch")
    drawn = torch_wing.weights(torch_wing.build(spec))
    for name, array in model.named_buffers():
        expected = array.numpy()
        assert drawn[name].dtype == expected.dtype, name
        np.testing.assert_allclose(drawn[name], expected, rtol=4 * np.finfo("float32").eps, atol=0, err_msg=name)


def assert_same_distributions(spec: Layer, make: Callable[[], nn.Module], draws: int) -> None:
    """Every parameter of freshly made models has the spec's initial distribution, by one-sample tests."""
    rows = expansion.table_of(spec).parameters
    made: dict[str, list[np.ndarray]] = {row.path: [] for row in rows}
    for seed in range(draws):
        torch.manual_seed(seed)
        model = make()
        for row in rows:
            made[row.path].append(model.get_parameter(row.path).detach().numpy())
    evidence = []
    for row in rows:
        evidence += examine(np.stack(made[row.path]), row.drawn_from, row.sizes, path=row.path)
    assert [verdict.message for verdict in judge(evidence) if not verdict.passed] == []


def assert_same_dropout(twin: Twin) -> None:
    """In training mode, with PyTorch's generator at one seed, both drop the same entries of the same arrays."""
    own = load_wing("torch")
    module = own.load(own.build(twin.spec), twin.weights("float32"))
    inputs = [torch.from_numpy(array) for array in twin.inputs]
    outputs = []
    for model, run in ((twin.model, twin.run), (module, lambda model, *inputs: model(*inputs))):
        torch.manual_seed(0)
        outputs.append(run(model.train(), *inputs).detach().numpy())
        torch.manual_seed(0)
        still = run(model.eval(), *inputs).detach().numpy()
        assert relative_error(outputs[-1], still) > 0.01
    assert relative_error(outputs[1], outputs[0]) <= 2 * allowed(twin.depth)


def assert_repr_is_code(spec: Layer) -> None:
    """The spec prints as the code that builds it."""
    names: dict[str, Any] = {}
    for module in (initializers, deterministic, layers, containers):
        names.update(vars(module))
    assert eval(repr(spec), names) == spec


def padded(lengths: Sequence[int], time: int) -> np.ndarray:
    """A mask (batch, time) that shows the first `length` of each sequence."""
    return (np.arange(time) < np.asarray(lengths)[:, None]).astype(np.int64)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
