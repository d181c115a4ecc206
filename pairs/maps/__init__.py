"""Maps: which tensor of the reference is which of the port, with which axes; applied, inverted, resized and kept."""

from .files import BEGINNING as BEGINNING
from .forms import cells as cells
from .map import Map as Map
from .names import crossing_note as crossing_note
from .names import crossings as crossings
from .pieces import WHOLE as WHOLE
from .pieces import Piece as Piece
from .pieces import Span as Span
from .rows import Evidence as Evidence
from .rows import MapRow as MapRow
from .shared import copies as copies
from .shared import is_kept as is_kept
from .shared import siblings as siblings
from .shared import without_copies as without_copies
from .strided import Part as Part
from .strided import bounds as bounds
from .strided import parts_of as parts_of
from .strided import windows as windows
from .transforms import Transform as Transform
from .transforms import transform_of as transform_of
from .weights import assemble as assemble
from .weights import common_dtype as common_dtype
from .weights import nested as nested
