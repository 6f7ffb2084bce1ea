"""Run a command, and print its seconds and its peak memory in bytes as JSON.

`private` is the peak without pages of mapped files, which the system can drop at any time. It is
looked up a hundred times in a second, and so a short peak may be missed.

This is a small process of its own, because Linux also counts the memory of the process that starts
the command. It exits with the command's exit code.

Usage: launch.py OUTPUT COMMAND [ARGUMENT …]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def main() -> None:
    output, *command = sys.argv[1:]
    with Path(output).open("wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=file)
        ended, peaks = threading.Event(), [0]
        watcher = threading.Thread(target=watch, args=(process.pid, ended, peaks))
        watcher.start()  # beside the wait, so that it does not make the command seem longer
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        ended.set()
        watcher.join()
    # ru_maxrss is in KiB on Linux, and in bytes on macOS.
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "memory": memory, "private": max(peaks)}))
    sys.exit(os.waitstatus_to_exitcode(status))


def watch(process: int, ended: threading.Event, peaks: list[int]) -> None:
    """Look a process's private memory up until it ends, and add each new peak to a list."""
    while not ended.wait(0.01):
        private = find_private(process)
        if private > peaks[-1]:
            peaks.append(private)


def find_private(process: int) -> int:
    """The memory that belongs to a process alone, in bytes; 0 where Linux's /proc is missing."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
