"""Offline HTML pages, whose templates, styles and scripts are files beside these modules."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDINGS = (".html", ".htm")


def read_part(name: str) -> str:
    """Read one of the files that pages are made of."""
    return (resources.files(__package__) / name).read_text("utf-8")


def allow(text: str) -> str:
    """What a Content-Security-Policy says to allow a script or style with exactly this text."""
    return f"'sha256-{encode(hashlib.sha256(text.encode()).digest())}'"


def encode(content: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(content).decode()


def pack(values: NDArray[Any], kind: str) -> str:
    """Write numbers as base64 of a type such as ``<f4``: much shorter than their digits."""
    return encode(values.astype(kind).tobytes())


def fill(template: str, *, title: str, policy: str, **parts: str) -> bytes:
    """Make a page that loads nothing.

    Args:
        template: The file with the template.
        title: Plain text, for ``$title``.
        policy: What a Content-Security-Policy allows, of which nothing else is.
        parts: HTML, style and script for the other names in the template.
    """
    page = Template(read_part(template)).substitute(
        title=html.escape(title),
        policy=f"default-src 'none'; {policy}; base-uri 'none'; form-action 'none'",
        **parts,
    )
    return page.encode("utf-8", errors="replace")
