"""Loading: a checkpoint of one side of a map straight into a model of the other, each process its own shards."""

from .loading import load as load
from .planning import LoadPlan as LoadPlan
from .planning import plan as plan
