"""Where and how exactly a comparison computes, and how large an error that explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.devices import sides_devices
from .closeness import FACTOR

# By its name: the dtype of all arrays, whether matrix products may use TF32, and the distance of 1 to the next number.
_PRECISIONS = {
    "float32": ("float32", False, 2.0**-23),
    "tf32": ("float32", True, 2.0**-10),
    "bfloat16": ("bfloat16", False, 2.0**-7),
    "float64": ("float64", False, 2.0**-52),
}
PRECISIONS = tuple(_PRECISIONS)
# An error is explained by rounding up to this many times that of the reference itself.
ROUNDINGS = 8.0
# Beyond it an error of the reference itself explains nothing.
COARSEST = 0.01


@dataclass(frozen=True)
class Setting:
    """Where a pair runs, and how: `float32` is strict, `tf32` has its products in TF32, `bfloat16` all of it.

    device: of both sides, or of the reference and the port, `cpu:cuda`.
    """

    device: str = "cpu"
    precision: str = "float32"

    def device_of(self, role: str) -> str:
        """That of the reference or the port. What is looked at alone has one device."""
        devices = sides_devices(self.device)
        return devices.port if role == "port" else devices.reference

    @property
    def dtype(self) -> str:
        return _PRECISIONS[self.precision][0]

    @property
    def has_tf32(self) -> bool:
        return _PRECISIONS[self.precision][1]

    @property
    def eps(self) -> float:
        return _PRECISIONS[self.precision][2]

    @property
    def is_coarse(self) -> bool:
        """Whether one rounding is so large that only the reference's own error tells what many of them make."""
        return self.eps > 2.0**-23

    def allowed(self, depth: int) -> float:
        """The largest error, relative to the tensor's norm, that rounding makes in a model of `depth` tensors."""
        return FACTOR * self.eps * math.sqrt(max(depth, 1))

    def policy(self, depth: int) -> str:
        """Why that much is allowed."""
        return f"{FACTOR} eps sqrt({max(depth, 1)} tensors), eps of {self.precision} {self.eps:.1e}"


STRICT = Setting()
