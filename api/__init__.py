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
    from .common import initializers as initializers
    from .common.errors import ChildNameError as ChildNameError
    from .common.errors import DeviceError as DeviceError
    from .common.errors import DtypeError as DtypeError
    from .common.errors import InitializerError as InitializerError
    from .common.errors import NotExpressibleError as NotExpressibleError
    from .common.errors import ParitreeError as ParitreeError
    from .common.errors import PathError as PathError
    from .common.errors import ShapeError as ShapeError
    from .common.errors import SpecError as SpecError
    from .common.errors import TieError as TieError
    from .common.errors import UsageError as UsageError
    from .common.errors import WeightsError as WeightsError
    from .common.layers import GELU as GELU
    from .common.layers import Decoder as Decoder
    from .common.layers import Dropout as Dropout
    from .common.layers import Embedding as Embedding
    from .common.layers import FixedLinear as FixedLinear
    from .common.layers import Flatten as Flatten
    from .common.layers import Halve as Halve
    from .common.layers import LeakyReLU as LeakyReLU
    from .common.layers import Linear as Linear
    from .common.layers import ReLU as ReLU
    from .common.layers import Sigmoid as Sigmoid
    from .common.layers import SiLU as SiLU
    from .common.layers import Softplus as Softplus
    from .common.layers import Sum as Sum
    from .common.layers import Tanh as Tanh
    from .common.models import MODELS as MODELS
    from .common.models import reference_model as reference_model
    from .common.rules import Rule as Rule
    from .common.spec import Block as Block
    from .common.spec import Sequential as Sequential
    from .common.spec import Shared as Shared
    from .common.tables import Table as Table
    from .conformance import Report as Report
    from .conformance import check_reference_models as check_reference_models
    from .front import build as build
    from .front import table as table
    from .front import wing as wing
    from .migration import carry as carry

_LAYERS = (
    "Decoder Dropout Embedding FixedLinear Flatten GELU Halve LeakyReLU Linear ReLU SiLU Sigmoid Softplus Sum Tanh"
)
_ERRORS = (
    "ChildNameError DeviceError DtypeError InitializerError NotExpressibleError ParitreeError PathError ShapeError "
    "SpecError TieError UsageError WeightsError"
)
_HOMES = {
    **dict.fromkeys(("build", "table", "wing"), ".front"),
    **dict.fromkeys(_LAYERS.split(), ".common.layers"),
    **dict.fromkeys(("Block", "Sequential", "Shared"), ".common.spec"),
    **dict.fromkeys(("MODELS", "reference_model"), ".common.models"),
    **dict.fromkeys(("Report", "check_reference_models"), ".conformance"),
    **dict.fromkeys(_ERRORS.split(), ".common.errors"),
    "Rule": ".common.rules",
    "Table": ".common.tables",
    "carry": ".migration",
}

__all__ = [*sorted(_HOMES), "initializers"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "initializers":
        return import_module(".common.initializers", __name__)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'paritree' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
