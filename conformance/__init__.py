"""Contracts between models that claim to be the same, checked with known rates of error.

No framework is imported here; each wing brings its own when it is loaded.
"""

from .models import CONTRACTS as CONTRACTS
from .models import check_reference_models as check_reference_models
from .report import Report as Report
from .report import Result as Result
from .wings import load_wing as load_wing
