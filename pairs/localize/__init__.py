"""Localization: where two programs part ways whose parameters correspond, and by what."""

from ...common.wing import first_nonfinite as first_nonfinite
from .gap import Cause as Cause
from .locate import Localized as Localized
from .locate import localize as localize
from .locate import locate as locate
