"""The architectures by name, and by a configuration of transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ...errors import UsageError, nearest
from ...spec import Layer
from .albert import AlbertConfig, albert
from .bert import BertConfig, bert
from .gpt2 import GPT2Config, gpt2
from .llama import LlamaConfig, llama
from .lstm_lm import LSTMLanguageModelConfig, lstm_lm
from .resnet import RESNET_18, RESNET_50, ResNetConfig, resnet
from .t5 import T5Config, t5
from .vit import ViTConfig, vit


@dataclass(frozen=True)
class Architecture:
    """What a name stands for. title: with the torch class whose names the spec has. make: the spec at full size."""

    title: str
    make: Callable[[], Layer]


ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": Architecture("GPT-2 small (GPT2LMHeadModel)", lambda: gpt2(GPT2Config())),
    "bert": Architecture("BERT base with its tied decoder (BertForMaskedLM)", lambda: bert(BertConfig())),
    "albert": Architecture("ALBERT, one block for all layers (AlbertForMaskedLM)", lambda: albert(AlbertConfig())),
    "llama": Architecture("Llama, 7 billion parameters (LlamaForCausalLM)", lambda: llama(LlamaConfig())),
    "t5": Architecture("T5 small, one embedding four ways (T5ForConditionalGeneration)", lambda: t5(T5Config())),
    "vit": Architecture("ViT base (ViTForImageClassification)", lambda: vit(ViTConfig())),
    "resnet-18": Architecture("ResNet-18, basic blocks (ResNetForImageClassification)", lambda: resnet(RESNET_18)),
    "resnet-50": Architecture("ResNet-50, bottleneck blocks (ResNetForImageClassification)", lambda: resnet(RESNET_50)),
    "lstm-lm": Architecture(
        "an LSTM language model with tied weights (PyTorch's examples)", lambda: lstm_lm(LSTMLanguageModelConfig())
    ),
}

# transformers' word for a kind of model, with what describes it here.
_MODEL_TYPES: dict[str, tuple[type[Any], Callable[[Any], Layer]]] = {
    "albert": (AlbertConfig, albert),
    "bert": (BertConfig, bert),
    "gpt2": (GPT2Config, gpt2),
    "llama": (LlamaConfig, llama),
    "resnet": (ResNetConfig, resnet),
    "t5": (T5Config, t5),
    "vit": (ViTConfig, vit),
}


def from_transformers(config: Any) -> Layer:
    """The spec of the model that a configuration of transformers describes, which is not imported for it.

    config: an object with a `model_type` and the fields of our configuration of that architecture.

    Raises:
        UsageError: an architecture that is not described here, a field that is missing, or a setting that our
            configuration refuses.
    """
    word = getattr(config, "model_type", type(config).__name__)
    if word not in _MODEL_TYPES:
        expected = "a model type that is described"
        raise UsageError(str(word), expected, "none of that name", nearest(str(word), _MODEL_TYPES))
    kind, make = _MODEL_TYPES[word]
    return make(read(kind, config))


def read(kind: type[Any], config: Any) -> Any:
    """Our configuration of class `kind` with the fields of another object that has the same names."""
    missing = [field.name for field in fields(kind) if not hasattr(config, field.name)]
    if missing:
        raise UsageError(kind.__name__, "a configuration with all of its fields", f"none of {', '.join(missing)}")
    values = {field.name: getattr(config, field.name) for field in fields(kind)}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
