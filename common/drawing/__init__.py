"""Drawings as SVG that stands anywhere: in a page, in a notebook, alone in a file; and the tree of a model.

svg     the elements, and what makes a drawing readable on light and on dark paper
tree    a model's parameters as a tree, its ties as arcs
"""

from __future__ import annotations

from .svg import MONO as MONO
from .svg import Figure as Figure
from .svg import Svg as Svg
from .svg import drawing as drawing
from .svg import element as element
from .svg import label as label
from .svg import line as line
from .svg import plain_text as plain_text
from .trees import tree as tree
