"""Resizing: the map of a small configuration, made to fit the same model in another size."""

from .fit import Faults as Faults
from .fit import fitted as fitted
from .fit import fitting as fitting
from .templates import skeleton as skeleton
