"""The base classes of the commands' results."""

from __future__ import annotations

import base64
import dataclasses
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ae_cli.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Rows: TypeAlias = "tuple[list[str], list[list[str]]]"  # a table: its column titles and its rows


class Result:
    """Base class of the results: frozen dataclasses that hold everything a command prints.

    Fields that only pictures need, such as arrays, are declared with ``repr=False``: they are
    neither printed nor written as JSON.
    """

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values: what ``--json`` prints."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: to_plain(getattr(self, f.name)) for f in fields if f.repr}

    def summary(self) -> Rows | None:
        """The most important figures as a table; None to show the fields themselves."""
        return None

    def _repr_html_(self) -> str:
        titles, rows = self.summary() or (
            [],
            [[name, str(value)] for name, value in self.as_json().items()],
        )
        head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        png = getattr(self, "_repr_png_", lambda: None)()
        if png is None:
            return table
        # A notebook shows HTML rather than a picture, and so the picture is in it.
        picture = base64.b64encode(png).decode()
        return f'{table}<img src="data:image/png;base64,{picture}">'


class TableResult(Result):
    """Base class of the results that are tables.

    Attributes:
        table: The columns by name, each (rows,).
    """

    table: dict[str, NDArray[Any]]

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas data frame.

        Raises:
            UsageError: pandas is not installed.
        """
        return to_frame(self.table)


def to_frame(columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """Columns, each (rows,), as a pandas data frame.

    Raises:
        UsageError: pandas is not installed.
    """
    import pyarrow

    try:
        import pandas as pd  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "pandas is not installed", "install it with `pip install pandas`, or use the columns"
        ) from error
    return pyarrow.table(columns).to_pandas()


def to_plain(value: Any) -> Any:
    """Turn a value into JSON values: dataclasses and named tuples become objects."""
    if isinstance(value, Result):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain(dataclasses.asdict(value))
    if hasattr(value, "_asdict"):
        return to_plain(value._asdict())
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def count_epochs(count: int) -> str:
    """Format a number of epochs for people."""
    return f"{count:,} epoch{'s' * (count != 1)}"


def count_images(count: int) -> str:
    """A number of images for people: 1 image, 60,000 images."""
    return f"{count:,} image{'s' * (count != 1)}"


def count_rows(count: int, listed: int | None = None) -> str:
    """The number of rows of a table, of which the first `listed` were printed."""
    rows = f"{count:,} row{'s' * (count != 1)}"
    return rows if listed in (None, count) else f"{rows}, of which {listed} are listed above"


def format_shape(shape: tuple[int, ...], changes: str | None = None) -> str:
    """Format an image's shape for people, 1 × 28 × 28, and what was changed for it, if anything."""
    return " × ".join(map(str, shape)) + (f" ({changes})" if changes else "")
