"""The spec: a framework-free description of a model, as frozen dataclasses.

A spec is a tree. Its leaves are layers (common/layers), its inner nodes the containers `Sequential` and `List`
(children named `0`, `1`, ...) and `Block` (children with names). `Shared` stands for a second use of a layer that is
already there. A spec's repr is the code that builds it.
"""

from .containers import Block as Block
from .containers import List as List
from .containers import Numbered as Numbered
from .containers import Sequential as Sequential
from .expansion import table_of as table_of
from .expansion import untied as untied
from .expansion import uses as uses
from .layer import UNKNOWN as UNKNOWN
from .layer import Features as Features
from .layer import Layer as Layer
from .layer import Native as Native
from .layer import ParameterSpec as ParameterSpec
from .layer import flat as flat
from .layer import positive as positive
from .layer import width as width
from .layer import with_width as with_width
from .program import Program as Program
from .program import chain as chain
from .program import run as run
from .references import References as References
from .references import Shared as Shared
from .references import Tied as Tied
from .references import index as index
from .rules import Echo as Echo
from .rules import Rule as Rule
from .rules import line as line
from .rules import plan as plan
from .shape_flow import flow as flow
