"""W11: one embedding to encode and to decode."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...figures import Shares, Tree
from ...record import Behaviour, Verdict, raised


def table_and_tokens():
    """A table of 10 tokens by 4, and three tokens to look up."""
    return np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32), np.array([1, 2, 2])


def model_in_torch(table):
    class Model(nn.Module):
        def __init__(self, table):
            super().__init__()
            self.embedding = nn.Embedding.from_pretrained(table.clone(), freeze=False)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight  # (10, 4) on both sides: no transpose

        def forward(self, tokens):
            return self.head(self.embedding(tokens))

    return Model(table)


def in_torch():
    table, tokens = map(torch.from_numpy, table_and_tokens())
    model = model_in_torch(table)
    logits = model(tokens)
    logits.square().sum().backward()
    gradient = model.embedding.weight.grad

    encoder, decoder = (table.clone().requires_grad_() for _ in range(2))
    sites = torch.autograd.grad((encoder[tokens] @ decoder.T).square().sum(), [encoder, decoder])
    return {
        "parameters": [name for name, _ in model.named_parameters()],
        "scalars": sum(weight.numel() for weight in model.parameters()),
        "shape of the logits": tuple(logits.shape),
        "logits are x E^T": torch.allclose(logits, table[tokens] @ table.T, atol=1e-5),
        "norm of the gradient": gradient.norm().item(),
        "norms by site, encode and decode": [site.norm().item() for site in sites],
        "the sites add up to it": torch.allclose(sum(sites), gradient, atol=1e-3),
        "share of each site": [((site * gradient).sum() / gradient.square().sum()).item() for site in sites],
        "a linear layer that takes the table as its weight": tuple(logits.shape),
    }


def model_in_linen(table, tokens):
    class Model(linen.Module):
        def setup(self):
            self.embedding = linen.Embed(10, 4, embedding_init=lambda *_: jnp.asarray(table))

        def __call__(self, tokens):
            return self.embedding.attend(self.embedding(tokens))

    model = Model()
    return model, model.init(jax.random.key(0), tokens)


def in_linen():
    table, tokens = table_and_tokens()
    model, variables = model_in_linen(table, tokens)
    logits = model.apply(variables, tokens)
    gradient = jax.grad(lambda v: jnp.square(model.apply(v, tokens)).sum())(variables)
    gradient = gradient["params"]["embedding"]["embedding"]

    def site_loss(encoder, decoder):
        return jnp.square(encoder[tokens] @ decoder.T).sum()

    sites = jax.grad(site_loss, argnums=(0, 1))(jnp.asarray(table), jnp.asarray(table))
    head, hidden = linen.Dense(10, use_bias=False), jnp.asarray(table)[tokens]
    return {
        "parameters": list(flatten_dict(variables["params"], sep=".")),
        "scalars": sum(array.size for array in jax.tree.leaves(variables)),
        "shape of the logits": logits.shape,
        "logits are x E^T": np.allclose(logits, table[tokens] @ table.T, atol=1e-5),
        "norm of the gradient": jnp.linalg.norm(gradient).item(),
        "norms by site, encode and decode": [jnp.linalg.norm(site).item() for site in sites],
        "the sites add up to it": np.allclose(sum(sites), gradient, atol=1e-3),
        "share of each site": [((site * gradient).sum() / jnp.square(gradient).sum()).item() for site in sites],
        "a linear layer that takes the table as its weight": raised(
            lambda: head.apply({"params": {"kernel": jnp.asarray(table)}}, hidden)
        ),
    }


def model_in_nnx(table):
    class Model(nnx.Module):
        def __init__(self):
            self.embedding = nnx.Embed(10, 4, embedding_init=lambda *_: jnp.asarray(table), rngs=nnx.Rngs(0))

        def __call__(self, tokens):
            return self.embedding.attend(self.embedding(tokens))

    return Model()


def in_nnx():
    table, tokens = table_and_tokens()
    model = model_in_nnx(table)
    logits = model(tokens)
    gradient = nnx.grad(lambda model: jnp.square(model(tokens)).sum())(model)["embedding"]["embedding"][...]

    def site_loss(encoder, decoder):
        return jnp.square(encoder[tokens] @ decoder.T).sum()

    sites = jax.grad(site_loss, argnums=(0, 1))(jnp.asarray(table), jnp.asarray(table))

    shared = model.embedding.embedding  # the Variable itself may be shared, as long as each use minds the layout
    by_hand = shared[...][tokens] @ shared[...].T
    head = nnx.Linear(4, 10, use_bias=False, rngs=nnx.Rngs(0))
    head.kernel = shared  # (10, 4) where (4, 10) is needed
    return {
        "parameters": [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))],
        "scalars": sum(array.size for array in jax.tree.leaves(nnx.state(model, nnx.Param))),
        "shape of the logits": logits.shape,
        "logits are x E^T": np.allclose(logits, by_hand, atol=1e-5),
        "norm of the gradient": jnp.linalg.norm(gradient).item(),
        "norms by site, encode and decode": [jnp.linalg.norm(site).item() for site in sites],
        "the sites add up to it": np.allclose(sum(sites), gradient, atol=1e-3),
        "share of each site": [((site * gradient).sum() / jnp.square(gradient).sum()).item() for site in sites],
        "a linear layer that takes the table as its weight": raised(lambda: head(model.embedding(tokens))),
    }


def share_of_sites(outcome):
    """The projection of each site's gradient on the whole: the shares add up to 1."""
    uses = ("encode", "decode")
    names = {"torch": "PyTorch", "linen": "Flax Linen", "nnx": "Flax NNX"}
    shares = {wing: outcome.facts[wing]["share of each site"] for wing in names}
    return [
        (names[wing], [(f"{use} {share:.0%}", share) for use, share in zip(uses, parts, strict=True)])
        for wing, parts in shares.items()
    ]


RECORD = Behaviour(
    id="W11",
    title="One embedding encodes and decodes; in Flax the tie is a transpose",
    statement="A table of 10 tokens by 4 is looked up on the way in and multiplied on the way out: 40 scalars instead "
    "of 80, the same logits and the same summed gradient everywhere. PyTorch shares the table with a Linear; Flax "
    "asks the embedding itself to decode, with attend.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters": names},
    expect={wing: {"scalars": 40, "the sites add up to it": True} for wing in ("torch", "linen", "nnx")},
    reason="A PyTorch Linear stores its weight as (out, in), which is the table's own layout, (tokens, width). A Flax "
    "kernel is (in, out), the table transposed, and neither a name nor a Variable can be shared through a transpose.",
    notes=(
        "Where there are as many tokens as the width, the table is square and the wrong layout passes unseen.",
        "The direction of a PyTorch tie decides the initial values: head.weight = embedding.weight keeps the "
        "embedding's N(0, 1), the reverse keeps the Linear's small uniform draw, and the first loss differs widely.",
    ),
    sources=("S3",),
    figures=(
        Tree("torch", "the head holds the table", lambda: model_in_torch(torch.from_numpy(table_and_tokens()[0]))),
        Tree("linen", "the embedding decodes", lambda: model_in_linen(*table_and_tokens())),
        Tree("nnx", "the embedding decodes", lambda: model_in_nnx(table_and_tokens()[0])),
        Shares(
            "Each site's share of the table's gradient",
            share_of_sites,
            "The share is the projection of a site's gradient on the whole one, so that both add up to it.",
        ),
    ),
)
