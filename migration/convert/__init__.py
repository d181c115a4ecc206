"""Conversion: a checkpoint of one side of a map as a checkpoint of the other."""

from .conversion import Conversion as Conversion
from .conversion import convert as convert
