"""Why two sides differ: what a wrong array is, where the programs part, and which single mistake explains it."""

from .diagnosis import Diagnosis as Diagnosis
from .diagnosis import diagnosis_of as diagnosis_of
from .diagnosis import other_orders as other_orders
from .locating import entered as entered
from .locating import modules as modules
from .locating import position as position
from .outputs import explain as explain
