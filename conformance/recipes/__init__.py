"""Recipes: what each side's own optimizer makes of the same gradients, and by what the two differ.

`courses` says which gradients are given, `responses` runs both sides, `rules` fits explicit rules to what was seen, and
`causes` names what is not the same.
"""

from .causes import Cause as Cause
from .causes import causes_of as causes_of
from .causes import causes_of_averages as causes_of_averages
from .courses import CONSTANT as CONSTANT
from .courses import ZERO as ZERO
from .losses import Step as Step
from .losses import cause_of_steps as cause_of_steps
from .losses import lengths_of_steps as lengths_of_steps
from .responses import Response as Response
from .responses import Responses as Responses
from .responses import respond as respond
