"""A real browser for the pages that commands write: headless Chromium, driven by Playwright."""

from __future__ import annotations

import json
import operator
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


def contrast(color: str, other: str) -> float:
    """The contrast of two colours, each #rrggbb, from 1 to 21, as in WCAG 2."""

    def luminance(text: str) -> float:
        levels = (int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels)
        return sum(map(operator.mul, (0.2126, 0.7152, 0.0722), linear))

    dark, light = sorted((luminance(color), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
