"""Download one file of a known data set, with torchvision."""

from __future__ import annotations

import queue
import tempfile
import threading
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ae_cli.config import Progress
from ae_cli.errors import DataError

# How long to wait for a server that sends nothing. A socket's own timeout does not cover a name
# that is never resolved, several addresses that are tried in turn, or a slow stream that stops.
SILENCE_SECONDS = 15.0

# What the downloading thread sends: bytes received and bytes in total, or an error, or None when it
# has finished.
News: TypeAlias = "tuple[int, int | None] | BaseException | None"

_thread = threading.local()  # holds the queue of a downloading thread


class DownloadError(Exception):
    """The reason why a file could not be downloaded, in a few words."""


def fetch_published(
    source: str, urls: Sequence[str], path: Path, *, md5: str, progress: Progress
) -> None:
    """Download a file of a known set from the first address that has it.

    Args:
        source: The name of the set, for errors.
        urls: The addresses of the file, in the order in which to try them.
        path: Where to save it. Its folder is created if needed, and a damaged file is replaced.
        md5: The MD5 checksum that it must have.
        progress: Called whenever data has arrived.

    Raises:
        DataError: No address has the file, or it cannot be written.
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
                f"{source} cannot be saved in {path.parent} ({error.strerror or error})",
                "make room there, or name another folder with --data-dir",
            ) from error
    else:
        damaged = " is damaged and" if path.exists() else ""
        raise DataError(
            f"{source}'s {path.name}{damaged} cannot be downloaded ({', '.join(causes)})",
            f"try again later, copy the file into {path.parent}, or use --data digits",
        )


def fetch(url: str, path: Path, *, md5: str, progress: Progress) -> None:
    """Download a file, check it, and move it into place when it is complete.

    Args:
        url: The address of the file.
        path: Where to save it, in a folder that exists.
        md5: The MD5 checksum that it must have.
        progress: Called whenever data has arrived.

    Raises:
        DownloadError: The download was refused or damaged, or nothing arrived for
            `SILENCE_SECONDS`.
        OSError: The file could not be written.
    """
    from torchvision.datasets import utils

    # Never undone: a thread that we no longer wait for may look up its meter at any time.
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
        # A daemon, so that a thread that hangs in the network delays neither us nor the exit.
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
    """Stands in for tqdm in torchvision: tells the thread's `fetch` how much has arrived."""

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
    if isinstance(error, RuntimeError):  # what torchvision raises for a wrong checksum
        return "the download is damaged or incomplete"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
