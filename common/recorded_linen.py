"""A record of a Linen model as a side of a pair."""

from .recorded import devices as devices
from .recorded import draws as draws
from .recorded import natives as natives
from .recorded import passer as passer
from .recorded import prober as prober
from .recorded import round_trips as round_trips
from .recorded import running as running
from .recorded import site_prober as site_prober
from .recorded import tracer as tracer
from .recorded import trainer as trainer
from .recorded import with_natives as with_natives

NAME = "linen"
