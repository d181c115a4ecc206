"""The reference models, and architectures at any configuration: specs with the names of PyTorch's classes."""

from .reference import MODELS as MODELS
from .reference import ReferenceModel as ReferenceModel
from .reference import neutral_weights as neutral_weights
from .reference import reference_model as reference_model
