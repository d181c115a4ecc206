"""The forms of a report: text for a terminal, JSON, JUnit's XML, and one page of HTML; each made by one function."""

from .beginnings import BEGINNINGS as BEGINNINGS
from .html import to_html as to_html
from .json_form import from_json as from_json
from .json_form import to_json as to_json
from .junit import to_junit as to_junit
from .notebook import to_notebook as to_notebook
from .terminal import folded as folded
from .terminal import to_text as to_text
from .words import sentence as sentence
from .words import summary as summary
