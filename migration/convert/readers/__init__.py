"""Readers: what a checkpoint holds, one module for each kind of file or folder."""

from .orbax import OrbaxFolder as OrbaxFolder
from .safetensors import SafetensorsFile as SafetensorsFile
from .shards import Shards as Shards
from .source import Source as Source
from .torch import TorchCheckpoint as TorchCheckpoint
