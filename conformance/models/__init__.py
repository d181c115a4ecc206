"""The reference models, held against their specs: every contract, on all wings and on every device present."""

from .check import CONTRACTS as CONTRACTS
from .check import check_reference_models as check_reference_models
