"""Optimizers and schedules of torch.optim and optax side by side: arguments, defaults, formulas, state, and recipes.

A recipe is code of both frameworks with what was measured between the two; the tests run it. Nothing here imports one.
"""

from .catalogue import OPTAX_ALONE as OPTAX_ALONE
from .catalogue import OPTIMIZERS as OPTIMIZERS
from .entry import Argument as Argument
from .entry import Entry as Entry
from .entry import Moment as Moment
from .entry import Recipe as Recipe
from .entry import Verdict as Verdict
from .names import named as named
from .schedules import OPTAX_SCHEDULES_ALONE as OPTAX_SCHEDULES_ALONE
from .schedules import SCHEDULES as SCHEDULES
from .states import BACK as BACK
from .states import CARRIED as CARRIED
from .states import FIELDS as FIELDS
from .states import NO_STATE as NO_STATE
from .states import NOTHING as NOTHING
from .states import ODD as ODD
from .states import OptimizerState as OptimizerState
from .states import OptimizerStates as OptimizerStates
from .states import Owner as Owner
from .states import TensorState as TensorState
from .states import agreed as agreed
from .states import agreed_settings as agreed_settings
from .states import count_of as count_of
from .states import misfits as misfits
from .states import no_counterpart as no_counterpart
from .states import of_another as of_another
from .states import one_within as one_within
from .states import unheld as unheld
