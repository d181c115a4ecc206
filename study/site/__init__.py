"""The study's pages of the site: from the outcomes of a run to MyST Markdown, which docs/conf.py hands to Sphinx.

pages    the front page with all rows, and a page for each section
rows     one row: its code in tabs, what it returned side by side, its verdict as a mark
results  the table of what the three frameworks returned, as HTML
"""

from __future__ import annotations

from .pages import PAGES, pages, write

__all__ = ["PAGES", "pages", "write"]
