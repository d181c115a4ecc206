"""Conversion: a checkpoint of one side of a map as a checkpoint of the other."""

from .converting import Conversion as Conversion
from .converting import convert as convert
