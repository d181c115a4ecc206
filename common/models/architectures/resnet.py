"""ResNet for image classification, with the names of transformers' `ResNetForImageClassification`.

Sources: He et al. 2015, "Deep Residual Learning for Image Recognition"; `models/resnet` of transformers 4.57.6 for the
names, the placement of strides, and the initial distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError
from ...initializers import Kaiming
from ...layers import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Identity, Linear, MaxPool2d
from ...spec import Block, Layer, Sequential
from .parts import activation

# transformers draws every convolution from this (`ResNetPreTrainedModel._init_weights`); its Linear is at PyTorch's
# own default, and so are the norms.
_CONVOLUTION = Kaiming("normal", mode="fan_out", nonlinearity="relu")

# Between the convolutions of a residual layer transformers has this one, whatever `hidden_act` says.
_INNER_ACT = "relu"

# How many times narrower the inner convolutions of a bottleneck are.
_REDUCTION = 4


@dataclass(frozen=True)
class ResNetConfig:
    """The fields of transformers' `ResNetConfig` that shape the model, at its defaults (a ResNet-50 with two labels).

    hidden_sizes, depths: output channels and number of residual layers of each stage.
    layer_type: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
    hidden_act: the activation behind the first convolution, and behind each residual sum.
    downsample_in_first_stage: whether the first stage halves the resolution, as all others do.
    num_labels: 0 for a model without a classifier, which gives the pooled features.
    downsample_in_bottleneck: whether a bottleneck strides in its first convolution and not in its second.

    Raises:
        UsageError: an unknown layer_type, or not one depth for each stage.
    """

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False
    num_labels: int = 2

    def __post_init__(self) -> None:
        if self.layer_type not in ("basic", "bottleneck"):
            raise UsageError("ResNetConfig.layer_type", "'basic' or 'bottleneck'", repr(self.layer_type))
        if len(self.depths) != len(self.hidden_sizes) or not self.depths:
            found = f"{len(self.depths)} of them for {len(self.hidden_sizes)} hidden_sizes"
            raise UsageError("ResNetConfig.depths", "one for each of the hidden_sizes, and at least one", found)


RESNET_18 = ResNetConfig(hidden_sizes=(64, 128, 256, 512), depths=(2, 2, 2, 2), layer_type="basic", num_labels=1000)
RESNET_50 = ResNetConfig(num_labels=1000)


def resnet(config: ResNetConfig) -> Layer:
    """Images (batch, num_channels, height, width) to logits (batch, num_labels)."""
    embedder = {
        "embedder": _convolution(config.num_channels, config.embedding_size, 7, 2, config.hidden_act),
        "pooler": MaxPool2d(3, stride=2, padding=1),
    }
    body = {
        "embedder": Block(embedder),
        "encoder": Block({"stages": Sequential(*_stages(config))}),
        "pooler": AdaptiveAvgPool2d(1),
    }
    classifier = Linear(config.hidden_sizes[-1], config.num_labels) if config.num_labels else Identity()
    return Block({"resnet": Block(body), "classifier": Sequential(Flatten(), classifier)})


def _stages(config: ResNetConfig) -> list[Layer]:
    stages = []
    channels = config.embedding_size
    for index, (width, depth) in enumerate(zip(config.hidden_sizes, config.depths, strict=True)):
        stride = 2 if index or config.downsample_in_first_stage else 1
        first = _residual(config, channels, width, stride)
        rest = [_residual(config, width, width, 1) for _ in range(depth - 1)]
        stages.append(Block({"layers": Sequential(first, *rest)}))
        channels = width
    return stages


def _residual(config: ResNetConfig, channels: int, width: int, stride: int) -> Layer:
    """A residual layer: the input, projected where its shape changes, is added before the last activation."""
    projected = channels != width or stride != 1
    bottleneck = config.layer_type == "bottleneck"
    return Block(
        {
            "shortcut": _convolution(channels, width, 1, stride) if projected else Identity(),
            "layer": _bottleneck(config, channels, width, stride) if bottleneck else _basic(channels, width, stride),
            "activation": activation(config.hidden_act),
        },
        forward="""
        def forward(x):
            return activation(layer(x) + shortcut(x))
        """,
    )


def _basic(channels: int, width: int, stride: int) -> Layer:
    return Sequential(
        _convolution(channels, width, 3, stride, _INNER_ACT),
        _convolution(width, width, 3, 1),
    )


def _bottleneck(config: ResNetConfig, channels: int, width: int, stride: int) -> Layer:
    inner = width // _REDUCTION
    first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
    return Sequential(
        _convolution(channels, inner, 1, first, _INNER_ACT),
        _convolution(inner, inner, 3, second, _INNER_ACT),
        _convolution(inner, width, 1, 1),
    )


def _convolution(channels: int, width: int, kernel: int, stride: int, act: str | None = None) -> Layer:
    """A convolution that keeps the resolution but for its stride, a norm, and an activation if one is named."""
    children: dict[str, Layer] = {
        "convolution": Conv2d(
            channels, width, kernel, stride=stride, padding=kernel // 2, bias=False, weight_init=_CONVOLUTION
        ),
        "normalization": BatchNorm2d(width),
    }
    return Block(children if act is None else {**children, "activation": activation(act)})
