"""Modules over two processes: wholly sharded, in parts by DTensor and by hand; right, and wrong in one thing each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import paritree
from paritree.pairs.records import identity_map

VOCABULARY, WIDTH, INNER, BATCH, LENGTH = 12, 6, 8, 4, 5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.tanh(self.up(x)))


class Model(nn.Module):
    """A language model with a tied head."""

    def __init__(self, rate: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.embed, self.block = nn.Embedding(VOCABULARY, WIDTH), Block()
        self.drop = nn.Dropout(rate)
        self.norm = nn.BatchNorm1d(LENGTH) if norm else nn.Identity()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.block(self.drop(self.embed(tokens)))))


def tokens() -> np.ndarray:
    found = np.random.default_rng(1).integers(1, VOCABULARY, (BATCH, LENGTH))
    found[0, 1:] = 0
    return found


def made(**how: Any) -> Model:
    torch.manual_seed(0)
    return Model(**how)


def pair(sharding: Callable[..., Any], *, rate: float = 0.0, norm: bool = False, **others: Any) -> paritree.Pair:
    reference, port = made(rate=rate, norm=norm), made(rate=rate, norm=norm)
    return paritree.Pair(reference, port, (tokens(),), port_sharding=sharding, **others)


def map_of(pair: paritree.Pair) -> paritree.Map:
    """Each path with itself."""
    tensors = paritree.wing("torch").stored_tensors(pair.reference)
    return identity_map(tensors, tensors, ("torch", "torch"))


def whole(model: Model) -> None:
    """All parameters, in groups as a training has them."""
    fully_shard(model.block)
    fully_shard(model)


def seeded(model: Model) -> None:
    whole(model)
    torch.manual_seed(dist.get_rank())


def copies_of_shards(model: Model) -> None:
    mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("copies", "shards"))
    fully_shard(model.block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def wrapped(model: Model) -> nn.Module:
    return FullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))


def checkpointed(model: Model) -> None:
    """Its block's activations are computed again for the gradient."""
    model.block = checkpoint_wrapper(model.block)
    whole(model)


def untied(model: Model) -> None:
    """The head in a group of its own."""
    fully_shard(model.head)
    fully_shard(model)


def replicated(model: Model) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


def parallel(model: Model) -> None:
    mesh = init_device_mesh("cpu", (2,))
    parallelize_module(model.block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def parallel_and_seeded(model: Model) -> None:
    parallel(model)
    torch.manual_seed(dist.get_rank())


class RowParallel(nn.Module):
    """A linear layer of which each process has some columns, by hand.

    is_late: whether the bias comes after the sum. weight: a parameter that is local, or a DTensor.
    """

    def __init__(self, of: nn.Linear, is_late: bool, is_local: bool) -> None:
        super().__init__()
        self.is_late = is_late
        mesh = init_device_mesh("cpu", (2,))
        self.weight = nn.Parameter(
            of.weight.detach().chunk(2, 1)[dist.get_rank()].clone()
            if is_local
            else distribute_tensor(of.weight.detach(), mesh, [Shard(1)])
        )
        self.bias = nn.Parameter(of.bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to_local() if isinstance(self.weight, DTensor) else self.weight
        part = nn.functional.linear(Split.apply(x), weight, None if self.is_late else self.bias)
        return Summed.apply(part) + (self.bias if self.is_late else 0)


class Summed(torch.autograd.Function):
    """The sum over all processes; its gradient is the same in each."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        found = part.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class Split(torch.autograd.Function):
    """This process' columns; the gradient is gathered."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.chunk(2, -1)[dist.get_rank()].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(gradient) for _ in range(2)]
        dist.all_gather(parts, gradient.contiguous())
        return torch.cat(parts, -1)


def by_hand(*, is_late: bool = True, is_local: bool = False) -> Callable[[Model], None]:
    def shard(model: Model) -> None:
        model.block.down = RowParallel(model.block.down, is_late, is_local)

    return shard


def hooked(reduce: Callable[[str, torch.Tensor], None]) -> Callable[[Model], None]:
    """Data parallel by hooks of one's own."""

    def shard(model: Model) -> None:
        for name, each in model.named_parameters():
            each.register_post_accumulate_grad_hook(lambda own, name=name: reduce(name, own.grad))

    return shard


def average(name: str, gradient: torch.Tensor) -> None:
    dist.all_reduce(gradient)
    gradient /= dist.get_world_size()


def all_but_the_embedding(name: str, gradient: torch.Tensor) -> None:
    if name != "embed.weight":
        average(name, gradient)


def total(name: str, gradient: torch.Tensor) -> None:
    dist.all_reduce(gradient)


def twice(name: str, gradient: torch.Tensor) -> None:
    total(name, gradient)
    total(name, gradient)


def renamed(model: Model) -> None:
    model.block.top = model.block.down
    model.block.down = nn.Identity()
    model.block.forward = lambda x: x + model.block.top(torch.tanh(model.block.up(x)))
    whole(model)


def coarse(model: Model) -> None:
    with torch.no_grad():
        model.block.up.weight.copy_(model.block.up.weight.bfloat16())


def refused(model: Model) -> None:
    raise ValueError("it is not to be sharded")


def frozen(model: Model) -> None:
    model.block.up.weight.requires_grad_(False)
    whole(model)


def loss_of(model: nn.Module, inputs: Any, count: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The sum over the tokens that count, those that are not 0, by some count of them."""
    (given,) = inputs
    logits = model(given)
    counts = (given != 0).to(logits)
    told = nn.functional.cross_entropy(logits.flatten(0, 1), given.flatten(), reduction="none")
    return (told * counts.flatten()).sum() / count(counts)


def of_all(counts: torch.Tensor) -> torch.Tensor:
    found = counts.sum()
    dist.all_reduce(found)
    return found


def nothing(model: Model) -> None:
    """Each process has all of it."""


def trained(
    count: Callable[[torch.Tensor], torch.Tensor] = of_all, reduce: Callable[[str, torch.Tensor], None] = total
) -> paritree.Pair:
    """Data parallel gradients as a training loop takes them."""

    def gradients(model: nn.Module, inputs: Any) -> torch.Tensor:
        loss = loss_of(model, inputs, count)
        loss.backward()
        told = loss.detach().clone()
        reduce("loss", told)
        for name, each in model.named_parameters():
            reduce(name, each.grad)
        return told

    return pair(nothing, port_gradients=gradients, input_sharding=[Shard(0)])


class Experts(nn.Module):
    """A sum over four, weighted by a router."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 4)
        self.experts = nn.ModuleDict({str(number): nn.Linear(WIDTH, WIDTH) for number in range(4)})
        self.is_apart = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = self.router(x).softmax(-1)
        shares = Copied.apply(shares) if self.is_apart else shares
        found = sum(shares[..., int(number), None] * each(x) for number, each in self.experts.items())
        return Summed.apply(found) if self.is_apart else found


class Copied(torch.autograd.Function):
    """The same in all processes; its gradient is summed over them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        found = gradient.clone()
        dist.all_reduce(found)
        return found


def apart(model: Experts) -> None:
    """Each process has experts of its own."""
    for number in range(4):
        if number % 2 != dist.get_rank():
            del model.experts[str(number)]
    model.is_apart = True


def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(BATCH, WIDTH)).astype(np.float32)


def experts() -> paritree.Pair:
    torch.manual_seed(0)
    reference = Experts()
    return paritree.Pair(reference, copy.deepcopy(reference), (rows(),), port_sharding=apart)


class TwoOutputs(nn.Module):
    """An output with a row for each of the batch, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.block(x)
        return {"rows": found, "mean": (found**2).mean()}


def whole_module(model: nn.Module) -> None:
    fully_shard(model)


def two_outputs(sharding: Callable[..., Any]) -> paritree.Pair:
    torch.manual_seed(0)
    reference = TwoOutputs()
    return paritree.Pair(reference, copy.deepcopy(reference), (rows(),), port_sharding=sharding)


KIND = "torch"
CLEAN: dict[str, Callable[[], paritree.Pair]] = {
    "wholly sharded": lambda: pair(whole),
    "experts apart": experts,
    "two outputs, one without rows": lambda: two_outputs(whole_module),
    "wholly sharded, dropped": lambda: pair(seeded, rate=0.5),
    "data parallel": lambda: pair(replicated),
    "copies of shards": lambda: pair(copies_of_shards),
    "the older wrapper": lambda: pair(wrapped),
    "computed again": lambda: pair(checkpointed),
    "tensor parallel": lambda: pair(parallel),
    "by hand, DTensor": lambda: pair(by_hand()),
    "by hand, local": lambda: pair(by_hand(is_local=True)),
    "hooks": lambda: pair(hooked(average), input_sharding=[Shard(0)]),
    "gradients of its own": trained,
}
FAULTS: dict[str, tuple[Callable[[], paritree.Pair], str, str, str]] = {
    "a tie lost": (
        lambda: pair(untied),
        "lost tie",
        "embed.weight",
        "sharded, head.weight is not embed.weight any more: they are two tensors",
    ),
    "an embedding's gradient that is not reduced": (
        lambda: pair(hooked(all_but_the_embedding), input_sharding=[Shard(0)]),
        "not reduced",
        "embed.weight",
        "the gradient, the sum over the sites of embed.weight and head.weight, is not one",
    ),
    "gradients that are summed and not averaged": (
        lambda: pair(hooked(total), input_sharding=[Shard(0)]),
        "summed too often",
        "block.up.weight",
        "is 2 times that of one device, as many as there are processes: it is summed over these once too often",
    ),
    "a loss divided by local tokens": (
        lambda: trained(count=torch.sum, reduce=average),
        "mean of means",
        "embed.weight",
        "It is the mean over 2 parts of the batch",
    ),
    "a gradient summed twice": (
        lambda: trained(reduce=twice),
        "summed too often",
        "block.up.weight",
        "is 2 times that of one device",
    ),
    "a bias added on each process": (
        lambda: pair(by_hand(is_late=False)),
        "added on each",
        "block.down.bias",
        "With 2 times block.down.bias one device gives the same",
    ),
    "one key in all processes": (
        lambda: pair(whole, rate=0.5),
        "dropout key",
        "",
        "in PyTorch seed each process by its rank in port_sharding",
    ),
    "other keys for what all hold": (
        lambda: pair(parallel_and_seeded, rate=0.5),
        "dropout key",
        "",
        "What all of them hold is to be dropped by one key",
    ),
    "statistics of a process": (
        lambda: pair(whole, norm=True),
        "statistic of a shard",
        "norm.running_mean",
        "Each device has made its own",
    ),
    "coarser arithmetic": (
        lambda: pair(lambda model: fully_shard(model, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))),
        "dtype",
        "",
        "the output is bfloat16, and float64 on one device, and differs by",
    ),
    "a name lost": (lambda: pair(renamed), "lost name", "block.down.weight", "no tensor 'block.down.weight' any more"),
    "values rounded": (lambda: pair(coarse), "values", "block.up.weight", "sharding changes its values"),
    "a function that raises": (lambda: pair(refused), "raises", "", "ValueError: it is not to be sharded"),
    "a parameter frozen": (lambda: pair(frozen), "kind", "block.up.weight", "sharded, it is frozen, unlike before"),
}
REFUSED: dict[str, tuple[Any, str]] = {}
