"""How objects look in a notebook and on a page: one environment of templates, one small style.

style.css     tables, marks, code and what is folded; all of it below an element of the class `paritree`
page.css      the paper and the ink of a page
parts.html    the macros that write these
object.html   what an object shows of itself in a notebook

In a notebook the style takes its ink from the text around it, so that it is readable on light and on dark paper; a page
sets the colours itself.
"""

from __future__ import annotations

from .parts import MOST_ROWS as MOST_ROWS
from .parts import Fold as Fold
from .parts import Html as Html
from .parts import Hue as Hue
from .parts import Listing as Listing
from .parts import Mark as Mark
from .parts import Part as Part
from .parts import Prose as Prose
from .parts import Sheet as Sheet
from .parts import environment as environment
from .parts import of_object as of_object
