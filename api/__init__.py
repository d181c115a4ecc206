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

    # A type checker cannot read _ERRORS and _LAYERS.
    from .common.errors import *  # noqa: F403
    from .common.layers import *  # noqa: F403
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
    from .initialization import initialize as initialize
    from .migration import AlignmentError as AlignmentError
    from .migration import Conversion as Conversion
    from .migration import LoadPlan as LoadPlan
    from .migration import align as align
    from .migration import carry as carry
    from .migration import convert as convert
    from .migration import convert_optimizer as convert_optimizer
    from .migration import load as load
    from .migration import plan as plan
    from .migration import save as save
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
    "ParitreeError PathError ProcessError ShapeError SpecError TieError UsageError WeightsError"
)
_HOMES = {
    **dict.fromkeys(("build", "table", "wing"), ".front"),
    **dict.fromkeys(_LAYERS.split(), ".common.layers"),
    **dict.fromkeys(("Block", "List", "Sequential", "Shared"), ".common.spec"),
    **dict.fromkeys(("MODELS", "reference_model"), ".common.models.reference"),
    "check": ".checking",
    "initialize": ".initialization",
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
    **dict.fromkeys(
        [
            "AlignmentError",
            "Conversion",
            "LoadPlan",
            "align",
            "carry",
            "convert",
            "convert_optimizer",
            "load",
            "plan",
            "save",
        ],
        ".migration",
    ),
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
