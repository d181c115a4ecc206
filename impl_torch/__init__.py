"""The PyTorch wing: the spec's models as `nn.Module`s, and access to any `nn.Module`, built here or not.

Its files mirror those of `impl_jax/linen` and `impl_jax/nnx`, function by function.
"""

from .access import get_parameter as get_parameter
from .access import load as load
from .access import set_parameter as set_parameter
from .access import state as state
from .access import table as table
from .access import weights as weights
from .build import build as build
from .build import is_lazy as is_lazy
from .build import materialize as materialize
from .devices import devices as devices
from .devices import running as running
from .devices import settings as settings
from .distributed import own_gradients as own_gradients
from .distributed import passer as passer
from .distributed import prober as prober
from .distributed import sharded_tensors as sharded_tensors
from .distributed import trainer as trainer
from .initialization import draw as draw
from .initialization import draws as draws
from .initialization import initialize as initialize
from .initialization import sample as sample
from .loading import holders as holders
from .loading import part as part
from .loading import placed as placed
from .loading import processes as processes
from .loading import spread as spread
from .loading import targets as targets
from .loading import with_placed as with_placed
from .naming import native_path as native_path
from .naming import path_of as path_of
from .naming import shown as shown
from .probing import call as call
from .probing import site_gradients as site_gradients
from .probing import site_prober as site_prober
from .probing import value_and_gradients as value_and_gradients
from .stored import round_trips as round_trips
from .stored import stored_tensors as stored_tensors
from .stored import with_stored_tensors as with_stored_tensors
from .tapes import taper as taper
from .tracing import tracer as tracer
from .training import step as step
from .training import stepper as stepper
from .tying import equal as equal
from .tying import identical as identical
from .tying import tie as tie
from .tying import tie_groups as tie_groups
from .tying import untie as untie
from .updates import updater as updater

NAME = "torch"
