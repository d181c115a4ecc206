"""Maps: which tensor of the reference is which of the port, with which axes; applied, inverted, resized and kept."""

from .map import Map as Map
from .pieces import WHOLE as WHOLE
from .pieces import Piece as Piece
from .pieces import Span as Span
from .rows import Evidence as Evidence
from .rows import MapRow as MapRow
from .transforms import Transform as Transform
from .transforms import transform_of as transform_of
from .weights import assemble as assemble
from .weights import common_dtype as common_dtype
from .weights import nested as nested
