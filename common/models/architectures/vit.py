"""The vision transformer for image classification, with the names of transformers' `ViTForImageClassification`.

Sources: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words"; `models/vit` of transformers 4.57.6 for the names and
the initial distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...initializers import Initializer, TruncatedNormal, Zeros
from ...layers import (
    AttentionWeights,
    Concatenate,
    Conv2d,
    Dropout,
    Identity,
    LayerNorm,
    Linear,
    Parameter,
    Rearrange,
    Take,
    WeightedValues,
)
from ...spec import Block, Layer, List
from .parts import activation


@dataclass(frozen=True)
class ViTConfig:
    """The fields of transformers' `ViTConfig` that shape the model, at its defaults (a ViT-B/16 with two labels).

    num_labels: 0 for a model without a classifier, which gives the class token.
    image_size, patch_size: in pixels; one number, or (height, width).
    qkv_bias: whether queries, keys and values have biases.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    num_channels: int = 3
    qkv_bias: bool = True
    num_labels: int = 2

    @property
    def num_patches(self) -> int:
        """How many whole patches an image has."""
        (height, width), (tall, wide) = map(_pair, (self.image_size, self.patch_size))
        return (height // tall) * (width // wide)

    @property
    def weight_init(self) -> Initializer:
        """What every weight, the class token and the position embeddings are drawn from; biases are 0."""
        return TruncatedNormal(0.0, self.initializer_range)


def vit(config: ViTConfig) -> Layer:
    """Images (batch, num_channels, height, width) to logits (batch, num_labels), read off the class token."""
    body = Block(
        {
            "embeddings": _embeddings(config),
            "encoder": Block(
                {"layer": List(*(_layer(config) for _ in range(config.num_hidden_layers)))},
                forward="""
                def forward(x):
                    for each in layer:
                        x = each(x)
                    return x
                """,
            ),
            "layernorm": LayerNorm(config.hidden_size, config.layer_norm_eps),
        }
    )
    head = _linear(config, config.num_labels) if config.num_labels else Identity()
    return Block({"vit": body, "class_token": Take(0), "classifier": head})


def _embeddings(config: ViTConfig) -> Layer:
    """The class token in front of the patches, which an image gives row by row, and a position added to each."""
    init, width = config.weight_init, config.hidden_size
    patch = _pair(config.patch_size)
    projection = Conv2d(config.num_channels, width, patch, stride=patch, weight_init=init, bias_init=Zeros())
    return Block(
        {
            "cls_token": Parameter((1, 1, width), init),
            "position_embeddings": Parameter((1, config.num_patches + 1, width), init),
            "patch_embeddings": Block({"projection": projection, "sequence": Rearrange("b c h w -> b (h w) c")}),
            "dropout": Dropout(config.hidden_dropout_prob),
            "concatenate": Concatenate(1),
        },
        forward="""
        def forward(images):
            return dropout(concatenate(cls_token, patch_embeddings(images)) + position_embeddings)
        """,
    )


def _layer(config: ViTConfig) -> Layer:
    """A transformer layer with its norms before attention and feed forward."""
    return Block(
        {
            "attention": Block({"attention": _attention(config), "output": _output(config, config.hidden_size)}),
            "intermediate": Block(
                {"dense": _linear(config, config.intermediate_size), "activation": activation(config.hidden_act)}
            ),
            "output": _output(config, config.intermediate_size),
            "layernorm_before": LayerNorm(config.hidden_size, config.layer_norm_eps),
            "layernorm_after": LayerNorm(config.hidden_size, config.layer_norm_eps),
        },
        forward="""
        def forward(x):
            x = attention(layernorm_before(x)) + x
            return output(intermediate(layernorm_after(x))) + x
        """,
    )


def _attention(config: ViTConfig) -> Layer:
    return Block(
        {
            "query": _linear(config, config.hidden_size, bias=config.qkv_bias),
            "key": _linear(config, config.hidden_size, bias=config.qkv_bias),
            "value": _linear(config, config.hidden_size, bias=config.qkv_bias),
            "weights": AttentionWeights(config.num_attention_heads),
            "dropout": Dropout(config.attention_probs_dropout_prob),
            "values": WeightedValues(config.num_attention_heads),
        },
        forward="""
        def forward(x):
            return values(dropout(weights(query(x), key(x))), value(x))
        """,
    )


def _output(config: ViTConfig, width: int) -> Layer:
    """Back to the hidden width; the residual is added by the layer around it."""
    dense = Linear(width, config.hidden_size, weight_init=config.weight_init, bias_init=Zeros())
    return Block({"dense": dense, "dropout": Dropout(config.hidden_dropout_prob)})


def _linear(config: ViTConfig, width: int, bias: bool = True) -> Layer:
    """A Linear from the hidden width."""
    bias_init = Zeros() if bias else None
    return Linear(config.hidden_size, width, bias, weight_init=config.weight_init, bias_init=bias_init)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
