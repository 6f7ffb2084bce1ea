"""A real browser for the pages that commands write: Chromium, headless, driven by Playwright."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing that a browser does by itself: every request is one that a page made.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
)
DESKTOP = (1280, 800)
PHONE = (390, 844)


class Visit:
    """A page that is open, with what it tried to load and what went wrong in it.

    Attributes:
        page: Playwright's page.
        errors: Errors of its scripts, and those that it wrote to the console.
        requests: Addresses that it asked for, other than its own and what is within it.
    """

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        address = path.resolve().as_uri()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.partition("#")[0] == address
                or request.url.startswith(("data:", "blob:"))
                else self.requests.append(request.url)
            ),
        )
        page.goto(address)


def launch() -> Iterator[Browser]:
    """Start Chromium, and end it afterwards. Without one, the test is skipped, but not in CI."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium on the PATH, and in CI there must be")
        pytest.skip("there is no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(QUIET), chromium_sandbox=False
        )
        yield browser
        browser.close()


def visit(
    browser: Browser, path: Path, size: tuple[int, int] = DESKTOP, **options: object
) -> Visit:
    """Open a file in a new page of this width and height, without cookies or storage."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    return Visit(context.new_page(), path)


def embedded(path: Path | str, name: str) -> dict:
    """The JSON in a page's element of this id, without a browser."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', Path(path).read_text())[1])
