"""Localization: where two programs part ways whose parameters correspond, and by what."""

from ..traces import first_nonfinite as first_nonfinite
from .gap import Cause as Cause
from .locating import Localized as Localized
from .locating import localize as localize
