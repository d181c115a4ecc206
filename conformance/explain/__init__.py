"""Why two sides differ: what a wrong array is, where the programs part, and which single mistake explains it."""

from .diagnosis import Diagnosis as Diagnosis
from .diagnosis import diagnosis_of as diagnosis_of
from .diagnosis import other_orders as other_orders
from .frameworks import FRAMEWORK as FRAMEWORK
from .frameworks import biased_variance as biased_variance
from .frameworks import default_draws as default_draws
from .frameworks import statistic_factor as statistic_factor
from .merging import other_merging as other_merging
from .origin import Origins as Origins
from .origin import looks_drawn as looks_drawn
from .outputs import entered as entered
from .outputs import explain as explain
from .outputs import modules as modules
from .outputs import position as position
