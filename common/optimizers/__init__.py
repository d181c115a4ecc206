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
