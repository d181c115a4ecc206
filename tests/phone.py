"""A page in a browser without a window, as narrow as a phone, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

WIDTH = 400
# A frame is as narrow as it is told to be; a window is not. What is wider than the page makes it scroll sideways.
_MEASURE = """<!DOCTYPE html><iframe id="f" style="border:0;width:{width}px;height:800px" src="{address}"></iframe>
<pre id="found"></pre><script>onload = () => {{
  const page = document.getElementById("f").contentDocument, wide = [];
  for (const each of page.querySelectorAll("body *"))
    if (each.getBoundingClientRect().right > {width} + 1 && !each.closest("pre"))
      wide.push(each.tagName + "." + each.className);
  document.getElementById("found").textContent = page.documentElement.scrollWidth + " " + wide.join(" ");
}}</script>"""


def too_wide(html: str, folder: Path) -> list[str]:
    """The width of a page in a frame of `WIDTH` pixels, and the elements that reach beyond it, code aside."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium to look at the page with")
    page, frame = folder / "page.html", folder / "frame.html"
    page.write_text(html, encoding="utf-8")
    frame.write_text(_MEASURE.format(width=WIDTH, address=page.as_uri()), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    run = subprocess.run(
        [browser, *flags, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="found">(\d+)(.*?)</pre>', run.stdout, re.DOTALL)
    assert found is not None, run.stderr
    assert int(found[1]) <= WIDTH
    return unescape(found[2]).split()
