"""Initializers as data: a distribution with its scale, framework-free, and the exact law of one entry.

*Fans and gains* (`fans`) scale the *families* (`families`, `structured`); a family's `law` (`laws`) is what the
statistics of `paritree.conformance` hold draws against.
"""

from __future__ import annotations

from .base import DISTRIBUTIONS as DISTRIBUTIONS
from .base import Initializer as Initializer
from .families import TWO_SIGMA_STD as TWO_SIGMA_STD
from .families import Kaiming as Kaiming
from .families import LeCun as LeCun
from .families import Masked as Masked
from .families import Normal as Normal
from .families import TruncatedNormal as TruncatedNormal
from .families import Uniform as Uniform
from .families import VarianceScaling as VarianceScaling
from .families import Xavier as Xavier
from .fans import FAN_MODES as FAN_MODES
from .fans import NONLINEARITIES as NONLINEARITIES
from .fans import Fans as Fans
from .fans import fans as fans
from .fans import gain as gain
from .laws import Continuous as Continuous
from .laws import ContinuousPart as ContinuousPart
from .laws import Law as Law
from .places import Arange as Arange
from .places import InverseFrequencies as InverseFrequencies
from .places import LowerTriangle as LowerTriangle
from .structured import Constant as Constant
from .structured import DeltaOrthogonal as DeltaOrthogonal
from .structured import Deterministic as Deterministic
from .structured import Dirac as Dirac
from .structured import Eye as Eye
from .structured import Ones as Ones
from .structured import Orthogonal as Orthogonal
from .structured import Sparse as Sparse
from .structured import ZeroRow as ZeroRow
from .structured import Zeros as Zeros
