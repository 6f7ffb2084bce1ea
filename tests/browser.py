"""A real browser for the pages that commands write: headless Chromium, driven by Playwright."""

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
# Disable the browser's own network traffic, so that every request comes from a page.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
)
DESKTOP = (1280, 800)
TABLET = (800, 600)
PHONE = (390, 844)


class Visit:
    """An open page, with the requests it made and the errors that occurred in it.

    Attributes:
        page: Playwright's page.
        errors: Script errors, errors in the console, and the texts of dialogs.
        requests: Addresses that it requested, except its own and those of embedded data.
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
    """Start Chromium and close it afterwards. Without Chromium, skip the test, or fail in CI."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not on the PATH, and CI must have it")
        pytest.skip("Chromium is not on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(QUIET), chromium_sandbox=False
        )
        yield browser
        browser.close()


def visit(
    browser: Browser, path: Path, size: tuple[int, int] = DESKTOP, **options: object
) -> Visit:
    """Open a file in a new page of this size (width, height), without cookies or storage."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    return Visit(context.new_page(), path)


def embedded(path: Path | str, name: str) -> dict:
    """The JSON in the page element with this id, read without a browser."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', Path(path).read_text())[1])
