"""Every reference model and a small model of every architecture, and the digest of what seed 11 draws for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from paritree.common.models import MODELS
from paritree.common.models import architectures as ours
from paritree.common.spec import Layer

TINY: dict[str, Layer] = {
    "gpt2": ours.gpt2(ours.GPT2Config(vocab_size=20, n_positions=8, n_embd=12, n_layer=2, n_head=3)),
    "bert": ours.bert(
        ours.BertConfig(vocab_size=20, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16)
    ),
    "albert": ours.albert(
        ours.AlbertConfig(vocab_size=20, embedding_size=8, hidden_size=12, num_attention_heads=3, intermediate_size=16)
    ),
    "llama": ours.llama(
        ours.LlamaConfig(
            vocab_size=20, hidden_size=12, intermediate_size=16, num_hidden_layers=2, num_attention_heads=3
        )
    ),
    "t5": ours.t5(ours.T5Config(vocab_size=20, d_model=12, d_kv=4, d_ff=16, num_layers=2, num_heads=3)),
    "vit": ours.vit(
        ours.ViTConfig(
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=16,
            image_size=8,
            patch_size=4,
        )
    ),
    "resnet": ours.resnet(ours.ResNetConfig(embedding_size=4, hidden_sizes=(4, 8), depths=(1, 1), layer_type="basic")),
    "lstm-lm": ours.lstm_lm(ours.LSTMLanguageModelConfig(ntoken=20, ninp=8, nhid=8)),
}
SPECS: dict[str, Layer] = {**{name: model.resolved for name, model in MODELS.items()}, **TINY}


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """Of all paths and bytes, as PyTorch has them."""
    found = hashlib.sha256()
    for path in sorted(weights):
        found.update(path.encode() + weights[path].tobytes())
    return found.hexdigest()[:16]


GOLDEN: dict[str, str] = {
    "mlp": "0aebc4bacd4791a6",
    "named": "abcfec83c039396e",
    "nested-spaces": "99682507afd1c90e",
    "nested": "b06c38a2e0e625e8",
    "nested-named": "6dcd02b4d11a283e",
    "shared-layer": "e2fe222f4257b2cc",
    "shared-block": "de92ff199359f7e1",
    "ones": "9517084456a56f72",
    "lazy": "0aebc4bacd4791a6",
    "fancy-mlp": "2dd0695a73ab67fc",
    "language-model": "bceb6db3382973b9",
    "gpt2": "e313b287eba43e2b",
    "bert": "c7ac78bc7cf26e46",
    "albert": "2711ca62fda1d253",
    "llama": "5618f0d12e3f3a84",
    "t5": "68138083234a75d5",
    "vit": "f4d5bf59c6a79832",
    "resnet": "a57768201a57bf36",
    "lstm-lm": "ccd5914b86449ac5",
}
