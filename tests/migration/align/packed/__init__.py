"""Pairs whose sides pack, split, stack or merge tensors, or store other values; the truth of each is known."""

from __future__ import annotations

from collections.abc import Callable

from flax import linen

from . import convolutions, encoders, faults, projections, recurrent, ties, transforms
from .case import ALIKE as ALIKE
from .case import APART as APART
from .case import Packed as Packed
from .faults import wrong_scale as wrong_scale

PAIRS: dict[str, Callable[[], Packed]] = {
    "attention-linen": lambda: encoders.attention("linen", APART),
    "attention-nnx": lambda: encoders.attention("nnx", APART),
    "attention-alike": lambda: encoders.attention("linen", ALIKE),
    "attention-cross": lambda: encoders.cross_attention(APART),
    "encoder-linen": lambda: encoders.encoder("linen", APART, scanned=False),
    "encoder-linen-alike": lambda: encoders.encoder("linen", ALIKE, scanned=False),
    "encoder-linen-scanned": lambda: encoders.encoder("linen", APART, scanned=True),
    "encoder-linen-scanned-alike": lambda: encoders.encoder("linen", ALIKE, scanned=True),
    "encoder-nnx": lambda: encoders.encoder("nnx", APART, scanned=False),
    "encoder-nnx-scanned": lambda: encoders.encoder("nnx", APART, scanned=True),
    "encoder-nnx-scanned-alike": lambda: encoders.encoder("nnx", ALIKE, scanned=True),
    "lstm-linen": lambda: recurrent.linen_recurrent(linen.LSTMCell),
    "lstm-linen-alike": lambda: recurrent.linen_recurrent(linen.LSTMCell, width=4),
    "lstm-linen-optimized": lambda: recurrent.linen_recurrent(linen.OptimizedLSTMCell),
    "lstm-linen-two-layers": lambda: recurrent.linen_recurrent(linen.LSTMCell, layers=2),
    "lstm-linen-both-ways": lambda: recurrent.linen_recurrent(linen.LSTMCell, both=True),
    "lstm-linen-two-layers-both-ways": lambda: recurrent.linen_recurrent(linen.OptimizedLSTMCell, layers=2, both=True),
    "lstm-nnx": lambda: recurrent.nnx_lstm(optimized=False),
    "lstm-nnx-optimized": lambda: recurrent.nnx_lstm(optimized=True),
    "lstm-nnx-optimized-alike": lambda: recurrent.nnx_lstm(optimized=True, width=4),
    "lstm-concatenated": lambda: recurrent.concatenated_lstm(),
    "gru-linen": lambda: recurrent.linen_recurrent(linen.GRUCell),
    "gru-linen-two-layers": lambda: recurrent.linen_recurrent(linen.GRUCell, layers=2),
    "gru-nnx": lambda: recurrent.nnx_gru(),
    "qkv-contiguous-to-apart": lambda: projections.fused_attention(APART, "(t h d)", "apart"),
    "qkv-contiguous-to-apart-alike": lambda: projections.fused_attention(ALIKE, "(t h d)", "apart"),
    "qkv-interleaved-to-apart": lambda: projections.fused_attention(APART, "(h t d)", "apart"),
    "qkv-interleaved-to-apart-alike": lambda: projections.fused_attention(ALIKE, "(h t d)", "apart"),
    "qkv-apart-to-ethd": lambda: projections.fused_attention(APART, "apart", "e t h d"),
    "qkv-apart-to-tehd": lambda: projections.fused_attention(APART, "apart", "t e h d"),
    "qkv-apart-to-tehd-alike": lambda: projections.fused_attention(ALIKE, "apart", "t e h d"),
    "qkv-apart-to-interleaved": lambda: projections.fused_attention(APART, "apart", "e (h t d)"),
    "qkv-contiguous-to-ethd": lambda: projections.fused_attention(APART, "(t h d)", "e t h d"),
    "qkv-interleaved-to-tehd": lambda: projections.fused_attention(APART, "(h t d)", "t e h d"),
    "qkv-contiguous-to-interleaved": lambda: projections.fused_attention(APART, "(t h d)", "e (h t d)"),
    "grouped-queries": lambda: projections.grouped_attention(12, 6, 3),
    "grouped-queries-alike": lambda: projections.grouped_attention(8, 4, 2),
    "gate-up-contiguous-to-apart": lambda: projections.gated_unit(5, 7, "(t f)", "apart"),
    "gate-up-contiguous-to-apart-alike": lambda: projections.gated_unit(4, 8, "(t f)", "apart"),
    "gate-up-interleaved-to-apart": lambda: projections.gated_unit(5, 7, "(f t)", "apart"),
    "gate-up-interleaved-to-apart-alike": lambda: projections.gated_unit(4, 4, "(f t)", "apart"),
    "gate-up-apart-to-fused": lambda: projections.gated_unit(5, 7, "apart", "e t f"),
    "gate-up-apart-to-interleaved": lambda: projections.gated_unit(5, 7, "apart", "e (f t)"),
    "gate-up-contiguous-to-interleaved": lambda: projections.gated_unit(5, 7, "(t f)", "e (f t)"),
    "stack": lambda: projections.residuals(5, 3),
    "stack-alike": lambda: projections.residuals(3, 3),
    "experts": lambda: projections.experts(5, 7, 3),
    "experts-alike": lambda: projections.experts(4, 12, 4),
    "merged-heads": lambda: projections.merged_heads(APART, 5),
    "merged-heads-alike": lambda: projections.merged_heads(ALIKE, 4),
    "convolutions": lambda: convolutions.network((2, 3, 5, 4), (6, 7), normalized=False),
    "convolutions-alike": lambda: convolutions.network((3, 3, 3, 3), (7, 7), normalized=False),
    "convolutions-normalized": lambda: convolutions.network((2, 3, 5, 4), (6, 7), normalized=True),
    "convolutions-normalized-alike": lambda: convolutions.network((3, 3, 3, 3), (7, 7), normalized=True),
    "transposed-convolution-backwards": lambda: convolutions.autoencoder((3, 5)),
    "patches": lambda: convolutions.patches(3, 11, 4),
    "gains-plus-one-in-the-port": lambda: transforms.norms(6, 10, 0.0, 1.0),
    "gains-plus-one-in-the-reference": lambda: transforms.norms(6, 10, 1.0, 0.0),
    "words-scaled-in-the-port": lambda: transforms.scaled_words(9, 16, tied=False, inside=True),
    "words-scaled-in-the-reference": lambda: transforms.scaled_words(9, 16, tied=False, inside=False),
    "words-scaled-tied": lambda: transforms.scaled_words(9, 16, tied=True, inside=True),
    "words-scaled-by-a-root": lambda: transforms.scaled_words(9, 6, tied=False, inside=True),
    "tied-attention": lambda: ties.tied_attention(9, APART),
    "tied-attention-alike": lambda: ties.tied_attention(12, ALIKE),
    "tied-tree": lambda: ties.tied_tree(9, 5, 7, twice=False),
    "fused-tree": lambda: ties.fused_tree(5, 7),
}

# These are aligned at every run of the tests, the others where `thorough` ones are asked for.
QUICK = (
    "attention-linen",
    "attention-alike",
    "attention-cross",
    "encoder-linen-scanned",
    "encoder-nnx-scanned-alike",
    "lstm-linen-alike",
    "lstm-nnx-optimized",
    "lstm-concatenated",
    "gru-linen",
    "gru-nnx",
    "qkv-contiguous-to-apart-alike",
    "qkv-interleaved-to-apart",
    "qkv-apart-to-tehd",
    "qkv-contiguous-to-interleaved",
    "grouped-queries",
    "gate-up-interleaved-to-apart",
    "gate-up-apart-to-fused",
    "stack-alike",
    "experts-alike",
    "merged-heads",
    "convolutions-alike",
    "convolutions-normalized",
    "gains-plus-one-in-the-port",
    "words-scaled-in-the-reference",
    "words-scaled-tied",
    "tied-attention",
    "tied-tree",
    "fused-tree",
)

# Two arrays that start equal are no tie: outputs agree until one of them is changed.
LOST_TIES = ("a-lost-tie", "a-tie-under-two-keys")
FAULTS: dict[str, Callable[[], Packed]] = {
    "a-lost-tie": faults.lost_tie,
    "a-tie-under-two-keys": faults.tie_under_two_keys,
    "slices-swapped-at-the-second-use": faults.slices_swapped_at_the_second_use,
    "a-slice-used-twice": faults.slice_used_twice,
    "a-layer-used-twice": faults.layer_used_twice,
    "a-wrong-scale-of-unit-queries": faults.wrong_scale_of_unit_queries,
    "no-place-for-a-bias": faults.no_place_for_a_bias,
}
