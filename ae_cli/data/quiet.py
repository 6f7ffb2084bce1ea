"""Silence Pillow, and the libraries that it uses, while images are decoded."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings and log while the block runs: `decode` reports unreadable files.

    Call it in the thread that starts the others, since it changes the whole process.
    """
    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings(), _quiet_libraries():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Discard what C libraries such as libtiff print on stderr, but not what Python prints."""
    try:
        saved = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with os.fdopen(saved, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as screen:
        original = sys.stderr
        try:
            original.flush()
            if original.fileno() == 2:
                sys.stderr = screen
        except (AttributeError, OSError, ValueError):  # sys.stderr is not a file
            pass
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            sys.stderr = original
