"""Writers: a destination laid out before it is filled, one module for each kind of file or folder."""

from .orbax import OrbaxWriter as OrbaxWriter
from .safetensors import SafetensorsWriter as SafetensorsWriter
