"""Attention in several heads."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import skip_init

from ...common import layers as spec
from ...common.layers import Word
from .at import At, Makers


class MultiheadAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention with the batch first, a mask that is True where a query may attend, and one output."""

    def forward(  # type: ignore[override]
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        # One tensor in all three places and no gradient is PyTorch's fast path, which gives NaN where a query may
        # attend to nothing. A view is another object.
        key = query.view_as(query) if key is None else key.view_as(key)
        value = key if value is None else value
        blocked = None if mask is None else self._blocked(mask, query, key)
        return super().forward(query, key, value, attn_mask=blocked, need_weights=False)[0]

    def _blocked(self, mask: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """The mask as PyTorch has it: True where a query may not attend, for each sample's heads in turn."""
        whole = (mask == 0).expand(query.shape[0], query.shape[1], key.shape[1])
        return whole.repeat_interleave(self.num_heads, dim=0)


def attention(layer: spec.MultiheadAttention, at: At) -> nn.Module:
    """nn.MultiheadAttention, as it is here."""
    return skip_init(
        MultiheadAttention,
        layer.features,
        layer.heads,
        dropout=layer.dropout,
        bias=layer.bias,
        kdim=layer.kdim,
        vdim=layer.vdim,
        batch_first=True,
        **at.placement,
    )


MAKERS: Makers = {spec.MultiheadAttention: attention}
KINDS: dict[type, Word] = {nn.MultiheadAttention: "MultiheadAttention"}
