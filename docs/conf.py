"""Sphinx's configuration: `make docs` builds the site into build/docs, offline.

The pages of the study are made from a run of its catalogue before Sphinx reads any page.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

from paritree.study import outcomes, site

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from docstrings import process  # noqa: E402 - found only now

project = "paritree"
author = "the authors of paritree"
copyright = author
release = version_of("paritree")

extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
]
root_doc = "index"
exclude_patterns = ["_build"]

# The API.
# Where a name is defined is not where it is imported from.
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80

# Markdown.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_ref_domains = ["std"]  # `t5` is a row, and an architecture
# The notebooks are committed with their outputs.
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type"]

# The theme of JAX's and Flax's own pages.
html_theme = "sphinx_book_theme"
html_title = "paritree"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_use_index = False
html_show_copyright = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "footer_content_items": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app: Sphinx) -> None:
    found = outcomes()
    for problem in (problem for each in found for problem in each.problems()):
        getLogger(__name__).warning("the study: %s", problem)
    site.write(HERE / "study", found)
    app.connect("autodoc-process-docstring", process)
