"""Reference architectures: for each a configuration and the function that makes a spec of it.

A configuration has the names and defaults of that of transformers 4.57.6 (or of PyTorch's examples, for the LSTM), and
the spec the names, shapes, order and initial distributions of its torch class. What a configuration could ask for and
is not described here is refused.

>>> from paritree.common.spec.expansion import table_of
>>> table_of(gpt2(GPT2Config(n_layer=2))).paths[-1]
'lm_head.weight'
"""

from .albert import AlbertConfig as AlbertConfig
from .albert import albert as albert
from .bert import BertConfig as BertConfig
from .bert import bert as bert
from .gpt2 import GPT2Config as GPT2Config
from .gpt2 import gpt2 as gpt2
from .llama import LlamaConfig as LlamaConfig
from .llama import llama as llama
from .lstm_lm import LSTMLanguageModelConfig as LSTMLanguageModelConfig
from .lstm_lm import lstm_lm as lstm_lm
from .named import ARCHITECTURES as ARCHITECTURES
from .named import from_transformers as from_transformers
from .resnet import RESNET_18 as RESNET_18
from .resnet import RESNET_50 as RESNET_50
from .resnet import ResNetConfig as ResNetConfig
from .resnet import resnet as resnet
from .t5 import T5Config as T5Config
from .t5 import t5 as t5
from .vit import ViTConfig as ViTConfig
from .vit import vit as vit
