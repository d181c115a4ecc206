"""Localization: where two programs part ways whose parameters correspond, and by what."""

from ...common.wing import first_nonfinite as first_nonfinite
from .first_module import localize as localize
from .gap import Cause as Cause
from .localized import Localized as Localized
from .locating import locate as locate
from .locating import locate_gradients as locate_gradients
from .modules import ModuleOutcomes as ModuleOutcomes
from .modules import module_outcomes as module_outcomes
from .outcomes import Outcome as Outcome
