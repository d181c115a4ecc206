"""Why two sides differ: what a wrong array is, where the programs part, and which single mistake explains it."""

from .diagnosis import Told as Told
from .diagnosis import other_orders as other_orders
from .diagnosis import tell as tell
from .locating import entered as entered
from .locating import modules as modules
from .locating import position as position
from .outputs import explain as explain
