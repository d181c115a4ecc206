"""The migration table as data: for each layer what it is called on each side, and what its settings become.

Names, shapes, layouts and default initializers are the layer's own (`parameters`, `native_of`); an entry adds the
classes, the settings and the traps. docs/layers.md and `paritree layers` are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import layers as spec
from .errors import UsageError, nearest
from .layer import Layer


@dataclass(frozen=True)
class Setting:
    """A setting of PyTorch's class, of ours where it has another name, and of Flax's.

    flax: empty where Flax has none. how: what becomes of the value, empty where it stays.
    """

    torch: str
    flax: str
    how: str = ""


@dataclass(frozen=True)
class Entry:
    """One layer of the migration table.

    example: the layer with sizes that tell its axes apart.
    torch, linen, nnx: the class of each framework; empty where the wing has only a module of its own.
    note: what a reader should know besides.
    """

    example: Layer
    torch: str
    linen: str
    nnx: str
    settings: tuple[Setting, ...] = ()
    traps: tuple[int, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        """The layer's word."""
        return self.example.kind


_FAST = Setting("", "use_fast_variance", "always False: PyTorch subtracts the mean first")
_AFFINE = Setting("elementwise_affine", "use_scale, use_bias")
_CHANNEL_AFFINE = Setting("affine", "use_scale, use_bias")
_EPS = Setting("eps", "epsilon", "Flax's default is 1e-6")
_CHANNELS = "Arrays are (batch, channels, ...) in every wing; the Flax wings move the channels to the end and back."

_CONVOLUTION = (
    Setting("in_channels", "in_features", "Linen takes it from its input"),
    Setting("out_channels", "out_features", "`features` in Linen"),
    Setting("kernel_size", "kernel_size", "as a tuple"),
    Setting("stride", "strides"),
    Setting("padding", "padding", "as pairs (p, p); Flax's default is 'SAME'"),
    Setting("dilation", "kernel_dilation"),
    Setting("groups", "feature_group_count"),
    Setting("bias", "use_bias"),
    Setting("padding_mode", "padding", "the wing fills the border itself and gives Flax 0"),
)
_TRANSPOSED = (
    Setting("in_channels", "in_features", "Linen takes it from its input"),
    Setting("out_channels", "out_features", "`features` in Linen"),
    Setting("kernel_size", "kernel_size", "as a tuple"),
    Setting("stride", "strides"),
    Setting("padding", "padding", "d(k - 1) - p on each side, output_padding more at the end"),
    Setting("output_padding", "padding", "added at the end"),
    Setting("dilation", "kernel_dilation"),
    Setting("groups", "", "Flax's class has none: the wings have one of ours for more than 1"),
    Setting("bias", "use_bias"),
    Setting("", "transpose_kernel", "always True: the kernel is then (..., out, in)"),
)
_BATCH = (
    Setting("num_features", "num_features", "Linen takes it from its input"),
    Setting("eps", "epsilon", "1e-5 in both"),
    Setting("momentum", "momentum", "1 - momentum; None, the average over all batches, is refused by the Flax wings"),
    _CHANNEL_AFFINE,
    Setting("track_running_stats", "", "False is a LayerNorm over the batch in the Flax wings"),
    _FAST,
)
_INSTANCE = (
    Setting("num_features", "num_features", "Linen takes it from its input"),
    _EPS,
    _CHANNEL_AFFINE,
    Setting("momentum, track_running_stats", "", "Flax has no running statistics: True is refused by the Flax wings"),
    _FAST,
)
_RECURRENT = (
    Setting("input_size, hidden_size", "in_features, hidden_features", "of a cell"),
    Setting("num_layers, bidirectional", "", "Flax has cells: a stack of nnx.RNN or nnx.Bidirectional"),
    Setting("bias", "", "two biases; Flax's cells have one, their sum"),
    Setting("dropout", "", "between layers"),
    Setting("batch_first", "time_major", "always True and False: (batch, time, width)"),
)
_POOL = (
    Setting("kernel_size", "window_shape"),
    Setting("stride", "strides", "kernel_size by default in PyTorch, 1 in Flax"),
    Setting("padding", "padding", "as pairs (p, p)"),
)
_BIASES = (
    "Flax has cells, with one bias where PyTorch has two. The Flax wings have a module of ours that holds both: with "
    "the sum a training step would move it once where PyTorch moves both."
)
_RUNNING = (11, 12, 13, 16)


_ALL = (
    Entry(
        spec.Linear(4, 8),
        "torch.nn.Linear",
        "flax.linen.Dense",
        "flax.nnx.Linear",
        (
            Setting("in_features", "in_features", "Linen takes it from its input"),
            Setting("out_features", "out_features", "`features` in Linen"),
            Setting("bias", "use_bias"),
        ),
        (1, 23),
    ),
    Entry(
        spec.TransposedLinear(4, 8),
        "transformers.pytorch_utils.Conv1D",
        "flax.linen.Dense",
        "flax.nnx.Linear",
        (
            Setting("nx, nf", "in_features, out_features", "in Conv1D in the other order: nf, nx"),
            Setting("", "use_bias", "Conv1D always has one"),
        ),
        (1,),
        "GPT-2's Conv1D stores (in, out), as Flax does: nothing is transposed on the way.",
    ),
    Entry(
        spec.Embedding(9, 4),
        "torch.nn.Embedding",
        "flax.linen.Embed",
        "flax.nnx.Embed",
        (
            Setting("num_embeddings, embedding_dim", "num_embeddings, features"),
            Setting("padding_idx", "", "the wings stop the gradient of that row"),
            Setting("max_norm, scale_grad_by_freq, sparse", "", "not in the spec"),
        ),
        (19, 24, 33),
    ),
    *(
        Entry(
            getattr(spec, f"Conv{n}d")(4, 6, kernel),
            f"torch.nn.Conv{n}d",
            "flax.linen.Conv",
            "flax.nnx.Conv",
            _CONVOLUTION,
            (2, 4, 5),
            _CHANNELS,
        )
        for n, kernel in ((1, 3), (2, (3, 5)), (3, (3, 5, 7)))
    ),
    *(
        Entry(
            getattr(spec, f"ConvTranspose{n}d")(4, 6, kernel),
            f"torch.nn.ConvTranspose{n}d",
            "flax.linen.ConvTranspose",
            "flax.nnx.ConvTranspose",
            _TRANSPOSED,
            (3, 25),
            _CHANNELS,
        )
        for n, kernel in ((1, 3), (2, (3, 5)), (3, (3, 5, 7)))
    ),
    Entry(
        spec.LayerNorm(8),
        "torch.nn.LayerNorm",
        "flax.linen.LayerNorm",
        "flax.nnx.LayerNorm",
        (Setting("normalized_shape", "reduction_axes, feature_axes", "the last axes, by number"), _EPS, _AFFINE, _FAST),
        (14, 16),
    ),
    Entry(
        spec.RMSNorm(8),
        "torch.nn.RMSNorm",
        "flax.linen.RMSNorm",
        "flax.nnx.RMSNorm",
        (
            Setting("normalized_shape", "reduction_axes, feature_axes", "the last axes, by number"),
            Setting("eps", "epsilon", "None is the machine epsilon; Flax's default is 1e-6"),
            Setting("elementwise_affine", "use_scale"),
            Setting("", "use_fast_variance", "no matter: no mean is subtracted"),
        ),
        (15, 22),
    ),
    Entry(
        spec.GroupNorm(2, 6),
        "torch.nn.GroupNorm",
        "flax.linen.GroupNorm",
        "flax.nnx.GroupNorm",
        (Setting("num_groups, num_channels", "num_groups", "`num_features` in NNX"), _EPS, _CHANNEL_AFFINE, _FAST),
        (14, 16),
        _CHANNELS,
    ),
    *(
        Entry(
            getattr(spec, f"InstanceNorm{n}d")(4, affine=True),
            f"torch.nn.InstanceNorm{n}d",
            "flax.linen.InstanceNorm",
            "flax.nnx.InstanceNorm",
            _INSTANCE,
            (14, 16),
            _CHANNELS,
        )
        for n in (1, 2, 3)
    ),
    *(
        Entry(
            getattr(spec, f"BatchNorm{n}d")(4),
            f"torch.nn.BatchNorm{n}d",
            "flax.linen.BatchNorm",
            "flax.nnx.BatchNorm",
            _BATCH,
            _RUNNING,
            _CHANNELS,
        )
        for n in (1, 2, 3)
    ),
    Entry(
        spec.MultiheadAttention(8, 2),
        "torch.nn.MultiheadAttention",
        "flax.linen.MultiHeadDotProductAttention",
        "flax.nnx.MultiHeadAttention",
        (
            Setting("embed_dim", "qkv_features", "`in_features` besides in NNX"),
            Setting("num_heads", "num_heads"),
            Setting("bias", "use_bias"),
            Setting("dropout", "dropout_rate", "with broadcast_dropout=False"),
            Setting("kdim, vdim", "in_kv_features", "in NNX one width for both"),
            Setting("attn_mask, key_padding_mask", "mask", "inverted: True attends in the spec, as in Flax"),
        ),
        (6, 7, 8, 26),
    ),
    Entry(spec.RNN(4, 3), "torch.nn.RNN", "", "", _RECURRENT, (9, 27), _BIASES),
    Entry(spec.LSTM(4, 3), "torch.nn.LSTM", "", "", _RECURRENT, (9, 27), _BIASES),
    Entry(
        spec.GRU(4, 3),
        "torch.nn.GRU",
        "",
        "",
        _RECURRENT,
        (9, 10, 27),
        f"{_BIASES} nnx.GRUCell has no bias_hh in the gate n and cannot be PyTorch's GRU; linen.GRUCell can.",
    ),
    Entry(
        spec.PReLU(),
        "torch.nn.PReLU",
        "flax.linen.PReLU",
        "flax.nnx.PReLU",
        (
            Setting("num_parameters", "", "Flax's class has one slope; several are a subclass in the wings"),
            Setting("init", "negative_slope_init", "Flax's default is 0.01"),
        ),
        (18,),
    ),
    *(
        Entry(
            getattr(spec, f"{how}Pool{n}d")(2),
            f"torch.nn.{how}Pool{n}d",
            f"flax.linen.{how.lower()}_pool",
            f"flax.nnx.{how.lower()}_pool",
            _POOL,
            (),
            _CHANNELS,
        )
        for how in ("Max", "Avg")
        for n in (1, 2, 3)
    ),
    *(
        Entry(
            getattr(spec, f"Adaptive{how}Pool{n}d")(2),
            f"torch.nn.Adaptive{how}Pool{n}d",
            "",
            "",
            (Setting("output_size", "", "Flax has none; the wings take a window for each place"),),
            (),
            _CHANNELS,
        )
        for how in ("Avg", "Max")
        for n in (1, 2, 3)
    ),
    Entry(
        spec.GELU(),
        "torch.nn.GELU",
        "jax.nn.gelu",
        "jax.nn.gelu",
        (Setting("approximate", "approximate", "'tanh' is True; JAX's default is True, PyTorch's 'none'"),),
        (17,),
    ),
    Entry(
        spec.Dropout(0.1),
        "torch.nn.Dropout",
        "flax.linen.Dropout",
        "flax.nnx.Dropout",
        (Setting("p", "rate"), Setting("training", "deterministic", "inverted")),
        (8,),
    ),
    Entry(spec.Flatten(), "torch.nn.Flatten", "", "", (), (5,), "PyTorch's order of the columns, in every wing."),
)

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ALL}


def entry(name: str) -> Entry:
    """The entry of that name; raises UsageError naming the nearest one."""
    by_lower = {known.lower(): known for known in ENTRIES}
    if name.lower() not in by_lower:
        raise UsageError(name, "the name of a layer", "none of that name", nearest(name, ENTRIES))
    return ENTRIES[by_lower[name.lower()]]
