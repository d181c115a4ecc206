"""Initialization addressed by path: by portable words, or every initializer with `torch.nn.init`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..common import initializers as init
from ..common.draws import Box, Stream, check_draws, check_size, check_stream, drawn, key_of, recipe_of
from ..common.initializers import Initializer
from ..common.seeding import path_seed
from ..common.spec import Echo, Rule, line, plan
from ..common.tables import Row
from ..common.wing import StoredTensor, model_of
from ..common.wing import drawn as drawn_by
from .access import neutral, table
from .devices import device_of, dtype_of
from .integers import entries
from .naming import leaves
from .stored import stored_tensors


def draw(
    initializer: Initializer,
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    path: str = "",
    dtype: str = "float32",
    device: str = "cpu",
    stream: Stream = "portable",
    box: Box | None = None,
) -> torch.Tensor:
    """A tensor of canonical `shape` drawn from `initializer`, the same for one seed and path wherever it is asked.

    box: a slice for each axis, to have that part of the tensor alone, with the values that it has in the whole.

    Raises:
        UsageError: what is no seed, or no stream.
        InitializerError: the initializer does not fit the shape, or its bits cannot be portable.
        DtypeError, DeviceError: PyTorch has no such type, or does not see the device.
        UsageError: no name of one device.
    """
    initializer.validate(shape, path)
    if box is not None and check_stream(stream) == "portable":
        part = torch.from_numpy(drawn(initializer, shape, seed=seed, path=path, box=box, wide=dtype == "float64"))
        return part.to(device_of(device), dtype_of(dtype))
    empty = torch.empty(shape, dtype=dtype_of(dtype), device=device_of(device))
    whole = fill(empty, initializer, seed, path, stream)
    return whole if box is None else whole[box].clone()


def sample(row: Row, *, seeds: Sequence[int], device: str = "cpu", stream: Stream = "portable") -> np.ndarray:
    """What `build` draws for one row of a spec's table under many seeds: neutral, of shape (seeds, *row.shape)."""
    stack = torch.empty((len(seeds), *row.sizes), dtype=dtype_of(row.dtype), device=device_of(device))
    for tensor, seed in zip(stack, seeds, strict=True):
        fill(tensor, row.drawn_from, seed, row.path, stream)
    return neutral(stack)


def initialize(
    model: nn.Module,
    rules: Rule | Iterable[Rule],
    *,
    seed: int = 0,
    echo: Echo | None = None,
    stream: Stream = "portable",
) -> nn.Module:
    """Draw the parameters that the rules name, in place; the others keep their values. Returns `model`.

    echo: called with one line for each parameter, as it is drawn (`print` shows them).
    stream: `portable` for the same numbers in every wing, `native` for PyTorch's own.

    Raises:
        PathError: a rule that matches nothing; InitializerError: one that does not fit, or whose bits cannot be
            portable; UsageError: what is no seed, or no stream. Nothing was drawn.
    """
    arrays = {leaf.path: leaf.array for leaf in leaves(model)}
    planned = plan(table(model), rules)
    check_draws(stream, seed, planned)
    for row, initializer in planned:
        fill(arrays[row.path], initializer, seed, row.path, stream)
        if echo:
            echo(line(row, initializer))
    return model


@torch.no_grad()
def fill(
    tensor: torch.Tensor, initializer: Initializer, seed: int, path: str, stream: Stream = "portable"
) -> torch.Tensor:
    """Overwrite `tensor` with a draw, on its own device."""
    # Where there is one draw only, no words are asked.
    if check_stream(stream) == "portable" and not initializer.deterministic:
        _portable(tensor.detach(), initializer, seed, path)
        return tensor
    generator = torch.Generator(tensor.device).manual_seed(path_seed(seed, path))
    _fill(tensor.detach(), initializer, generator)
    return tensor


# An array of fewer values is made by NumPy and moved to its device.
_ON_DEVICE = 2**18


def _portable(tensor: torch.Tensor, initializer: Initializer, seed: int, path: str) -> None:
    shape = tuple(tensor.shape)
    if tensor.device.type != "cpu" and tensor.numel() >= _ON_DEVICE:
        check_size(shape, path)
        recipe = recipe_of(initializer, shape, path)
        if recipe is not None:
            tensor.copy_(entries(recipe, key_of(seed, path), shape, tensor.device))
            return
    if type(tensor) is torch.Tensor and tensor.device.type == "cpu" and _is_plain(tensor):
        drawn(initializer, shape, seed=seed, path=path, out=tensor.numpy())
        return
    wide = tensor.dtype == torch.float64
    tensor.copy_(torch.from_numpy(drawn(initializer, shape, seed=seed, path=path, wide=wide)))


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether NumPy can write its values where they are."""
    return tensor.dtype == torch.float32 and tensor.is_contiguous()


def _fill(tensor: torch.Tensor, initializer: Initializer, generator: torch.Generator) -> None:
    match initializer:
        case init.Constant(value):
            nn.init.constant_(tensor, value)
        case init.Zeros():
            nn.init.zeros_(tensor)
        case init.Ones():
            nn.init.ones_(tensor)
        case init.Uniform(low, high):
            nn.init.uniform_(tensor, low, high, generator=generator)
        case init.Normal(mean, std):
            nn.init.normal_(tensor, mean, std, generator=generator)
        case init.TruncatedNormal(mean, std):
            low, high = initializer.law(tensor.shape).support
            nn.init.trunc_normal_(tensor, mean, std, low, high, generator=generator)
        case init.Xavier("uniform", gain):
            nn.init.xavier_uniform_(tensor, gain, generator=generator)
        case init.Xavier("normal", gain):
            nn.init.xavier_normal_(tensor, gain, generator=generator)
        case init.Kaiming("uniform", a, "fan_in" | "fan_out" as mode, nonlinearity):
            nn.init.kaiming_uniform_(tensor, a, mode, cast(Any, nonlinearity), generator=generator)
        case init.Kaiming("normal", a, "fan_in" | "fan_out" as mode, nonlinearity):
            nn.init.kaiming_normal_(tensor, a, mode, cast(Any, nonlinearity), generator=generator)
        case init.VarianceScaling() | init.Xavier() | init.Kaiming() | init.LeCun():
            _scaled(tensor, initializer.distribution, initializer.std(tensor.shape), generator)
        case _:
            _structured(tensor, initializer, generator)


def _structured(tensor: torch.Tensor, initializer: Initializer, generator: torch.Generator) -> None:
    match initializer:
        case init.Orthogonal(gain):
            _orthogonal(tensor, gain, generator)
        case init.Eye():
            nn.init.eye_(tensor)
        case init.Dirac(groups):
            nn.init.dirac_(tensor, groups)
        case init.DeltaOrthogonal(gain):
            middle = tensor.zero_()[(slice(None), slice(None), *initializer.middle(tensor.shape))]
            _orthogonal(middle, gain, generator)
        case init.Sparse(sparsity, std):
            # sparse_ takes the places of its zeros from the CPU's global generator, so that one is lent our seed.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(generator.initial_seed())
                nn.init.sparse_(tensor, sparsity, std, generator=generator)
        case init.Masked(of, below):
            _fill(tensor, of, generator)
            tensor.masked_fill_(tensor.abs() < below, 0.0)
        case init.ZeroRow(of, row):
            _fill(tensor, of, generator)
            tensor[row] = 0.0
        case init.Deterministic():
            tensor.copy_(torch.as_tensor(initializer.draw(tuple(tensor.shape))))
        case _:
            _quantile(tensor, initializer, generator)


def _scaled(tensor: torch.Tensor, distribution: str, std: float, generator: torch.Generator) -> None:
    """A centred draw of standard deviation `std`, the truncated normal cut at two sigma and rescaled."""
    if distribution == "uniform":
        nn.init.uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std, generator=generator)
    elif distribution == "normal":
        nn.init.normal_(tensor, 0.0, std, generator=generator)
    else:
        sigma = std / init.TWO_SIGMA_STD
        nn.init.trunc_normal_(tensor, 0.0, sigma, -2 * sigma, 2 * sigma, generator=generator)


def _orthogonal(tensor: torch.Tensor, gain: float, generator: torch.Generator) -> None:
    """`orthogonal_`, in float32 for the half precisions, for which PyTorch has no such factorization."""
    wide = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    nn.init.orthogonal_(wide, gain, generator=generator)
    if wide is not tensor:
        tensor.copy_(wide)


def _quantile(tensor: torch.Tensor, initializer: Initializer, generator: torch.Generator) -> None:
    """Any other initializer, through the quantile function of its law."""
    uniform = torch.rand(tensor.shape, dtype=torch.float64, device=tensor.device, generator=generator)
    tensor.copy_(torch.as_tensor(initializer.law(tuple(tensor.shape)).ppf(uniform.cpu().numpy())))


def draws(
    factory: Any, seeds: Sequence[int], *, device: str = "cpu", target: int | None = None
) -> dict[str, np.ndarray]:
    """Every tensor of the models that a factory makes, `(draws, *native shape)` by native path, buffers included.

    Draw i is that of `seeds[i]`. PyTorch's generators are as they were afterwards.

    Raises:
        PairError: the factory raises, ignores its seed, or gives another structure for another seed.
        DeviceError: PyTorch does not see the device.
    """
    place = device_of(device)

    def made(seed: int) -> dict[str, StoredTensor]:
        if place.type == "cpu":
            return stored_tensors(model_of(factory, seed))
        with place:
            return stored_tensors(model_of(factory, seed))

    with torch.random.fork_rng(devices=[] if place.type == "cpu" else range(torch.cuda.device_count())):
        return drawn_by(made, seeds, target)
