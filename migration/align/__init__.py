"""Alignment: which parameter of a reference is which of its port, found by measurement and then proved."""

from .alignment import align as align
from .alignment import aligned as aligned
from .alignment import aligned_by_products as aligned_by_products
from .errors import AlignmentError as AlignmentError
