"""Cases of attention: one, three and four inputs, masks of each shape, with and without biases, packed and not."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import linen, nnx
from torch import nn

from paritree.common.layers.attention import MultiheadAttention
from paritree.common.spec import Block

from .case import Case

BATCH, TIME, LENGTH, WIDTH = 2, 5, 8, 8


def sequence(length: int, width: int = WIDTH) -> np.ndarray:
    """(batch, length, width), different for each length and width."""
    return np.random.default_rng((length, width)).normal(size=(BATCH, length, width)).astype(np.float32)


def mask(queries: int, keys: int, *, blocked: bool = False) -> np.ndarray:
    """(batch, queries, keys), True where a query may attend: somewhere, unless the second is `blocked`."""
    allowed = np.random.default_rng(queries).random((BATCH, queries, keys)) < 0.6
    allowed[:, :, 0] = True
    if blocked:
        allowed[0, 1] = False
    return allowed


def attended(module: Any, query: Any, key: Any = None, value: Any = None, mask: Any = None) -> Any:
    """What a module of PyTorch's gives for inputs as ours takes them."""
    key = query if key is None else key
    value = key if value is None else value
    blocked = None if mask is None else (mask == 0).expand(len(query), query.shape[1], key.shape[1])
    blocked = None if blocked is None else blocked.repeat_interleave(module.num_heads, 0)
    # Another object than the key: with one, and no gradient, PyTorch's fast path gives NaN where all is blocked.
    return module(query.view_as(query), key, value, attn_mask=blocked, need_weights=False)[0]


def stock(heads: int, **settings: Any) -> nn.Module:
    return nn.MultiheadAttention(WIDTH, heads, batch_first=True, **settings)


QUERY, KEY, VALUE = sequence(TIME), sequence(LENGTH), sequence(LENGTH) + 1
# A length that is also the width: what has the shape of a mask is still a value.
CROSS = (QUERY, KEY, VALUE)
MASKED_SELF = Block(
    {"attention": MultiheadAttention(WIDTH, 2)},
    forward="""
    def forward(x, mask):
        return attention(x, None, None, mask)
    """,
)

CASES = (
    Case(
        "MultiheadAttention",
        MultiheadAttention(WIDTH, 2),
        (QUERY,),
        lambda: stock(2),
        attended,
        linen=lambda: linen.MultiHeadDotProductAttention(2),
        nnx=lambda rngs: nnx.MultiHeadAttention(2, WIDTH, decode=False, rngs=rngs),
    ),
    Case(
        "MultiheadAttention-no-bias",
        MultiheadAttention(WIDTH, 4, bias=False),
        CROSS,
        lambda: stock(4, bias=False),
        attended,
        linen=lambda: linen.MultiHeadAttention(4, use_bias=False, out_features=WIDTH),
        nnx=lambda rngs: nnx.MultiHeadAttention(4, WIDTH, use_bias=False, decode=False, rngs=rngs),
        flax_inputs=lambda inputs: inputs[:1],
    ),
    Case("MultiheadAttention-one-head", MultiheadAttention(WIDTH, 1), (QUERY, KEY), lambda: stock(1), attended),
    Case("MultiheadAttention-head-each", MultiheadAttention(WIDTH, WIDTH), CROSS, lambda: stock(WIDTH), attended),
    Case(
        "MultiheadAttention-mask",
        MultiheadAttention(WIDTH, 2),
        (*CROSS, mask(TIME, LENGTH)),
        lambda: stock(2),
        attended,
    ),
    Case(
        "MultiheadAttention-blocked",
        MultiheadAttention(WIDTH, 2),
        (*CROSS, mask(TIME, LENGTH, blocked=True)),
        lambda: stock(2),
        attended,
    ),
    Case(
        "MultiheadAttention-one-mask",
        MultiheadAttention(WIDTH, 2),
        (*CROSS, mask(TIME, LENGTH)[0]),
        lambda: stock(2),
        attended,
    ),
    Case(
        "MultiheadAttention-mask-of-keys",
        MultiheadAttention(WIDTH, 2),
        (*CROSS, mask(1, LENGTH).astype(np.int32)),
        lambda: stock(2),
        attended,
    ),
    Case(
        "MultiheadAttention-self-blocked",
        MASKED_SELF,
        (QUERY, mask(TIME, TIME, blocked=True)),
        lambda: nn.ModuleDict({"attention": stock(2)}),
        lambda module, x, mask: attended(module["attention"], x, mask=mask),
    ),
    Case(
        "MultiheadAttention-kdim-vdim",
        MultiheadAttention(WIDTH, 2, kdim=4, vdim=6),
        (QUERY, sequence(LENGTH, 4), sequence(LENGTH, 6), mask(TIME, LENGTH)),
        lambda: stock(2, kdim=4, vdim=6),
        attended,
    ),
    Case(
        "MultiheadAttention-kdim",
        MultiheadAttention(WIDTH, 2, kdim=4, vdim=4, bias=False),
        (QUERY, sequence(LENGTH, 4)),
        lambda: stock(2, kdim=4, vdim=4, bias=False),
        attended,
        linen=lambda: linen.MultiHeadDotProductAttention(2, qkv_features=WIDTH, use_bias=False),
        nnx=lambda rngs: nnx.MultiHeadAttention(2, WIDTH, in_kv_features=4, use_bias=False, decode=False, rngs=rngs),
    ),
)
