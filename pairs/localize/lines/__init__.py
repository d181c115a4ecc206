"""Lines: between which values, and so between which lines of both programs, a difference arises."""

from .backward import backward_stretches as backward_stretches
from .equal import Marked as Marked
from .equal import noise_on as noise_on
from .equal import units_of_modules as units_of_modules
from .stretches import Passage as Passage
from .stretches import Stretch as Stretch
from .tracking import stretches_of as stretches_of
