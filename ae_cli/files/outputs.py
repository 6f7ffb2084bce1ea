"""Output files, which are checked before the work begins and written atomically."""

from __future__ import annotations

import os
import shlex
import shutil
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ae_cli.errors import UsageError

_replaced: set[Path] = set()  # files that `atomic_write` wrote in place of others


def check_output(path: Path, endings: Collection[str]) -> None:
    """Make sure that a file can be written, before any work is done.

    Args:
        path: The file to write. An existing one will be replaced.
        endings: The supported endings, such as ``{".csv", ".npz"}``.

    Raises:
        UsageError: The ending is not supported, or the folder does not exist or cannot be written
            to.
    """
    if path.suffix.lower() not in endings:
        raise UsageError(
            f"{path} does not end in a format that can be written",
            f"choose an ending from {', '.join(sorted(endings))}",
        )
    with _writing_beside(path):
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file", "give the name of a file")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` complete, when the block ends, or not at all.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and move to `path`
    in one step. If the block ends early, for whatever reason, `path` keeps its previous content.

    Raises:
        UsageError: The file cannot be written (no space, no permission, a read-only disk).
    """
    target = path.resolve()  # write through a symbolic link rather than over it
    temporary = temporary_path(target)
    try:
        with temporary.open("w+b") as file:  # read, too, as a file must be to be mapped
            yield file
            file.flush()
            os.fsync(file.fileno())
        replaces = target.exists()
        temporary.replace(target)
        (_replaced.add if replaces else _replaced.discard)(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def has_replaced(path: Path) -> bool:
    """Whether there was a file before `atomic_write` wrote this one, so that users can be told."""
    return path.resolve() in _replaced


def _flush_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a file moved into it survives a power cut."""
    with suppress(OSError):  # file systems that cannot flush a folder do not need it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_folder(path: Path) -> None:
    """Make sure that a folder of files can be written, before any work is done.

    Raises:
        UsageError: The folder exists and is not empty, or cannot be written.
    """
    with _writing_beside(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} already exists and is not empty", "name a new folder")


@contextmanager
def _writing_beside(path: Path) -> Iterator[None]:
    """Run a block that checks what is at `path`, then make sure that a file can be written there.

    Raises:
        UsageError: The folder does not exist, or it cannot be written to.
    """
    target = path.resolve()
    if not target.parent.is_dir():
        raise UsageError(
            f"the folder {target.parent} does not exist", "create it, or write elsewhere"
        )
    try:
        yield
        # Only writing is a sure test: permissions do not show a read-only or full file system.
        temporary_path(target).touch()
        temporary_path(target).unlink()
    except OSError as error:
        raise cannot_write(path, error) from error


def temporary_path(target: Path) -> Path:
    """The temporary file of this process that is moved to `target` when it is complete."""
    return target.with_name(f"{hidden_name(target)}-{os.getpid()}.tmp")


def hidden_name(target: Path) -> str:
    """The prefix of the names of hidden files that belong to `target`.

    It contains a checksum of the name, as the name itself may already have the maximum length.
    """
    return f".ae-{zlib.crc32(os.fsencode(target.name)):08x}"


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a folder that appears at `path` with all its files when the block ends, or not at all.

    The block gets a temporary folder beside it to write the files to.

    Raises:
        UsageError: The files cannot be written.
    """
    target = path.resolve()
    temporary = temporary_path(target)
    try:
        temporary.mkdir()
        yield temporary
        temporary.replace(target)  # replaces an empty folder
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
    """Copy a file that is about to be replaced to `backup_path`.

    Returns:
        The copy, or None if there was no file.

    Raises:
        UsageError: The file cannot be read, or the copy cannot be written.
    """
    return backup_path(path) if copy_file(path, backup_path(path)) else None


def copy_file(path: Path, copy: Path) -> bool:
    """Copy a file to `copy` atomically, if it exists.

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
    """Remove a file, if it exists.

    Raises:
        UsageError: The file cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> UsageError:
    """Turn an operating system's error about an output file or folder into a `UsageError`."""
    cause = error.strerror or str(error)
    return UsageError(f"cannot write {path} ({cause})", "make room or write elsewhere")


def shell_word(path: Path) -> str:
    """A path, quoted for a shell."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
