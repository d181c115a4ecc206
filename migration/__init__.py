"""Weights from one live model to another. No framework is imported here; the wings bring theirs."""

from .align import AlignmentError as AlignmentError
from .align import align as align
from .align import aligned as aligned
from .align import aligned_by_products as aligned_by_products
from .carry import carry as carry
from .convert import Conversion as Conversion
from .convert import convert as convert
from .convert import convert_optimizer as convert_optimizer
from .convert import save as save
from .load import LoadPlan as LoadPlan
from .load import load as load
from .load import plan as plan
