"""What layers with a window over the spatial axes have in common: settings for each axis, and how their input lies."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from ..errors import SpecError
from ..spec import Features, Layer
from .checks import axes, shown

# A setting: one number for all spatial axes, or one for each. It is stored as one where all are the same.
Numbers = int | tuple[int, ...]

AXES = ("depth", "height", "width")


@dataclass(frozen=True, repr=False)
class Windowed(Layer):
    """A layer over arrays (batch, channels, *spatial).

    rank: the number of spatial axes.
    """

    rank: ClassVar[int]

    def each(self, setting: Numbers) -> tuple[int, ...]:
        """A setting as one number for each spatial axis."""
        return (setting,) * self.rank if isinstance(setting, int) else setting

    def assign(self, least: int, **settings: Any) -> None:
        """Store settings that are one whole number, or one for each axis, as one where all are the same.

        Raises:
            SpecError: a setting is none of these, or below `least`.
        """
        for name, setting in settings.items():
            numbers = tuple(setting) if isinstance(setting, (tuple, list)) else (setting,) * self.rank
            if len(numbers) != self.rank or not all(_is_whole(number, least) for number in numbers):
                several = f", or {self.rank} of them in a tuple" if self.rank > 1 else ""
                expected = f"{self.kind}.{name} as a whole number of at least {least}{several}"
                raise SpecError("", expected, repr(setting))
            object.__setattr__(self, name, _shortest(tuple(map(int, numbers))))

    def image(self, features: Features, path: str) -> tuple[int | None, ...]:
        """The channels and the spatial sizes of an input `(batch, channels, *spatial)`, None for what is not known.

        Raises:
            SpecError: it has another number of axes.
        """
        return axes(features, self, path, "channels", *AXES[-self.rank :])

    def left(self, path: str, features: Features, result: Features) -> Features:
        """The output's shape, `result`.

        Raises:
            SpecError: a spatial size is known to be below 1, so that the window leaves nothing.
        """
        if any(size is not None and size < 1 for size in result[1:]):
            raise SpecError(
                path,
                f"an input that the window of {self.kind} fits into",
                f"{shown(features)}, of which it leaves {shown(result)}",
                "Make the kernel smaller, or the input or its padding larger.",
            )
        return result


def _shortest(numbers: tuple[Any, ...]) -> Any:
    """One number for all axes if they agree."""
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _is_whole(number: Any, least: int) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= least
