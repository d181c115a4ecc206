"""Conversion: a checkpoint of one side of a map as a checkpoint of the other."""

from .convert import Conversion as Conversion
from .convert import convert as convert
