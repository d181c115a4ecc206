"""Contracts between models that claim to be the same, checked with known rates of error.

No framework is imported here; each wing brings its own when it is loaded.
"""

from ..pairs.wings import load_wing as load_wing
from .check import DEFAULT_CONTRACTS as DEFAULT_CONTRACTS
from .check import PAIR_CONTRACTS as PAIR_CONTRACTS
from .check import Examination as Examination
from .check import Wanted as Wanted
from .check import check_pair as check_pair
from .contracts import Sampling as Sampling
from .known import KnownDifference as KnownDifference
from .reference_models import CONTRACTS as CONTRACTS
from .reference_models import check_reference_models as check_reference_models
from .report import Report as Report
from .results import Result as Result
