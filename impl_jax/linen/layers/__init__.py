"""The modules of this wing: for each layer of the spec what makes it, for each class of Flax the spec's word."""

from __future__ import annotations

from ....common.layers import Word, maker_in
from ....common.spec import Layer
from ...functions import OPERATIONS, POOLING
from . import activations, attention, convolutions, dense, norms, recurrent
from .activations import PReLU as PReLU
from .at import At as At
from .at import Maker, Makers, functions
from .containers import Block as Block
from .containers import Members as Members
from .containers import Sequence as Sequence
from .containers import native_name as native_name
from .containers import reserved as reserved
from .dense import Decoder as Decoder
from .dense import Transposed as Transposed

FAMILIES = (dense, activations, convolutions, norms, attention, recurrent)
MAKERS: Makers = {
    **{layer: maker for family in FAMILIES for layer, maker in family.MAKERS.items()},
    **functions({**OPERATIONS, **POOLING}),
}
KINDS: dict[type, Word] = {module: word for family in FAMILIES for module, word in family.KINDS.items()}


def maker_of(layer: Layer, path: str) -> Maker:
    """What makes the module of a layer.

    Raises:
        NotExpressibleError: a layer that the wing does not know.
    """
    return maker_in(MAKERS, layer, path, "linen")
