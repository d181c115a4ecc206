"""A browser without a window, and the site that `make docs` built; where one is missing, a skip that says so."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "docs"
# What the site is made of: a newer file than the site means that the site is not this tree's.
SOURCES = ("docs", "study")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    front = SITE / "index.html"
    if not front.is_file():
        pytest.skip("the site is not built: make docs")
    made = (SITE / "objects.inv").stat().st_mtime
    sources = (
        file
        for folder in SOURCES
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".md", ".css", ".js"}
    )
    newer = [file for file in sources if (ROOT / "docs" / "study") not in file.parents and file.stat().st_mtime > made]
    if newer:
        pytest.skip(f"the site is older than {newer[0].relative_to(ROOT)}: make docs")
    return SITE


@dataclass
class Browser:
    """A Chromium at one width and colour scheme, and what it was heard to say."""

    driver: Any
    address: str

    def open(self, page: str) -> None:
        """Open a page of the site (`study/tying.html#w6`), read whole."""
        self.driver.get(self.address + page)
        # Right after its start a browser may still be about to show its own first page.
        for _ in range(100):
            if (
                self.driver.current_url.startswith(self.address)
                and self.run("return document.readyState") == "complete"
            ):
                return
            time.sleep(0.1)
        raise AssertionError(f"{page} was not opened within 10 s: the browser is at {self.driver.current_url}")

    def run(self, script: str, *arguments: object) -> Any:
        """What a script gives that runs in the page."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """The errors and warnings that the console was told since the last call."""
        said = self.driver.get_log("browser")
        return [entry["message"] for entry in said if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing: requests are no news."""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    """`browser(width, dark)`: a new Chromium, with a profile of its own; each is closed at the end."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[test]'")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    opened = []

    def start(width: int = 1400, dark: bool = False, *flags: str) -> Browser:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        profile = tmp_path_factory.mktemp("profile")
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},1000", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        opened.append(found)
        # A window is never narrower than some 500 pixels; the page in it is.
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        return Browser(found, address)

    yield start
    for each in opened:
        each.quit()
