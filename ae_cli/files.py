"""Where files go. Outputs are checked before the work begins, and moved into place whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

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
    temporary = _temporary(target)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Let a file that was moved into a folder be there after a power cut, too."""
    with suppress(OSError):  # where a folder cannot be flushed, it need not be
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
    target = path.resolve()
    if not target.parent.is_dir():
        raise UsageError(
            f"the folder {target.parent} does not exist", "create it, or write elsewhere"
        )
    try:
        yield
        # The only sure test: permissions do not show a read-only or full file system.
        _temporary(target).touch()
        _temporary(target).unlink()
    except OSError as error:
        raise cannot_write(path, error) from error


def _temporary(target: Path) -> Path:
    """Where this process makes what it moves to `target` afterwards."""
    return target.with_name(f"{_hidden_name(target)}-{os.getpid()}.tmp")


def _hidden_name(target: Path) -> str:
    """The beginning of the names of hidden files beside `target` that are for it alone.

    A checksum, since the target's own name may be as long as a name can be.
    """
    return f".ae-{zlib.crc32(os.fsencode(target.name)):08x}"


@contextmanager
def only_writer(paths: Sequence[Path], others: Sequence[Path] = ()) -> Iterator[None]:
    """Be the only process that writes files, and others that belong to them, while the block runs.

    Other processes are kept off by a lock on each of `paths`, which the kernel takes back when this
    process ends, however it ends. What killed processes left half-written beside any of the files
    is removed.

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
    lock = target.with_name(f"{_hidden_name(target)}.lock")
    try:
        file = _lock(lock, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()  # while it is held, so that nobody else can hold it


def _remove_leftovers(target: Path) -> None:
    """Remove what processes that are no longer there have left half-written beside a file."""
    for left in target.parent.glob(f"{_hidden_name(target)}-*.tmp"):
        process = left.stem.rpartition("-")[2]
        if process.isdecimal() and not _is_running(int(process)):
            with suppress(OSError):  # it is in nobody's way
                left.unlink()


def _is_running(process: int) -> bool:
    """Whether there is a process of this id."""
    try:
        os.kill(process, 0)  # signal 0 does nothing else than to ask
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it is another person's
    return True


def _lock(lock: Path, path: Path) -> TextIO:
    """Open a file that no other process has open in this way, and leave the process's id in it.

    Raises:
        UsageError: Another process has it.
        OSError: It cannot be made.
    """
    while True:
        file = lock.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(file)
            file.close()
            raise UsageError(
                f"{path} is being written by process {owner or 'of another run'}",
                "wait for it to end, or write elsewhere",
            ) from None
        except OSError:
            pass  # some network file systems have no locks: better no lock than no training
        # Whoever held it before may have removed it since it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                file.truncate(0)
                print(os.getpid(), file=file, flush=True)
                return file
        file.close()


def _read_owner(file: TextIO) -> str:
    """The process id in a lock that another process has, which may be about to write it."""
    owner = ""
    for _ in range(20):
        file.seek(0)
        if owner := file.read(20).strip():
            break
        time.sleep(0.01)
    return owner


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a folder that appears at `path` with all its files when the block ends, or not at all.

    The block gets another folder, beside it, to write them to.

    Raises:
        UsageError: The files cannot be written.
    """
    target = path.resolve()
    temporary = _temporary(target)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(target)  # an empty folder there gives way
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def backup_path(path: Path) -> Path:
    """Where `back_up` keeps a file: ``NAME.bak.ENDING`` beside it."""
    return path.with_name(f"{path.stem}.bak{path.suffix}")


def resume_path(checkpoint: Path) -> Path:
    """Where a checkpoint's resume file is: ``NAME.resume.safetensors`` beside it."""
    return checkpoint.with_name(f"{checkpoint.stem}.resume{checkpoint.suffix}")


def back_up(path: Path) -> Path | None:
    """Copy the file that stands where another is about to be written, to `backup_path`.

    Returns:
        The copy, or None where nothing stood.

    Raises:
        UsageError: The file cannot be read, or the copy cannot be written.
    """
    return backup_path(path) if copy_file(path, backup_path(path)) else None


def copy_file(path: Path, copy: Path) -> bool:
    """Copy a file, whole, over what stands at `copy`, or leave that as it is.

    Returns:
        Whether there was a file to copy.

    Raises:
        UsageError: The file cannot be read, or the copy cannot be written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(
            f"cannot read {path} to keep a copy ({error.strerror})", "move it or write elsewhere"
        ) from error
    with atomic_write(copy) as file:
        file.write(content)
    return True


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        UsageError: It cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UsageError:
    """The error that stands for an operating system's, of a file or folder to be written."""
    cause = error.strerror or str(error)
    return UsageError(f"cannot write {path} ({cause})", "make room or write elsewhere")
