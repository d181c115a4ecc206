"""Names of devices: what PyTorch and JAX themselves call them, one of several by its number, and one for each side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .errors import UsageError, nearest

# PyTorch's kinds and JAX's. Whether one is present, the wings tell.
KINDS = ("cpu", "cuda", "rocm", "tpu", "mps", "xpu")
# For what JAX itself has two names.
_OTHERWISE = {"gpu": "JAX's 'gpu' is 'cuda', or 'rocm' where it runs on ROCm."}


class Devices(NamedTuple):
    """Where each side of a pair runs: `cpu`, `cuda` or, of several, `cuda:1`."""

    reference: str
    port: str

    @property
    def kinds(self) -> set[str]:
        """Without numbers."""
        return {name.partition(":")[0] for name in self}

    def __str__(self) -> str:
        return self.reference if self.reference == self.port else ":".join(self)


def sides_devices(name: str) -> Devices:
    """Of `cuda` or `cuda:1` for both sides, or of `cpu:cuda` and `cpu:cuda:1`, the reference's before the port's.

    Raises:
        UsageError: no kind of device of either framework, or more than two.
    """
    found = list(_each(name))
    if len(found) > 2:
        raise UsageError(name, "one device, or the reference's and the port's", f"{len(found)}", "Write 'cpu:cuda'.")
    return Devices(found[0], found[-1])


def one_device(name: str) -> str:
    """The name of one device; its first has no number.

    Raises:
        UsageError: as `sides_devices`, or the devices of two sides.
    """
    found = list(_each(name))
    if len(found) > 1:
        raise UsageError(name, "the name of one device", f"{len(found)}", f"Write {found[0]!r}: there is one side.")
    return found[0]


def device_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names for one or two sides as reports show them, each once.

    Raises:
        UsageError: as `sides_devices`.
    """
    return tuple(dict.fromkeys(str(sides_devices(name)) for name in names))


def numbered(kind: str, count: int) -> tuple[str, ...]:
    """The names of all devices of a kind: `cuda`, `cuda:1`, ..."""
    return tuple(f"{kind}:{number}" if number else kind for number in range(count))


def _each(name: str) -> Iterator[str]:
    parts = name.split(":")
    while parts:
        kind = parts.pop(0)
        if kind not in KINDS:
            remedy = _OTHERWISE.get(kind) or nearest(kind, KINDS)
            raise UsageError(name, "the name of a device", f"{kind!r}, which is none", remedy)
        # The digits that int() would take are more than those that a person writes.
        number = int(parts.pop(0)) if parts and parts[0].isascii() and parts[0].isdigit() else 0
        yield f"{kind}:{number}" if number else kind
