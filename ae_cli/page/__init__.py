"""Offline HTML pages. Their templates, styles and scripts are files beside these modules."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENDINGS = (".html", ".htm")
FRAME_HEIGHT = 600  # pixels, of a page in a notebook


class Rows(Protocol):
    """What a page shows about n images: columns of the table of latents, or None if missing."""

    @property
    def z(self) -> NDArray[np.float32]:
        """The latents, float32 (n, k)."""

    @property
    def index(self) -> NDArray[np.int64] | None:
        """The positions in the split, int64 (n,)."""

    @property
    def split(self) -> NDArray[np.str_] | None:
        """The names of the splits, str (n,)."""

    @property
    def name(self) -> NDArray[np.str_] | None:
        """The file names, str (n,)."""

    @property
    def label(self) -> NDArray[np.int64] | NDArray[np.str_] | None:
        """The labels, int64 or str (n,)."""

    @property
    def run(self) -> NDArray[np.str_] | None:
        """The ids of the runs whose models found the latents, str (n,)."""

    @property
    def error(self) -> NDArray[np.float32] | None:
        """The reconstruction errors, float32 (n,)."""

    def __len__(self) -> int: ...


def frame(page: Path | str | None) -> str:
    """Make HTML that shows a page in a notebook: a file by its path, or a page by its text."""
    if isinstance(page, Path):
        name = html.escape(str(page), quote=True)
        source, link = f'src="{name}"', f'<p><a href="{name}">{name}</a></p>'
    else:
        source, link = f'srcdoc="{html.escape(page or "", quote=True)}"', ""
    return f'<iframe {source} width="100%" height="{FRAME_HEIGHT}"></iframe>{link}'


def read_part(name: str) -> str:
    """Read one of the files that pages are made of."""
    return (resources.files(__package__) / name).read_text("utf-8")


def allow(text: str) -> str:
    """The source for a Content-Security-Policy that allows a script or style with this text."""
    return f"'sha256-{encode(hashlib.sha256(text.encode()).digest())}'"


def encode(content: bytes) -> str:
    """Encode bytes as base64."""
    return base64.b64encode(content).decode()


def pack(values: NDArray[Any], kind: str) -> str:
    """Encode numbers as base64, of a dtype such as ``<f4``: much shorter than digits."""
    return encode(values.astype(kind).tobytes())


def assemble(
    template: str, title: str, styles: Sequence[str], scripts: Sequence[str], data: dict[str, Any]
) -> bytes:
    """Make a page from files, and data that its scripts read from the element ``data``.

    Args:
        template: The name of the template's file.
        title: Plain text.
        styles: The names of its styles, in the order of the cascade.
        scripts: The names of its scripts, in an order in which each needs only those before it.
        data: What is written as JSON.
    """
    style, script = join_styles(styles), join_scripts(scripts)
    return fill(
        template,
        title=title,
        # No other script or style is allowed.
        policy=f"img-src data:; script-src {allow(script)}; style-src {allow(style)}",
        style=style,
        script=script,
        data=write_data(data),
    )


def join_styles(names: Sequence[str]) -> str:
    """Read styles, in the order of the cascade."""
    return "".join(map(read_part, names))


def join_scripts(names: Sequence[str]) -> str:
    """Read modules, and make one script of them that has all names in one scope."""
    modules = "".join(map(read_part, names))
    return '"use strict";\n' + re.sub(
        r"^(import .*;\n|export (?=\w))", "", modules, flags=re.MULTILINE
    )


def write_data(data: dict[str, Any]) -> str:
    """Write JSON for a script element, in which only `<` could end the data or start something."""
    return json.dumps(data, allow_nan=False).replace("<", r"\u003c")


def fill(template: str, *, title: str, policy: str, **parts: str) -> bytes:
    """Make a page that loads nothing from elsewhere.

    Args:
        template: The name of the template's file.
        title: Plain text, for ``$title``.
        policy: What the Content-Security-Policy allows; nothing else is allowed.
        parts: HTML, style and script for the other names in the template.
    """
    page = Template(read_part(template)).substitute(
        title=html.escape(title),
        policy=f"default-src 'none'; {policy}; base-uri 'none'; form-action 'none'",
        **parts,
    )
    return page.encode("utf-8", errors="replace")
