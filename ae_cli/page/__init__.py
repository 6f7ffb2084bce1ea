"""Offline HTML pages, whose templates, styles and scripts are files beside these modules."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


def read_part(name: str) -> str:
    """Read one of the files that pages are made of."""
    return (resources.files(__package__) / name).read_text("utf-8")


def allow(text: str) -> str:
    """What a Content-Security-Policy says to allow a script or style with exactly this text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
