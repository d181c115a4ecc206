"""Weights from one live model to another. No framework is imported here; the wings bring theirs."""

from .carry import carry as carry
