"""One model in PyTorch and in Flax, and the proof that it is the same model.

    import paritree
    from paritree import Linear, ReLU, Sequential

    spec = Sequential(Linear(4, 8), ReLU(), Linear(8, 1))
    print(paritree.table(spec))                     # names, shapes, initializers: no framework is imported
    model = paritree.build(spec, "torch", seed=0)   # or "linen", "nnx"
    print(paritree.table(model))                    # of any live model, built here or not
    port = paritree.carry(model, paritree.build(spec, "nnx"))
    paritree.wing("nnx").tie_groups(port)           # access, naming, initialization, tying: one module a wing

Importing this package imports no framework; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import check as check
    from .common import initializers as initializers
    from .common.errors import CheckpointError as CheckpointError
    from .common.errors import ChildNameError as ChildNameError
    from .common.errors import DeviceError as DeviceError
    from .common.errors import DtypeError as DtypeError
    from .common.errors import InitializerError as InitializerError
    from .common.errors import MapError as MapError
    from .common.errors import NotExpressibleError as NotExpressibleError
    from .common.errors import ParitreeError as ParitreeError
    from .common.errors import PathError as PathError
    from .common.errors import ShapeError as ShapeError
    from .common.errors import SpecError as SpecError
    from .common.errors import TieError as TieError
    from .common.errors import UsageError as UsageError
    from .common.errors import WeightsError as WeightsError
    from .common.layers import CELU as CELU
    from .common.layers import ELU as ELU
    from .common.layers import GELU as GELU
    from .common.layers import GLU as GLU
    from .common.layers import GRU as GRU
    from .common.layers import LSTM as LSTM
    from .common.layers import RNN as RNN
    from .common.layers import SELU as SELU
    from .common.layers import AdaptiveAvgPool1d as AdaptiveAvgPool1d
    from .common.layers import AdaptiveAvgPool2d as AdaptiveAvgPool2d
    from .common.layers import AdaptiveAvgPool3d as AdaptiveAvgPool3d
    from .common.layers import AdaptiveMaxPool1d as AdaptiveMaxPool1d
    from .common.layers import AdaptiveMaxPool2d as AdaptiveMaxPool2d
    from .common.layers import AdaptiveMaxPool3d as AdaptiveMaxPool3d
    from .common.layers import Attention as Attention
    from .common.layers import AttentionWeights as AttentionWeights
    from .common.layers import AvgPool1d as AvgPool1d
    from .common.layers import AvgPool2d as AvgPool2d
    from .common.layers import AvgPool3d as AvgPool3d
    from .common.layers import BatchNorm1d as BatchNorm1d
    from .common.layers import BatchNorm2d as BatchNorm2d
    from .common.layers import BatchNorm3d as BatchNorm3d
    from .common.layers import Buffer as Buffer
    from .common.layers import Concatenate as Concatenate
    from .common.layers import Conv1d as Conv1d
    from .common.layers import Conv2d as Conv2d
    from .common.layers import Conv3d as Conv3d
    from .common.layers import ConvTranspose1d as ConvTranspose1d
    from .common.layers import ConvTranspose2d as ConvTranspose2d
    from .common.layers import ConvTranspose3d as ConvTranspose3d
    from .common.layers import Decoder as Decoder
    from .common.layers import Dropout as Dropout
    from .common.layers import Embedding as Embedding
    from .common.layers import FixedLinear as FixedLinear
    from .common.layers import Flatten as Flatten
    from .common.layers import GroupNorm as GroupNorm
    from .common.layers import Halve as Halve
    from .common.layers import Hardsigmoid as Hardsigmoid
    from .common.layers import Hardswish as Hardswish
    from .common.layers import Hardtanh as Hardtanh
    from .common.layers import Identity as Identity
    from .common.layers import InstanceNorm1d as InstanceNorm1d
    from .common.layers import InstanceNorm2d as InstanceNorm2d
    from .common.layers import InstanceNorm3d as InstanceNorm3d
    from .common.layers import LayerNorm as LayerNorm
    from .common.layers import LeakyReLU as LeakyReLU
    from .common.layers import Linear as Linear
    from .common.layers import LogSigmoid as LogSigmoid
    from .common.layers import LogSoftmax as LogSoftmax
    from .common.layers import MaxPool1d as MaxPool1d
    from .common.layers import MaxPool2d as MaxPool2d
    from .common.layers import MaxPool3d as MaxPool3d
    from .common.layers import Mish as Mish
    from .common.layers import MultiheadAttention as MultiheadAttention
    from .common.layers import Parameter as Parameter
    from .common.layers import Positions as Positions
    from .common.layers import Prefix as Prefix
    from .common.layers import PReLU as PReLU
    from .common.layers import Rearrange as Rearrange
    from .common.layers import RelativeBuckets as RelativeBuckets
    from .common.layers import ReLU as ReLU
    from .common.layers import ReLU6 as ReLU6
    from .common.layers import RMSNorm as RMSNorm
    from .common.layers import Rotary as Rotary
    from .common.layers import RotaryAngles as RotaryAngles
    from .common.layers import Sigmoid as Sigmoid
    from .common.layers import SiLU as SiLU
    from .common.layers import Softmax as Softmax
    from .common.layers import Softplus as Softplus
    from .common.layers import Softsign as Softsign
    from .common.layers import Split as Split
    from .common.layers import Sum as Sum
    from .common.layers import Take as Take
    from .common.layers import Tanh as Tanh
    from .common.layers import Transposed as Transposed
    from .common.layers import TransposedLinear as TransposedLinear
    from .common.layers import WeightedValues as WeightedValues
    from .common.models import MODELS as MODELS
    from .common.models import architectures as architectures
    from .common.models import reference_model as reference_model
    from .common.spec import Block as Block
    from .common.spec import List as List
    from .common.spec import Rule as Rule
    from .common.spec import Sequential as Sequential
    from .common.spec import Shared as Shared
    from .common.tables import Table as Table
    from .common.wing import PairError as PairError
    from .conformance import KnownDifference as KnownDifference
    from .conformance import Report as Report
    from .conformance import check_reference_models as check_reference_models
    from .front import build as build
    from .front import table as table
    from .front import wing as wing
    from .migration import AlignmentError as AlignmentError
    from .migration import Conversion as Conversion
    from .migration import align as align
    from .migration import carry as carry
    from .migration import convert as convert
    from .pairs.maps import Map as Map
    from .pairs.maps import MapRow as MapRow
    from .pairs.pair import Pair as Pair
    from .pairs.records import Record as Record
    from .pairs.records import RecordError as RecordError
    from .recording import record as record
    from .suites import suite as suite

_LAYERS = (
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "Attention AttentionWeights AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d Buffer CELU "
    "Concatenate Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Decoder Dropout ELU Embedding "
    "FixedLinear Flatten GELU GLU GRU GroupNorm Halve Hardsigmoid Hardswish Hardtanh Identity InstanceNorm1d "
    "InstanceNorm2d InstanceNorm3d LSTM LayerNorm LeakyReLU Linear LogSigmoid LogSoftmax MaxPool1d MaxPool2d "
    "MaxPool3d Mish MultiheadAttention PReLU Parameter Positions Prefix RMSNorm RNN ReLU ReLU6 Rearrange "
    "RelativeBuckets Rotary RotaryAngles SELU SiLU Sigmoid Softmax Softplus Softsign Split Sum Take Tanh Transposed "
    "TransposedLinear WeightedValues"
)
_ERRORS = (
    "CheckpointError ChildNameError DeviceError DtypeError InitializerError MapError NotExpressibleError "
    "ParitreeError PathError ShapeError SpecError TieError UsageError WeightsError"
)
_HOMES = {
    **dict.fromkeys(("build", "table", "wing"), ".front"),
    **dict.fromkeys(_LAYERS.split(), ".common.layers"),
    **dict.fromkeys(("Block", "List", "Sequential", "Shared"), ".common.spec"),
    **dict.fromkeys(("MODELS", "reference_model"), ".common.models.reference"),
    "check": ".checking",
    "suite": ".suites",
    **dict.fromkeys(("KnownDifference", "Report", "check_reference_models"), ".conformance"),
    **dict.fromkeys(_ERRORS.split(), ".common.errors"),
    **dict.fromkeys(("Record", "RecordError"), ".pairs.records.record"),
    "record": ".recording",
    "Rule": ".common.spec.rules",
    "Table": ".common.tables",
    **dict.fromkeys(("Map", "MapRow"), ".pairs.maps"),
    "Pair": ".pairs.pair",
    "PairError": ".common.wing.runs",
    **dict.fromkeys(("AlignmentError", "Conversion", "align", "carry", "convert"), ".migration"),
}

_ROOMS = {"architectures": ".common.models.architectures", "initializers": ".common.initializers"}

__all__ = [*sorted(_HOMES), *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(_ROOMS[name], __name__)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'paritree' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
