"""Records: one side of a pair, recorded to be held against another somewhere else."""

from .activations import MOST_BYTES as MOST_BYTES
from .files import BEGINNING as BEGINNING
from .record import Record as Record
from .record import RecordError as RecordError
from .record import identity_map as identity_map
from .record import versions_of as versions_of
from .recorder import Recorder as Recorder
