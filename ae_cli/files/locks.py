"""Locks, so that only one process at a time writes a file."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ae_cli.errors import UsageError
from ae_cli.files.outputs import cannot_write, hidden_name


@contextmanager
def only_writer(paths: Sequence[Path], others: Sequence[Path] = ()) -> Iterator[None]:
    """Lock files for this process while the block runs.

    Each of `paths` gets a lock, which the kernel releases when this process ends, however it ends.
    `others` are files that belong to them and need no lock of their own. Temporary files that
    killed processes left beside any of the files are removed.

    Raises:
        UsageError: Another process is writing one of `paths`, or a folder cannot be written to.
    """
    with ExitStack() as locks:
        for path in paths:
            locks.enter_context(_locked(path))
        for path in (*paths, *others):
            _remove_leftovers(path.resolve())
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file while the block runs.

    Raises:
        UsageError: Another process holds it, or the folder cannot be written to.
    """
    target = path.resolve()
    lock = target.with_name(f"{hidden_name(target)}.lock")
    try:
        file = _lock(lock, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()  # while it is held, so that no other process can hold it


def _remove_leftovers(target: Path) -> None:
    """Remove temporary files beside a file whose processes no longer run."""
    for left in target.parent.glob(f"{hidden_name(target)}-*.tmp"):
        process = left.stem.rpartition("-")[2]
        if process.isdecimal() and not _is_running(int(process)):
            with suppress(OSError):  # a leftover does no harm
                left.unlink()


def _is_running(process: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(process, 0)  # signal 0 only checks that the process exists
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it belongs to another user
    return True


def _lock(lock: Path, path: Path) -> TextIO:
    """Create and lock a lock file, and write this process's id to it.

    Args:
        lock: The lock file.
        path: The file that it protects, for the error.

    Raises:
        UsageError: Another process holds the lock.
        OSError: The lock file cannot be created.
    """
    while True:
        file = lock.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(file)
            file.close()
            raise UsageError(
                f"{path} is being written by {f'process {owner}' if owner else 'another process'}",
                "wait for it to end, or write elsewhere",
            ) from None
        except OSError:
            pass  # some network file systems have no locks: continue without one
        # The previous holder may have removed the file after it was opened here: then try again.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
                return file
        file.close()


def _read_owner(file: TextIO) -> str:
    """The process id in a lock file that another process holds, and may be about to write."""
    owner = ""
    for _ in range(20):
        file.seek(0)
        if owner := file.read(20).strip():
            break
        time.sleep(0.01)
    return owner
