"""The layers a spec is made of: each holds its names, shapes, layouts, settings and default initializers.

Names and shapes are PyTorch's, and so are the default initializers; `natives` gives each parameter's name and layout in
Flax, and what Flax's own class draws it from.
"""

from ..spec import Layer
from .activations import CELU as CELU
from .activations import ELU as ELU
from .activations import GELU as GELU
from .activations import GLU as GLU
from .activations import SELU as SELU
from .activations import Dropout as Dropout
from .activations import Hardsigmoid as Hardsigmoid
from .activations import Hardswish as Hardswish
from .activations import Hardtanh as Hardtanh
from .activations import Identity as Identity
from .activations import LeakyReLU as LeakyReLU
from .activations import LogSigmoid as LogSigmoid
from .activations import LogSoftmax as LogSoftmax
from .activations import Mish as Mish
from .activations import PReLU as PReLU
from .activations import ReLU as ReLU
from .activations import ReLU6 as ReLU6
from .activations import Sigmoid as Sigmoid
from .activations import SiLU as SiLU
from .activations import Softmax as Softmax
from .activations import Softplus as Softplus
from .activations import Softsign as Softsign
from .activations import Tanh as Tanh
from .attention import MultiheadAttention as MultiheadAttention
from .cells import CELLS as CELLS
from .convolutions import Conv1d as Conv1d
from .convolutions import Conv2d as Conv2d
from .convolutions import Conv3d as Conv3d
from .convolutions import Convolution as Convolution
from .convolutions import ConvTranspose1d as ConvTranspose1d
from .convolutions import ConvTranspose2d as ConvTranspose2d
from .convolutions import ConvTranspose3d as ConvTranspose3d
from .convolutions import TransposedConvolution as TransposedConvolution
from .dense import Buffer as Buffer
from .dense import Decoder as Decoder
from .dense import Embedding as Embedding
from .dense import FixedLinear as FixedLinear
from .dense import Linear as Linear
from .dense import Parameter as Parameter
from .dense import Transposed as Transposed
from .dense import TransposedLinear as TransposedLinear
from .kinds import KINDS as KINDS
from .kinds import Word as Word
from .kinds import kind_of as kind_of
from .kinds import maker_in as maker_in
from .kinds import names_in as names_in
from .kinds import native as native
from .norms import BatchNorm as BatchNorm
from .norms import BatchNorm1d as BatchNorm1d
from .norms import BatchNorm2d as BatchNorm2d
from .norms import BatchNorm3d as BatchNorm3d
from .norms import GroupNorm as GroupNorm
from .norms import InstanceNorm as InstanceNorm
from .norms import InstanceNorm1d as InstanceNorm1d
from .norms import InstanceNorm2d as InstanceNorm2d
from .norms import InstanceNorm3d as InstanceNorm3d
from .norms import LayerNorm as LayerNorm
from .norms import RMSNorm as RMSNorm
from .operations import Concatenate as Concatenate
from .operations import Flatten as Flatten
from .operations import Halve as Halve
from .operations import Rearrange as Rearrange
from .operations import Split as Split
from .operations import Sum as Sum
from .operations import Take as Take
from .pooling import AdaptiveAvgPool as AdaptiveAvgPool
from .pooling import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from .pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from .pooling import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from .pooling import AdaptiveMaxPool as AdaptiveMaxPool
from .pooling import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from .pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from .pooling import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from .pooling import AvgPool as AvgPool
from .pooling import AvgPool1d as AvgPool1d
from .pooling import AvgPool2d as AvgPool2d
from .pooling import AvgPool3d as AvgPool3d
from .pooling import MaxPool as MaxPool
from .pooling import MaxPool1d as MaxPool1d
from .pooling import MaxPool2d as MaxPool2d
from .pooling import MaxPool3d as MaxPool3d
from .pooling import Pool as Pool
from .recurrent import GRU as GRU
from .recurrent import LSTM as LSTM
from .recurrent import RNN as RNN
from .recurrent import Recurrent as Recurrent
from .recurrent import check_recurrent_input as check_recurrent_input
from .sequences import Attention as Attention
from .sequences import AttentionWeights as AttentionWeights
from .sequences import Positions as Positions
from .sequences import Prefix as Prefix
from .sequences import RelativeBuckets as RelativeBuckets
from .sequences import Rotary as Rotary
from .sequences import RotaryAngles as RotaryAngles
from .sequences import WeightedValues as WeightedValues

# What holds parameters is known by its name; the recurrent layers tell theirs by a rule and not one by one.
_LAYERS = [each for each in list(vars().values()) if isinstance(each, type) and issubclass(each, Layer)]
KINDS.update({each.__name__: each for each in _LAYERS if each.natives or each in (RNN, LSTM, GRU)})
