"""The migration table as data: for each layer what it is called on each side, and what its settings become.

Names, shapes, layouts and default initializers are the layer's own (`parameters`, `native_of`); an entry adds the
classes, the settings and the traps. docs/layers.md and `paritree layers` are made from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..common import layers as spec
from ..common.errors import UsageError, nearest
from ..common.initializers import Normal, Zeros
from ..common.spec import Layer, ParameterSpec, Tied


@dataclass(frozen=True)
class LayerSetting:
    """A setting of PyTorch's class and what it is in Flax's.

    torch: empty for a setting of Flax's alone. flax: empty where Flax has none. how: what becomes of the value, empty
        where it stays. "not in the spec", where the layer has no such setting, comes with what to do instead.
    """

    torch: str
    flax: str
    how: str = ""


@dataclass(frozen=True)
class Entry:
    """One layer of the migration table.

    example: the layer with sizes that tell its axes apart.
    torch, linen, nnx: the class or function of each framework; empty where the wing has only a module of its own.
    note: what a reader should know besides.
    owner: of a layer whose weight is another one's, the layer that it is tied to in the example.
    """

    example: Layer
    torch: str
    linen: str
    nnx: str
    settings: tuple[LayerSetting, ...] = ()
    traps: tuple[int, ...] = ()
    note: str = ""
    owner: Layer | None = None

    @property
    def name(self) -> str:
        """The layer's word."""
        return self.example.kind

    def parameters(self) -> tuple[ParameterSpec, ...]:
        """What PyTorch lists under the layer's path; of a tied layer its owner's weight, too, if it is listed twice."""
        if self.owner is None or not isinstance(self.example, Tied):
            return self.example.parameters()
        owned = {each.name: each.initializer for each in self.owner.parameters() if each.name in self.example.aliases}
        held = self.example.tied_to(self.owner, "").parameters()
        return tuple(
            replace(each, initializer=owned.get(each.name, each.initializer))
            for each in held
            if self.example.native_of(each.name) is not None
        )


_FAST = LayerSetting("", "use_fast_variance", "always False: PyTorch subtracts the mean first")
_INPLACE = LayerSetting("inplace", "", "not in the spec: no layer changes its input; drop it")
_AFFINE_BIAS = LayerSetting("bias", "use_bias", "only with the scale")
_AFFINE = LayerSetting("elementwise_affine", "use_scale, use_bias")
_CHANNEL_AFFINE = LayerSetting("affine", "use_scale, use_bias")
_EPS = LayerSetting("eps", "epsilon", "Flax's default is 1e-6")
_CHANNELS = "Arrays are (batch, channels, ...) in every wing; the Flax wings move the channels to the end and back."

_CONVOLUTION = (
    LayerSetting("in_channels", "in_features", "Linen takes it from its input"),
    LayerSetting("out_channels", "out_features", "`features` in Linen"),
    LayerSetting("kernel_size", "kernel_size", "as a tuple"),
    LayerSetting("stride", "strides"),
    LayerSetting("padding", "padding", "as pairs (p, p); Flax's default is 'SAME'"),
    LayerSetting("dilation", "kernel_dilation"),
    LayerSetting("groups", "feature_group_count"),
    LayerSetting("bias", "use_bias"),
    LayerSetting("padding_mode", "padding", "the wing fills the border itself and gives Flax 0"),
)
_TRANSPOSED = (
    LayerSetting("in_channels", "in_features", "Linen takes it from its input"),
    LayerSetting("out_channels", "out_features", "`features` in Linen"),
    LayerSetting("kernel_size", "kernel_size", "as a tuple"),
    LayerSetting("stride", "strides"),
    LayerSetting("padding", "padding", "d(k - 1) - p on each side, output_padding more at the end"),
    LayerSetting("output_padding", "padding", "added at the end"),
    LayerSetting("dilation", "kernel_dilation"),
    LayerSetting("padding_mode", "", "not in the spec: PyTorch takes no other than 'zeros'"),
    LayerSetting("groups", "", "Flax's class has none: the wings have one of ours for more than 1"),
    LayerSetting("bias", "use_bias"),
    LayerSetting("", "transpose_kernel", "always True: the kernel is then (..., out, in)"),
)
_BATCH = (
    LayerSetting("num_features", "num_features", "Linen takes it from its input"),
    LayerSetting("eps", "epsilon", "1e-5 in both"),
    LayerSetting(
        "momentum", "momentum", "1 - momentum; None, the average over all batches, is refused by the Flax wings"
    ),
    _CHANNEL_AFFINE,
    _AFFINE_BIAS,
    LayerSetting("track_running_stats", "", "False is a LayerNorm over the batch in the Flax wings"),
    _FAST,
)
_INSTANCE = (
    LayerSetting("num_features", "num_features", "Linen takes it from its input"),
    _EPS,
    _CHANNEL_AFFINE,
    _AFFINE_BIAS,
    LayerSetting(
        "momentum, track_running_stats", "", "Flax has no running statistics: True is refused by the Flax wings"
    ),
    _FAST,
)
_RECURRENT = (
    LayerSetting("input_size, hidden_size", "in_features, hidden_features", "of a cell"),
    LayerSetting("num_layers, bidirectional", "", "Flax has cells: a stack of nnx.RNN or nnx.Bidirectional"),
    LayerSetting("bias", "", "two biases; Flax's cells have one, their sum"),
    LayerSetting("dropout", "", "between layers"),
    LayerSetting("batch_first", "time_major", "always True and False: (batch, time, width)"),
)
_PROJECTION = LayerSetting("proj_size", "", "not in the spec of this one: it is LSTM's alone, in PyTorch, too")
_POOL = (
    LayerSetting("kernel_size", "window_shape"),
    LayerSetting("stride", "strides", "kernel_size by default in PyTorch, 1 in Flax"),
    LayerSetting("padding", "padding", "as pairs (p, p)"),
    LayerSetting("ceil_mode", "", "the wings pad the end"),
)
_INDICES = LayerSetting("return_indices", "", "not in the spec: the layer gives the values alone; drop it")
_MAX_POOL = (*_POOL, LayerSetting("dilation", "", "the wings gather the entries of each window"), _INDICES)
_AVG_POOL = (*_POOL, LayerSetting("count_include_pad", "count_include_pad"))
_DIVISOR = LayerSetting(
    "divisor_override",
    "",
    "not in the spec: where all windows count alike, multiply the output by their size and divide it by this",
)
_WINDOWS = f"{_CHANNELS} These reduce the windows themselves: Flax's function has not all settings."
_DIM = LayerSetting("dim", "axis", "`axis` in the spec, -1 by default")
_NO_DIM = "PyTorch's default of None depends on the number of axes, and warns."
_BIASES = (
    "Flax has cells, with one bias where PyTorch has two. The Flax wings have a module of ours that holds both: with "
    "the sum a training step would move it once where PyTorch moves both."
)
_RUNNING = (11, 12, 13, 16)
_KINK = "The Flax wings have a function of ours, since JAX's has another derivative at a kink"


def _function(example: Layer, jax: str, *settings: LayerSetting, traps: tuple[int, ...] = (), note: str = "") -> Entry:
    """An activation, which is a class in PyTorch and one function for both Flax wings."""
    return Entry(example, f"torch.nn.{example.kind}", jax, jax, settings, traps, note)


_ENTRYWISE = (
    _function(
        spec.GELU(),
        "jax.nn.gelu",
        LayerSetting("approximate", "approximate", "'tanh' is True; JAX's default is True, PyTorch's 'none'"),
        traps=(17,),
    ),
    _function(spec.ReLU(), "jax.nn.relu", _INPLACE),
    _function(spec.ReLU6(), "jax.nn.relu6", _INPLACE),
    _function(
        spec.LeakyReLU(),
        "jax.nn.leaky_relu",
        LayerSetting("negative_slope", "negative_slope", "`slope` in the spec"),
        _INPLACE,
        note=f"{_KINK}: at 0 it is 1, in PyTorch the slope.",
    ),
    _function(spec.ELU(), "jax.nn.elu", LayerSetting("alpha", "alpha"), _INPLACE),
    _function(spec.SELU(), "jax.nn.selu", _INPLACE),
    _function(spec.CELU(), "jax.nn.celu", LayerSetting("alpha", "alpha"), _INPLACE),
    _function(spec.SiLU(), "jax.nn.silu", _INPLACE),
    _function(spec.Mish(), "jax.nn.mish", _INPLACE),
    _function(spec.Hardswish(), "jax.nn.hard_swish", _INPLACE),
    _function(spec.Hardsigmoid(), "jax.nn.hard_sigmoid", _INPLACE),
    _function(
        spec.Hardtanh(),
        "jax.nn.hard_tanh",
        LayerSetting("min_val, max_val", "", "`low`, `high` in the spec; JAX's function always has -1 and 1"),
        LayerSetting("min_value, max_value", "", "older names of the two in PyTorch"),
        _INPLACE,
        note=f"{_KINK}: at both bounds it is 1, in PyTorch 0.",
    ),
    _function(spec.Tanh(), "jax.numpy.tanh"),
    _function(spec.Sigmoid(), "jax.nn.sigmoid"),
    _function(spec.LogSigmoid(), "jax.nn.log_sigmoid"),
    _function(spec.Softsign(), "jax.nn.soft_sign"),
    _function(
        spec.Softplus(),
        "jax.nn.softplus",
        LayerSetting("beta", "", "softplus(beta x) / beta"),
        LayerSetting("threshold", "", "x itself where beta x is above it"),
        note="The Flax wings have a function of ours around JAX's, which has neither setting.",
    ),
)

_ALONG_AN_AXIS = (
    _function(spec.Softmax(), "jax.nn.softmax", _DIM, note=_NO_DIM),
    _function(spec.LogSoftmax(), "jax.nn.log_softmax", _DIM, note=_NO_DIM),
    _function(spec.GLU(), "jax.nn.glu", _DIM),
)


def _ours(example: Layer, note: str, *traps: int, owner: Layer | None = None) -> Entry:
    """A layer that no framework has as a class."""
    return Entry(example, "", "", "", (), traps, note, owner)


_TIED_AND_BARE = (
    Entry(
        spec.Decoder("tokens", bias=True),
        "torch.nn.Linear",
        "flax.linen.Embed",
        "flax.nnx.Embed",
        (
            LayerSetting("in_features, out_features", "features, num_embeddings", "those of the Embedding"),
            LayerSetting("bias", "", "the wings add it: a new one, or the one at a path"),
        ),
        (33, 39),
        "The weight is the Embedding's: PyTorch ties it, the Flax wings read it as it lies, as `attend` does.",
        spec.Embedding(9, 4),
    ),
    _ours(
        spec.Transposed("encoder"),
        "The weight is that of the Linear at the path, read the other way, and is listed there only.",
        39,
        owner=spec.Linear(4, 8),
    ),
    _ours(
        spec.FixedLinear(4, 8),
        "A weight that is not trained: a buffer in PyTorch, in Linen in the collection `buffers`.",
        1,
    ),
    _ours(
        spec.Parameter((1, 4), Normal()),
        "A module that is one array: `torch.nn.Parameter`, `self.param` in Linen, `nnx.Param`.",
    ),
    _ours(
        spec.Buffer((4,), Zeros()),
        "A module that is one array: a buffer in PyTorch, in Linen the collection `buffers`, in NNX a Variable.",
    ),
)

_OPERATIONS = (
    Entry(spec.Identity(), "torch.nn.Identity", "", "", note="PyTorch's class ignores whatever it is made with."),
    _ours(
        spec.AttentionWeights(4),
        "softmax(q k^T / sqrt(d)) of heads that lie one behind the other; True in a mask attends.",
    ),
    _ours(spec.WeightedValues(4), "The weights of AttentionWeights times the values, the heads merged again."),
    _ours(
        spec.Attention(4),
        "AttentionWeights and WeightedValues in one. A row that is all masked attends to all alike; it is 0 in "
        "`torch.nn.functional.scaled_dot_product_attention`.",
    ),
    _ours(spec.RotaryAngles(), "The angles of rotary embeddings: places times frequencies, which are a Buffer."),
    _ours(spec.Rotary(), "Turns each head by the angles, in Llama's form: halves are paired, and not neighbours."),
    _ours(spec.RelativeBuckets(), "T5's buckets of distances, for an Embedding: a constant of the program."),
    _ours(spec.Positions(), "`arange` over axis 1 as (1, T), for an Embedding of positions."),
    _ours(spec.Prefix(), "The first places of a table, as many as axis 1 of a second input has: `table[:, :T]`."),
    _ours(spec.Split(3), "`torch.chunk` and `jnp.split` on the last axis, into parts of equal width."),
    _ours(spec.Concatenate(1), "`torch.cat` and `jnp.concatenate`; a batch axis of length 1 is stretched first."),
    _ours(spec.Take(0), "`x.select(axis, index)`; an index that is not there is an error, where JAX's x[i] clamps."),
    _ours(spec.Rearrange("b c h w -> b (h w) c"), "einops' `rearrange`, on the arrays of each framework."),
    _ours(spec.Halve(1.0), "A loop on values: `while` in PyTorch, `jax.lax.while_loop` in JAX."),
    _ours(spec.Sum(), "`x.sum()`, the batch included."),
)


_ALL = (
    Entry(
        spec.Linear(4, 8),
        "torch.nn.Linear",
        "flax.linen.Dense",
        "flax.nnx.Linear",
        (
            LayerSetting("in_features", "in_features", "Linen takes it from its input"),
            LayerSetting("out_features", "out_features", "`features` in Linen"),
            LayerSetting("bias", "use_bias"),
        ),
        (1, 23),
    ),
    Entry(
        spec.TransposedLinear(4, 8),
        "transformers.pytorch_utils.Conv1D",
        "flax.linen.Dense",
        "flax.nnx.Linear",
        (
            LayerSetting("nx, nf", "in_features, out_features", "in Conv1D in the other order: nf, nx"),
            LayerSetting("", "use_bias", "Conv1D always has one"),
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
            LayerSetting("num_embeddings, embedding_dim", "num_embeddings, features"),
            LayerSetting("padding_idx", "", "the wings stop the gradient of that row"),
            LayerSetting("max_norm, norm_type", "", "not in the spec: scale the rows in the training step"),
            LayerSetting("scale_grad_by_freq", "", "not in the spec: scale the gradient in the training step"),
            LayerSetting("sparse", "", "not in the spec: every gradient is dense; drop it"),
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
        (
            LayerSetting("normalized_shape", "reduction_axes, feature_axes", "the last axes, by number"),
            _EPS,
            _AFFINE,
            _AFFINE_BIAS,
            _FAST,
        ),
        (14, 16),
    ),
    Entry(
        spec.RMSNorm(8),
        "torch.nn.RMSNorm",
        "flax.linen.RMSNorm",
        "flax.nnx.RMSNorm",
        (
            LayerSetting("normalized_shape", "reduction_axes, feature_axes", "the last axes, by number"),
            LayerSetting("eps", "epsilon", "None is the machine epsilon; Flax's default is 1e-6"),
            LayerSetting("elementwise_affine", "use_scale"),
            LayerSetting("", "use_fast_variance", "no matter: no mean is subtracted"),
        ),
        (15, 22),
    ),
    Entry(
        spec.GroupNorm(2, 6),
        "torch.nn.GroupNorm",
        "flax.linen.GroupNorm",
        "flax.nnx.GroupNorm",
        (
            LayerSetting("num_groups, num_channels", "num_groups", "`num_features` in NNX"),
            _EPS,
            _CHANNEL_AFFINE,
            _AFFINE_BIAS,
            _FAST,
        ),
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
            LayerSetting("embed_dim", "qkv_features", "`in_features` besides in NNX"),
            LayerSetting("num_heads", "num_heads"),
            LayerSetting("bias", "use_bias"),
            LayerSetting("dropout", "dropout_rate", "with broadcast_dropout=False"),
            LayerSetting("kdim, vdim", "in_kv_features", "in NNX one width for both"),
            LayerSetting("add_bias_kv", "", "not in the spec: write a Block with Parameter, Concatenate and Attention"),
            LayerSetting("add_zero_attn", "", "not in the spec: write a Block with Buffer, Concatenate and Attention"),
            LayerSetting("batch_first", "", "always True: (batch, time, width)"),
            LayerSetting("attn_mask, key_padding_mask", "mask", "inverted: True attends in the spec, as in Flax"),
        ),
        (6, 7, 8, 26),
    ),
    Entry(
        spec.RNN(4, 3),
        "torch.nn.RNN",
        "",
        "",
        (*_RECURRENT, LayerSetting("nonlinearity", "activation_fn", "of a SimpleCell"), _PROJECTION),
        (9, 27),
        _BIASES,
    ),
    Entry(
        spec.LSTM(4, 3),
        "torch.nn.LSTM",
        "",
        "",
        (*_RECURRENT, LayerSetting("proj_size", "", "Flax's cells have none; the wings' module has")),
        (9, 27),
        _BIASES,
    ),
    Entry(
        spec.GRU(4, 3),
        "torch.nn.GRU",
        "",
        "",
        (*_RECURRENT, _PROJECTION),
        (9, 10, 27),
        f"{_BIASES} nnx.GRUCell has no bias_hh in the gate n and cannot be PyTorch's GRU; linen.GRUCell can.",
    ),
    Entry(
        spec.PReLU(),
        "torch.nn.PReLU",
        "flax.linen.PReLU",
        "flax.nnx.PReLU",
        (
            LayerSetting("num_parameters", "", "Flax's class has one slope; several are a subclass in the wings"),
            LayerSetting("init", "negative_slope_init", "Flax's default is 0.01"),
        ),
        (18,),
    ),
    *(
        Entry(
            getattr(spec, f"MaxPool{n}d")(2),
            f"torch.nn.MaxPool{n}d",
            "flax.linen.max_pool",
            "flax.nnx.max_pool",
            _MAX_POOL,
            (),
            _WINDOWS,
        )
        for n in (1, 2, 3)
    ),
    *(
        Entry(
            getattr(spec, f"AvgPool{n}d")(2),
            f"torch.nn.AvgPool{n}d",
            "flax.linen.avg_pool",
            "flax.nnx.avg_pool",
            _AVG_POOL if n == 1 else (*_AVG_POOL, _DIVISOR),
            (),
            _WINDOWS,
        )
        for n in (1, 2, 3)
    ),
    *(
        Entry(
            getattr(spec, f"Adaptive{how}Pool{n}d")(2),
            f"torch.nn.Adaptive{how}Pool{n}d",
            "",
            "",
            (
                LayerSetting("output_size", "", "Flax has none; the wings take a window for each place"),
                *([_INDICES] if how == "Max" else []),
            ),
            (),
            _CHANNELS,
        )
        for how in ("Avg", "Max")
        for n in (1, 2, 3)
    ),
    Entry(
        spec.Dropout(0.1),
        "torch.nn.Dropout",
        "flax.linen.Dropout",
        "flax.nnx.Dropout",
        (LayerSetting("p", "rate"), LayerSetting("training", "deterministic", "inverted"), _INPLACE),
        (8,),
    ),
    *_ENTRYWISE,
    *_ALONG_AN_AXIS,
    Entry(
        spec.Flatten(),
        "torch.nn.Flatten",
        "",
        "",
        (LayerSetting("start_dim, end_dim", "", "always 1 and -1; a Rearrange merges other axes"),),
        (5,),
        "PyTorch's order of the columns, in every wing.",
    ),
    *_TIED_AND_BARE,
    *_OPERATIONS,
)

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ALL}


# As the frameworks are usually imported.
_IMPORTED = {"nn": ("torch.nn", "flax.linen", "jax.nn"), "linen": ("flax.linen",), "jnp": ("jax.numpy",)}


def named(name: str) -> tuple[Entry, ...]:
    """The layers that a name means: a layer's own (`Conv2d`, `conv2d`), or that of a class or function of either
    framework (`Dense`, `nnx.Conv`, `nn.LSTMCell`), which may be several.

    Raises:
        UsageError: no such layer and no such class; the message names the nearest one.
    """
    for spelt in (str, str.lower):
        own = tuple(each for each in ENTRIES.values() if spelt(each.name) == spelt(name))
        found = own or tuple(each for each in ENTRIES.values() if _is_of(each, spelt(name), spelt))
        if found:
            return found
    # A layer's own name is the better spelling of a function's.
    known = [*(word for each in ENTRIES.values() for word in _last_words(each)), *ENTRIES]
    by_lower = {each.lower(): each for each in known}
    asked = name.rpartition(".")[2].lower()
    close = difflib.get_close_matches(asked, by_lower, n=1, cutoff=0.5)
    expected = "the name of a layer, or of a class of PyTorch or Flax"
    remedy = nearest(by_lower[close[0]] if close else name, [*ENTRIES, *known])
    raise UsageError(name, expected, "none of that name", remedy)


def _is_of(each: Entry, name: str, spelt: Callable[[str], str]) -> bool:
    """Whether a layer has that class in one of the frameworks, spelt with all, some or none of its modules."""
    module, _, last = name.rpartition(".")
    wanted = [f"{full}.{last}" for full in _IMPORTED.get(module, ())] or [name]
    return any(f".{spelt(known)}".endswith(f".{one}") for known in _classes(each) for one in wanted)


def _classes(each: Entry) -> tuple[str, ...]:
    cells = tuple(f"flax.{name}" for name, cell in spec.CELLS.items() if cell.layer is type(each.example))
    return tuple(filter(None, (each.torch, each.linen, each.nnx))) + cells


def _last_words(each: Entry) -> tuple[str, ...]:
    return tuple(name.rpartition(".")[2] for name in _classes(each))
