"""Files: atomic outputs, locks, the cache folder, and reading in bounded memory."""

from __future__ import annotations

from ae_cli.files.locks import only_writer
from ae_cli.files.near import find_unquoted, suggest_near
from ae_cli.files.outputs import (
    atomic_folder,
    atomic_write,
    back_up,
    backup_path,
    cannot_write,
    check_folder,
    check_output,
    copy_file,
    has_replaced,
    remove,
    resume_path,
    shell_word,
)

__all__ = [
    "atomic_folder",
    "atomic_write",
    "back_up",
    "backup_path",
    "cannot_write",
    "check_folder",
    "check_output",
    "copy_file",
    "find_unquoted",
    "has_replaced",
    "only_writer",
    "remove",
    "resume_path",
    "shell_word",
    "suggest_near",
]
