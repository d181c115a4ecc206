"""Initializers as data: a distribution with its scale, framework-free, and the exact law of one entry.

*Fans and gains* (`fans`) scale the *families*: of independent entries (`families`), of entries that depend on each
other or on their index (`structured`), and of one draw only (`deterministic`). A family's `law` (`laws`) is what the
statistics of `paritree.conformance` hold draws against.
"""

from __future__ import annotations

from .base import DISTRIBUTIONS as DISTRIBUTIONS
from .base import Initializer as Initializer
from .base import first_index as first_index
from .deterministic import Arange as Arange
from .deterministic import Constant as Constant
from .deterministic import Deterministic as Deterministic
from .deterministic import Dirac as Dirac
from .deterministic import Eye as Eye
from .deterministic import InverseFrequencies as InverseFrequencies
from .deterministic import LowerTriangle as LowerTriangle
from .deterministic import Ones as Ones
from .deterministic import Zeros as Zeros
from .families import FLAX_EMBEDDING as FLAX_EMBEDDING
from .families import FLAX_KERNEL as FLAX_KERNEL
from .families import TORCH_EMBEDDING as TORCH_EMBEDDING
from .families import TORCH_WEIGHT as TORCH_WEIGHT
from .families import TWO_SIGMA_STD as TWO_SIGMA_STD
from .families import FanScaled as FanScaled
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
from .fans import FanMode as FanMode
from .fans import Fans as Fans
from .fans import fans as fans
from .fans import gain as gain
from .laws import Continuous as Continuous
from .laws import ContinuousPart as ContinuousPart
from .laws import Law as Law
from .structured import DeltaOrthogonal as DeltaOrthogonal
from .structured import Orthogonal as Orthogonal
from .structured import Sparse as Sparse
from .structured import ZeroRow as ZeroRow
