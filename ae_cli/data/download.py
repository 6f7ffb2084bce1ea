"""Fetching one file of a known data set from the network, by torchvision."""

from __future__ import annotations

import queue
import tempfile
import threading
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ae_cli.data.progress import Progress
from ae_cli.errors import DataError

# How long a server may keep silent. It bounds what a socket's own time limit does not: a name that
# is never resolved, several addresses tried one after the other, and a trickle that stops.
SILENCE_SECONDS = 15.0


# From the thread that downloads: bytes that came and bytes in all, a failure, or None at the end.
News: TypeAlias = "tuple[int, int | None] | BaseException | None"


_thread = threading.local()  # where a thread that downloads keeps its queue of news


class DownloadError(Exception):
    """Why a file could not be fetched, in a few words."""


def fetch_published(
    source: str, urls: Sequence[str], path: Path, *, md5: str, progress: Progress
) -> None:
    """Fetch a file of a known set from the first address that has it.

    Args:
        source: What a person calls the set.
        urls: Where the file is, in the order in which to try.
        path: Where it should be; its folder is made if need be, and a damaged file is replaced.
        md5: What its MD5 checksum must be.
        progress: Called whenever something has arrived.

    Raises:
        DataError: No address has it, or it cannot be written.
    """
    causes = []
    for url in urls:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(url, path, md5=md5, progress=progress)
            break
        except DownloadError as error:
            causes.append(f"{urlsplit(url).hostname}: {error}")
        except OSError as error:
            raise DataError(
                f"{source} cannot be kept in {path.parent} ({error.strerror or error})",
                "make room there, or name another folder with --data-dir",
            ) from error
    else:
        damaged = " is damaged and" if path.exists() else ""
        raise DataError(
            f"{source}'s {path.name}{damaged} cannot be downloaded ({', '.join(causes)})",
            f"try again later, copy the file into {path.parent}, or use --data digits",
        )


def fetch(url: str, path: Path, *, md5: str, progress: Progress) -> None:
    """Fetch a file, check it, and move it into place whole.

    Args:
        url: Where the file is.
        path: Where it should be; its folder exists.
        md5: What its MD5 checksum must be.
        progress: Called whenever something has arrived.

    Raises:
        DownloadError: It was refused, was damaged, or nothing came for `SILENCE_SECONDS`.
        OSError: It could not be written.
    """
    from torchvision.datasets import utils

    # For good, since a thread that we no longer wait for may look for its meter at any time.
    utils.tqdm = _Meter
    news: queue.Queue[News] = queue.Queue()

    def work(folder: str) -> None:
        _thread.news = news
        try:
            utils.download_url(url, folder, path.name, md5)
        except BaseException as error:
            news.put(error)
        else:
            news.put(None)

    with tempfile.TemporaryDirectory(dir=path.parent, ignore_cleanup_errors=True) as folder:
        # A daemon, so that one that hangs in the network holds up neither us nor the exit.
        threading.Thread(target=work, args=(folder,), daemon=True).start()
        arrived = 0
        progress(path.name, arrived, None, "bytes")
        while (item := _next(news)) is not None:
            if isinstance(item, BaseException):
                raise DownloadError(_cause(item)) from item
            count, total = item
            arrived += count
            progress(path.name, arrived, total, "bytes")
        (Path(folder) / path.name).replace(path)


class _Meter:
    """What torchvision takes for tqdm: tells the thread's `fetch` what has arrived."""

    def __init__(self, total: int | None = None, **_: Any) -> None:
        self.total = total

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        news: queue.Queue[News] | None = getattr(_thread, "news", None)
        if news is not None:
            news.put((count, self.total))


def _next(news: queue.Queue[News]) -> News:
    try:
        return news.get(timeout=SILENCE_SECONDS)
    except queue.Empty:
        raise DownloadError(f"no answer for {SILENCE_SECONDS:g} s") from None


def _cause(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return _cause(error.reason) if isinstance(error.reason, OSError) else str(error.reason)
    if isinstance(error, RuntimeError):  # torchvision's word for a checksum that is wrong
        return "what arrived is damaged or cut short"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
