"""Where files go. Outputs are checked before the work begins, and moved into place whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import platformdirs

from ae_cli.errors import UsageError


def cache_folder(data_dir: Path | None) -> Path:
    """Where downloads and decoded images are kept: `data_dir`, or the user's cache folder."""
    return data_dir or platformdirs.user_cache_path("ae", appauthor=False)


def check_output(path: Path, endings: Collection[str]) -> None:
    """Make sure that a file can be written, so that no work is done in vain.

    Args:
        path: The file to write. One that exists will be replaced.
        endings: The endings that can be written, such as ``{".csv", ".npz"}``.

    Raises:
        UsageError: The ending is another, the folder is not there, or it cannot be written to.
    """
    if path.suffix.lower() not in endings:
        raise UsageError(
            f"{path} does not end in a format that can be written",
            f"choose an ending from {', '.join(sorted(endings))}",
        )
    with _writing_beside(path):
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file", "give the name of a file")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` whole, when the block ends, or not at all.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and move to `path`
    in one step. Whatever ends the block early leaves what stood at `path` before.

    Raises:
        UsageError: The file cannot be written (no space, no permission, a read-only disk).
    """
    target = path.resolve()  # write through a symbolic link rather than over it
    temporary = target.with_name(f".ae-{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Make sure that a folder of files can be written, so that no work is done in vain.

    Raises:
        UsageError: Something is there already, or it cannot be written there.
    """
    with _writing_beside(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} is there already, and not empty", "name a new folder")


@contextmanager
def _writing_beside(path: Path) -> Iterator[None]:
    """Run a block that looks at what stands at `path`, and then see that a file can be written.

    Raises:
        UsageError: The folder is not there, or it cannot be written to.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"the folder {folder} does not exist", "create it, or write elsewhere")
    try:
        yield
        # The only sure test: permissions do not show a read-only or full file system.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a folder that appears at `path` with all its files when the block ends, or not at all.

    The block gets another folder, beside it, to write them to.

    Raises:
        UsageError: The files cannot be written.
    """
    target = path.resolve()
    temporary = target.with_name(f".ae-{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(target)  # an empty folder there gives way
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def backup_path(path: Path) -> Path:
    """Where `back_up` keeps a file: ``NAME.bak.ENDING`` beside it."""
    return path.with_name(f"{path.stem}.bak{path.suffix}")


def back_up(path: Path) -> Path | None:
    """Copy the file that stands where another is about to be written.

    Returns:
        The copy, or None where nothing stood.

    Raises:
        UsageError: The file cannot be read, or the copy cannot be written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"cannot read {path} to keep a copy ({error.strerror})", "move it or write elsewhere"
        ) from error
    with atomic_write(backup_path(path)) as file:
        file.write(content)
    return backup_path(path)


def _cannot_write(path: Path, error: OSError) -> UsageError:
    cause = error.strerror or str(error)
    return UsageError(f"cannot write {path} ({cause})", "make room or write elsewhere")
