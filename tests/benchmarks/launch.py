"""Run a command, and print its seconds and its peak memory in bytes as JSON.

This is a small process of its own, because Linux also counts the memory of the process that starts
the command. It exits with the command's exit code.

Usage: launch.py OUTPUT COMMAND [ARGUMENT …]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    output, *command = sys.argv[1:]
    with Path(output).open("wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    # ru_maxrss is in KiB on Linux, and in bytes on macOS.
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "memory": memory}))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
