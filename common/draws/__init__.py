"""Draws whose bits are the same everywhere: in NumPy, PyTorch and JAX, on every device, in any order, shard by shard.

A value is a function of a seed, a path and the value's flat index in the canonical layout. *Words* of 32 random bits
come from a counter-based generator (`threefry`); a *recipe* (`recipes`) says what numbers an initializer makes of them,
and `arithmetic` makes them, in steps that round in one way only. The wings bring their own integers (`Integers`), and
`host` brings NumPy's.
"""

from __future__ import annotations

from .arithmetic import Form as Form
from .arithmetic import Integers as Integers
from .arithmetic import Numbers as Numbers
from .arithmetic import Quantiles as Quantiles
from .arithmetic import quantiles as quantiles
from .arithmetic import values as values
from .host import Box as Box
from .host import check_draws as check_draws
from .host import check_size as check_size
from .host import drawn as drawn
from .host import indices as indices
from .recipes import LARGEST as LARGEST
from .recipes import Recipe as Recipe
from .recipes import recipe_of as recipe_of
from .streams import STREAMS as STREAMS
from .streams import Stream as Stream
from .streams import check_seed as check_seed
from .streams import check_stream as check_stream
from .threefry import Key as Key
from .threefry import key_of as key_of
from .threefry import words as words
