"""Conversion: a checkpoint of one side of a map as a checkpoint of the other; what loading shares with it."""

from .changes import check_unchanged as check_unchanged
from .changes import states as states
from .changes import written_to as written_to
from .conversion import Conversion as Conversion
from .conversion import FilePath as FilePath
from .conversion import convert as convert
from .conversion import save as save
from .execute import Progress as Progress
from .execute import copy as copy
from .matching import fitted as fitted
from .matching import is_port as is_port
from .opening import Opened as Opened
from .opening import opened as opened
from .opening import seen as seen
from .optimizers import convert_optimizer as convert_optimizer
from .planning import candidates as candidates
from .planning import equal as equal
from .planning import in_order as in_order
from .planning import two_values as two_values
from .readers import Parted as Parted
from .readers import Source as Source
from .remote import local_path as local_path
from .remote import scheme_of as scheme_of
