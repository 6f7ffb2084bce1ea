"""Broken files, and a guarded process in which they can do no harm.

`Guard` runs ae commands in a separate process, one after another. For each command it reports the
exit code, the output, the memory used, and any action that no file should be able to cause. The
rest of the module uses Hypothesis to make broken files from intact ones. Run as a program, this
module is the guarded process.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import io
import json
import os
import select
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SECONDS = 10.0  # time limit of a command
MEGABYTES = 500  # memory limit of a command, not counting what the idle process uses
MOST_RETAINED = 50  # megabytes that the process may keep after a command
TIDY = 20  # megabytes kept after a command, above which freed memory is given back to the system
FATAL_MEGABYTES = 2000  # above this, the process is killed at once to protect the machine


# ---- The guard -----------------------------------------------------------------------------------


@dataclass
class Outcome:
    """The result of a command.

    Attributes:
        code: Its exit code; negative for the signal that ended the process.
        stdout: What it printed to stdout.
        stderr: What it printed to stderr.
        noise: What a library wrote directly to stderr's file descriptor, bypassing Python.
        violations: Forbidden actions: writing elsewhere, unpickling, using the network.
        megabytes: Its peak memory, not counting what the idle process uses.
        seconds: How long it took.
        ended: Why the process had to be killed, if it was.
        trace: The traceback of an exception.
    """

    code: int
    stdout: str = ""
    stderr: str = ""
    noise: str = ""
    violations: list[str] = field(default_factory=list)
    megabytes: float = 0.0
    seconds: float = 0.0
    ended: str = ""
    trace: str = ""

    def faults(self, codes: Sequence[int]) -> list[str]:
        """What is wrong: nothing if the command succeeded, or failed with one line and these codes.

        A command that succeeded may end stderr with the line that says what to do next.

        Args:
            codes: The exit codes that are allowed for a broken file.
        """
        faults = [self.ended] if self.ended else []
        if self.code < 0:
            return faults or [f"the process died from signal {-self.code}"]
        lines = self.stderr.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if self.code not in (0, *codes):
            faults.append(f"exit code {self.code}: {lines[-1:]}")
        if len(errors) != (self.code != 0) or errors != lines[len(lines) - len(errors) :]:
            faults.append(f"{len(errors)} error lines")
        if any("; " not in line or "bug in ae" in line for line in errors):
            faults.append("an error without a remedy")
        if self.code and self.stdout:
            faults.append("an error, and something on stdout")
        if self.code == 0 and lines and lines[-1].startswith("next "):
            lines.pop()
        if any(not line.startswith(("error: ", "warning: ")) for line in lines):
            faults.append("lines that are neither an error nor a warning")
        if self.noise:
            faults.append(f"a library printed {self.noise[:200]!r}")
        if self.megabytes > MEGABYTES:
            faults.append(f"{self.megabytes:.0f} MB")
        if self.seconds > SECONDS:
            faults.append(f"{self.seconds:.1f} s")
        return faults + self.violations


class Guard:
    """A process that runs commands, and is restarted after a command has ended it.

    Args:
        published: A folder with small files that the process accepts as the published files of
            known sets; None for none.
    """

    def __init__(self, published: Path | None = None) -> None:
        self.published = published
        self.process: subprocess.Popen[bytes] | None = None
        self.pending = b""

    def run(self, folder: Path, *arguments: str) -> Outcome:
        """Run an ae command.

        Args:
            folder: Its working folder. It may write only to the subfolders ``out`` and ``data``,
                of which ``data`` is its data folder.
            arguments: What a user would type after ``ae``.
        """
        if self.process is None:
            self._start()
        outcome = self._ask({"folder": str(folder), "arguments": arguments}, SECONDS)
        # What is left counts for the next command, and large images take 405 MB of the 500.
        if outcome.get("retained", 0) > MOST_RETAINED:
            self.close()
        outcome.pop("retained", None)
        return Outcome(**outcome)

    def close(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.published or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={
                # Use as many threads as a user's run, whatever is set for the test process
                **{name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"},
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "MPLBACKEND": "agg",
            },
        )
        self.pending = b""
        ready = self._answer(time.monotonic() + 120, 10**9)
        assert isinstance(ready, dict), "the process did not start"
        self.baseline = ready["megabytes"]

    def _ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        answer = self._answer(time.monotonic() + seconds, self.baseline + FATAL_MEGABYTES)
        if isinstance(answer, dict):
            return answer
        self.process.kill()
        code = self.process.wait()
        self.close()
        return {"code": min(code, -1), "ended": answer}

    def _answer(self, deadline: float, most: float) -> dict[str, Any] | str:
        """The process's next line, or why there is none."""
        assert self.process is not None
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                return f"no end after {SECONDS:g} s"
            if _megabytes("VmRSS", self.process.pid) > most:
                return f"more than {FATAL_MEGABYTES} MB"
            if not select.select([pipe], [], [], min(left, 0.02))[0]:
                continue
            some = os.read(pipe, 1 << 20)
            if not some:
                return f"the process ended by itself ({self.process.wait()})"
            self.pending += some
        line, _, self.pending = self.pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _megabytes(name: str, process: int | str = "self") -> float:
    """A process's memory as Linux reports it: ``VmRSS`` is the current use, ``VmHWM`` the peak."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1000
    return 0.0


# ---- The guarded process -------------------------------------------------------------------------


class _Witness:
    """Records actions that no file should be able to cause."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.allowed: tuple[str, ...] = ()
        self.watching = False

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Check an event that Python reports to `sys.addaudithook`."""
        if not self.watching:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._wrote(path)
        elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"):
            self._wrote(arguments[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._wrote(arguments[1])
        elif event.startswith(("pickle.", "socket.connect", "subprocess.", "os.system", "os.exec")):
            self.violations.append(f"{event} {arguments}"[:200])

    def _wrote(self, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a file descriptor, which was opened earlier
        whole = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - this is called very often
        if whole != os.devnull and not whole.startswith(self.allowed):
            self.violations.append(f"wrote {whole}")

    def forbid(self, module: Any, name: str) -> None:
        """Record each use of a function that can turn bytes into arbitrary Python objects."""
        original = getattr(module, name)

        def refuse(*arguments: Any, **options: Any) -> Any:
            if self.watching:
                self.violations.append(f"{module.__name__}.{name}")
            return original(*arguments, **options)

        setattr(module, name, refuse)


def _main() -> None:
    """Run the commands that arrive as lines of JSON, and answer each with a line of JSON."""
    sys.dont_write_bytecode = True
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)

    import pickle

    import typer.main
    import typer.testing

    from ae_cli.cli import app

    # Typer would build the command anew for each call, which takes longer than most commands do.
    command = typer.main.get_command(app)
    typer.testing._get_command = lambda _: command
    _warm_up()
    if sys.argv[1]:
        _publish(Path(sys.argv[1]))
    os.fsync = lambda _: None  # it would take most of the time, and no crash is tested here
    noise = os.memfd_create("noise")
    os.dup2(noise, 2)
    witness = _Witness()
    sys.addaudithook(witness.see)
    import torch

    for module, name in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ):
        witness.forbid(module, name)

    gc.collect()
    gc.freeze()  # so that collecting takes no time for the modules' objects
    baseline = _megabytes("VmRSS")
    print(json.dumps({"megabytes": baseline}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        folder = question["folder"]
        os.chdir(folder)
        os.environ["AE_DATA_DIR"] = f"{folder}/data"
        before = _listing(folder)
        witness.violations = []
        witness.allowed = f"{folder}/out", f"{folder}/data"
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # reset VmHWM
        start = time.perf_counter()
        witness.watching = True
        result = typer.testing.CliRunner().invoke(app, question["arguments"], prog_name="ae")
        witness.watching = False
        seconds = time.perf_counter() - start
        size = os.lseek(noise, 0, os.SEEK_CUR)
        printed = os.pread(noise, size, 0)
        os.ftruncate(noise, 0)
        os.lseek(noise, 0, os.SEEK_SET)
        violations = witness.violations
        if _listing(folder) != before:
            violations = [*violations, "files in the working folder changed"]
        answer = {
            "code": result.exit_code,
            "stdout": result.stdout[:10_000],
            "stderr": result.stderr,
            "noise": printed.decode(errors="replace"),
            "violations": violations,
            "megabytes": _megabytes("VmHWM") - baseline,
            "seconds": seconds,
            "trace": "",
            "retained": _retain(baseline),
        }
        if result.exit_code == 1:
            again = typer.testing.CliRunner().invoke(app, ["--traceback", *question["arguments"]])
            answer["trace"] = again.stderr[-4000:]
        print(json.dumps(answer), file=answers, flush=True)


def _retain(baseline: float) -> float:
    """The megabytes that the process keeps, not counting what is free but not given back."""
    retained = _megabytes("VmRSS") - baseline
    if retained < TIDY:
        return retained
    import pyarrow

    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return _megabytes("VmRSS") - baseline


def _listing(folder: str) -> list[tuple[str, int, int]]:
    """The files in a working folder, except in the two subfolders that may change."""
    found = []
    for path, folders, files in os.walk(folder):
        if path == folder:
            folders[:] = [name for name in folders if name not in ("out", "data")]
        for name in files:
            state = os.stat(f"{path}/{name}")  # noqa: PTH116
            found.append((f"{path}/{name}", state.st_size, state.st_mtime_ns))
    return sorted(found)


def _warm_up() -> None:
    """Import and use everything once, so that its memory is not attributed to a file."""
    import tempfile

    import numpy as np
    import pyarrow.parquet  # noqa: F401
    import typer.testing
    from PIL import Image

    from ae_cli.cli import app
    from ae_cli.config import DataConfig, Metrics, ModelConfig, TrainConfig
    from ae_cli.models import build
    from ae_cli.models.checkpoint import Checkpoint, save_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AE_DATA_DIR"] = name
        pixels = np.arange(4 * 784).reshape(4, 28, 28).astype(np.uint8)
        (folder / "images").mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"images/{i}.png")
        np.savez(folder / "pixels.npz", images=pixels)
        sources = _make_sources(folder, pixels)
        checkpoint, table = folder / "ae.safetensors", folder / "latents"
        save_checkpoint(
            Checkpoint(
                build(ModelConfig(), seed=0),
                TrainConfig(),
                DataConfig("digits", None, 1500, 297, None),
                Metrics(1, 1, 0.1, 0.1, 0.1, 1.0),
            ),
            checkpoint,
        )
        for arguments in (
            ["data", "digits"],
            ["data", f"{folder}/images"],
            *[["data", f"{folder}/{source}"] for source in sources],
            *[
                ["embed", f"--checkpoint={checkpoint}", f"--out={table}{ending}"]
                for ending in (".csv", ".parquet", ".npz")
            ],
            ["reconstruct", f"--checkpoint={checkpoint}", "--n=1", f"--out={folder}/a.png"],
            ["plot3d", f"{table}.parquet", f"--out={folder}/b.png"],
            ["plot3d", f"{table}.npz", f"--out={folder}/b.png"],
            ["decode", f"{table}.csv", f"--checkpoint={checkpoint}", f"--out={folder}/c.npy"],
        ):
            result = typer.testing.CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, result.output


def _make_sources(folder: Path, pixels: Any) -> list[str]:
    """Write a file for each reader, and return their names."""
    import h5py
    import scipy.io

    names = [f"{i}.png" for i in range(len(pixels))]
    members = [(name, (folder / "images" / name).read_bytes()) for name in names]
    (folder / "x.zip").write_bytes(npz(members, method=8))
    (folder / "x.tar").write_bytes(tar(members))
    scipy.io.savemat(folder / "x.mat", {"x": pixels})
    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = pixels
    (folder / "images" / "x.csv").write_text("\n".join(["name", *names]))
    (folder / "images" / "x.jsonl").write_text("\n".join(f'{{"name": "{n}"}}' for n in names))
    return ["x.zip", "x.tar", "x.mat", "x.h5", "images/x.csv", "images/x.jsonl"]


def _publish(folder: Path) -> None:
    """Accept the small files in a folder as the published files of MNIST and KMNIST."""
    from torchvision import datasets

    from ae_cli.data import mnist

    def md5(path: Path) -> str:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()

    mnist.FILES = {
        key: file._replace(md5=md5(folder / "MNIST" / "raw" / file.name), raw_md5="")
        for key, file in mnist.FILES.items()
    }
    datasets.KMNIST.resources = [
        (name, md5(folder / "KMNIST" / "raw" / name)) for name, _ in datasets.KMNIST.resources
    ]


# ---- Bytes ---------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 3, 4, 8, 127, 128, 255, 256, 1000, 2**15 - 1, 2**16 - 1, 10**6, 2**31 - 1)
HUGE = (2**31, 2**32 - 1, 2**33, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
FORMS = ("B", "<H", ">H", "<I", ">I", "<Q", ">Q")

_place = st.one_of(st.integers(-160, 160), st.integers(0, 2**20))
_change = st.tuples(
    st.sampled_from(("flip", "flip", "set", "cut", "drop", "insert", "double", "number", "number")),
    _place,
    st.integers(0, 2**16),
    st.integers(0, 255),
)


def damage(content: bytes, changes: Sequence[tuple[str, int, int, int]], marks: bytes) -> bytes:
    """Change some bytes of a file.

    Args:
        content: An intact file.
        changes: Each change is a kind, a position (negative from the end; positions beyond the end
            wrap around), and two more numbers.
        marks: The positions in the file of numbers that are lengths.
    """
    for kind, place, number, byte in changes:
        at = place % (len(content) or 1)
        size = 1 + number % 64
        head, tail = content[:at], content[at:]
        if kind == "flip" and tail:
            content = head + bytes([tail[0] ^ (1 << byte % 8)]) + tail[1:]
        elif kind == "set" and tail:
            content = head + bytes([byte]) + tail[1:]
        elif kind == "cut":
            content = head
        elif kind == "drop":
            content = head + tail[size:]
        elif kind == "insert":
            content = head + bytes([byte]) * size + tail
        elif kind == "double":
            content = head + tail[:size] * (2 + byte % 3) + tail[size:]
        elif kind == "number":
            if marks and byte % 2:
                at = marks[number % len(marks)] % (len(content) or 1)
            form = FORMS[byte % len(FORMS)]
            values = NUMBERS + HUGE
            value = values[number % len(values)] % 256 ** struct.calcsize(form)
            packed = struct.pack(form, value)
            content = content[:at] + packed + content[at + len(packed) :]
    return content


def damaged(
    seeds: Sequence[bytes] | st.SearchStrategy[bytes], marks: bytes = b""
) -> st.SearchStrategy[bytes]:
    """Files like these, with one to three changes."""
    whole = seeds if isinstance(seeds, st.SearchStrategy) else st.sampled_from(list(seeds))
    return st.builds(damage, whole, st.lists(_change, min_size=1, max_size=3), st.just(marks))


# ---- JSON and safetensors ------------------------------------------------------------------------


class Raw(str):
    """Text that is written to JSON as it is, even if the result is not valid JSON."""

    __slots__ = ()


class Pairs(list[Any]):
    """A JSON object as a list of names and values, so that a name can occur twice."""


BAD_VALUES = tuple(
    map(
        Raw,
        (
            *("null", "true", "0", "-1", "1.5", "1e999", "-1e999", "NaN", "Infinity", "1e-400"),
            *("4", "2147483648", "9223372036854775808", "18446744073709551616", "9" * 5000),
            *('""', '"a\\nb"', '"\\ud800"', '"\\u0000"', '"mnist"', '"I64"', '"BF16"', '"F8_E4M3"'),
            *("[]", "{}", "[[]]", "[0]", "[-1]", "[0,0]", "[null]", "[1,4611686018427387904]"),
            *("[3,28,28]", "[4294967296,4294967296]", '{"0":0}', "", "nul", "'"),
            "[" * 100_000,
            "[" * 500 + "]" * 500,
            '{"a":' * 20_000,
            f"[{'1,' * 20_000}1]",
            f'"{"x" * 100_000}"',
        ),
    )
)


def to_pairs(text: str) -> Any:
    """Parse JSON, with its objects as `Pairs`."""
    return json.loads(text, object_pairs_hook=Pairs)


def to_text(value: Any) -> str:
    """Write JSON, with its objects given as `Pairs`."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(name)}:{to_text(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_text, value)) + "]"
    return json.dumps(value)


@st.composite
def bad_json(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one change somewhere in it, or in JSON that one of its texts contains."""
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError, RecursionError):  # already broken
            return to_text(draw(bad_json(to_pairs(value))))
    if not isinstance(value, list) or not value:
        return draw(st.sampled_from(BAD_VALUES))
    place = draw(st.integers(0, len(value) - 1))
    pairs = isinstance(value, Pairs)
    name, item = value[place] if pairs else ("", value[place])
    edit = draw(st.sampled_from(("into", "into", "into", "replace", "drop", "double", "rename")))
    if edit == "into":
        item = draw(bad_json(item))
    elif edit in ("replace", "double"):
        item = draw(st.sampled_from(BAD_VALUES))
    elif edit == "rename":
        name = draw(st.sampled_from(("", "__metadata__", "new", "a\nb", "\0", "x" * 1000)))
    new = [] if edit == "drop" else [(name, item) if pairs else item]
    kept = value[place : place + 1] if edit == "double" else []
    return type(value)([*value[:place], *kept, *new, *value[place + 1 :]])


def join_safetensors(header: str, body: bytes, size: int | None = None) -> bytes:
    """A safetensors file made of the header's size, the header, and the tensors' bytes."""
    text = header.encode(errors="surrogatepass")
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def split_safetensors(content: bytes) -> tuple[Pairs, bytes]:
    """The header and the tensors' bytes of a safetensors file."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return to_pairs(content[8:end].decode()), content[end:]


@st.composite
def _bad_header(draw: st.DrawFn, seed: bytes) -> bytes:
    header, body = split_safetensors(seed)
    for _ in range(draw(st.integers(1, 2))):
        header = draw(bad_json(header)) if isinstance(header, list) else header
    return join_safetensors(to_text(header), body)


TYPES = ("U8", "I8", "BOOL", "I16", "U16", "F16", "BF16", "I32", "F32", "I64", "U64", "F64")
WIDTHS = {"8": 1, "L": 1, "6": 2, "2": 4, "4": 8}  # bytes per value, by the type's last character
ODD_TYPES = ("F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "C64", "F8_E8M0")


@st.composite
def _bad_tensors(draw: st.DrawFn, seed: bytes, checksum: bool) -> bytes:
    """A file whose header describes its tensors correctly, but they are not the expected ones.

    With `checksum`, the checksum in the metadata is updated, as a malicious program would do.
    """
    header, body = split_safetensors(seed)
    metadata, tensors = Pairs(), {}
    for name, value in header:
        if name == "__metadata__":
            metadata = value
            continue
        entry = dict(value)
        tensors[name] = (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(tensors) or ["none"]))
        kind, shape, content = tensors.get(name, ("U8", [1], b"0"))
        edit = draw(st.sampled_from(("drop", "rename", "add", "type", "shape", "values", "less")))
        if edit in ("drop", "rename"):
            tensors.pop(name, None)
        if edit in ("add", "rename"):
            name = draw(st.sampled_from(("new", "", "\n", name + "x", "pixels")))
        elif edit == "type":
            kind = draw(st.sampled_from((*TYPES, *ODD_TYPES)))
            width = WIDTHS.get(kind[-1], 1)
            shape = [len(content) // width]
            content = content[: shape[0] * width]
        elif edit == "shape":
            total = len(content) // WIDTHS.get(kind[-1], 1)
            shape = draw(
                st.sampled_from(
                    ([total], [total, 1], [1, total], [1] * 70 + [total], [0], [], [2**62, 0])
                )
            )
            content = (
                b"" if 0 in shape else content[: WIDTHS.get(kind[-1], 1)] if not shape else content
            )
        elif edit == "values":
            byte = draw(st.sampled_from((0, 1, 9, 10, 91, 123, 127, 128, 255)))
            content = bytes([byte]) * len(content)
        elif edit == "less" and shape:
            rows = shape[0] // 2
            content = content[: len(content) // (shape[0] or 1) * rows]
            shape = [rows, *shape[1:]]
        if edit != "drop":
            tensors[name] = kind, shape, content
        if name == "failures" and draw(st.booleans()):
            failures = to_text(draw(bad_json(to_pairs('{"0.png": "because", "1.png": "so"}'))))
            content = failures.encode()
            tensors[name] = "U8", [len(content)], content
    if checksum:
        crc = 0
        for _, (_, _, content) in sorted(tensors.items()):
            crc = zlib.crc32(content, crc)
        metadata = Pairs((n, f"{crc:08x}" if n == "crc32" else v) for n, v in metadata)
    return write_safetensors(tensors, metadata)


def write_safetensors(tensors: dict[str, tuple[str, list[int], bytes]], metadata: Pairs) -> bytes:
    """A safetensors file of these tensors, each given as type, shape and bytes."""
    entries, body = Pairs([("__metadata__", metadata)]), b""
    for name, (kind, shape, content) in tensors.items():
        places = [len(body), len(body) + len(content)]
        entries.append((name, Pairs([("dtype", kind), ("shape", shape), ("data_offsets", places)])))
        body += content
    return join_safetensors(to_text(entries), body)


def bad_safetensors(seeds: Sequence[bytes], *, checksum: bool = False) -> st.SearchStrategy[bytes]:
    """Broken safetensors files."""
    whole = st.sampled_from(list(seeds))
    headers = whole.flatmap(_bad_header)
    lengths = st.builds(
        lambda seed, size: struct.pack("<Q", size) + seed[8:],
        whole,
        st.sampled_from([n for n in NUMBERS + HUGE if n < 2**64]),
    )
    return st.one_of(
        damaged(seeds, bytes(range(0, 100, 4))),
        headers,
        headers,
        whole.flatmap(lambda seed: _bad_tensors(seed, checksum)),
        whole.flatmap(lambda seed: _bad_tensors(seed, checksum)),
        lengths,
        damaged(headers),
    )


# ---- Arrays: NPY, NPZ and IDX --------------------------------------------------------------------

NUMPY_TYPES = (
    *("|u1", "<f4", "<f8", ">f8", "<f2", "<i8", "<u8", "|b1", "<c16", "<f16", "<M8[s]", "<m8"),
    *("|O", "|S0", "<U0", "|V0", "|S1", "<U1", "|V3", "<U100000000", "|S2147483647", "<U4", "x"),
)
NUMPY_SHAPES = (
    *((), (0,), (1,), (2,), (12,), (24,), (12, 49), (12, 7, 7), (12, 7, 7, 1), (12, 1, 49), (588,)),
    *((-1,), (12, 0), (0, 7, 7), (2**62,), (2**31, 2**31), (2**63,), (10**8, 7, 7), (10**9,)),
    *((10**7,), (2**40, 0), (1,) * 65, (12, 2**40), (2**20, 2**20, 2**20), (True,), (1.5,), "x"),
)


def npy(kind: Any, shape: Any, body: bytes, *, order: Any = False, version: int = 1) -> bytes:
    """An NPY file with this header and content, which need not agree."""
    header = repr({"descr": kind, "fortran_order": order, "shape": shape}).encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + body


def npz(members: Sequence[tuple[str, bytes]], *, method: int = 0) -> bytes:
    """A zip archive with these members; several may have the same name."""
    import warnings
    import zipfile

    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", method) as archive:
        warnings.simplefilter("ignore")  # about duplicate names
        for name, member in members:
            archive.writestr(name, member)
    return content.getvalue()


@st.composite
def bad_npy(draw: st.DrawFn, seed: bytes) -> bytes:
    """An NPY file whose header does not match its content."""
    if len(seed) < 10:
        return draw(damaged([seed]))
    size = 10 + struct.unpack("<H", seed[8:10])[0]
    header, body = seed[10:size], seed[size:]
    edit = draw(st.sampled_from(("fields", "fields", "fields", "text", "version", "bytes")))
    if edit == "fields":
        kind = draw(st.sampled_from((*NUMPY_TYPES, [("a", "<f4")], ["x"], None)))
        shape = draw(st.sampled_from(NUMPY_SHAPES))
        content = draw(st.sampled_from((body, body * 4, b"", bytes(4096), b"\xff" * 4096)))
        order = draw(st.sampled_from((False, False, True, None, 1)))
        return npy(kind, shape, content, order=order, version=draw(st.sampled_from((1, 1, 2, 3))))
    if edit == "text":
        some = draw(
            st.sampled_from(
                (
                    *(b"{" * 9000, b"(" * 9000, b"[" * 900, b"-" * 9000, b"{}", b"1", b""),
                    b"\xff\xfe",
                    b"{'descr': '<f4'}",
                    b"'" * 99,
                    b"{'a': " * 300,
                    b"None",
                    b"{[]: 1}",
                    b"9" * 9000,
                )
            )
        )
        return seed[:8] + struct.pack("<H", len(some)) + some + body
    if edit == "version":
        return seed[:6] + bytes([draw(st.integers(0, 4)), 0]) + seed[8:]
    changes = draw(st.lists(_change, min_size=1, max_size=2))
    return seed[:10] + damage(header, changes, b"")[:60_000] + body


def bad_npy_file(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken NPY files."""
    headers = st.sampled_from(list(seeds)).flatmap(bad_npy)
    return st.one_of(damaged(seeds, bytes(range(6, 60))), headers, headers, damaged(headers))


@st.composite
def _bad_members(draw: st.DrawFn, seed: bytes) -> bytes:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(members) - 1))
        name, content = members[place]
        edit = draw(st.sampled_from(("array", "array", "array", "name", "double", "drop", "other")))
        if edit == "array":
            members[place] = name, draw(bad_npy(content))
        elif edit == "double":
            members.append((name, draw(bad_npy(content))))
        elif edit == "drop" and len(members) > 1:
            members.pop(place)
        elif edit == "other":
            members[place] = name, draw(st.sampled_from((b"", b"\x80\x04N.", b"PK\3\4", bytes(99))))
        elif edit == "name":
            names = ("images.npy", "x", "../x.npy", "/x.npy", " ", "z1.npy", "\n.npy", "label.npy")
            members[place] = draw(st.sampled_from(names)), content
    return npz(members, method=draw(st.sampled_from((0, 8, 12, 14))))


def bad_npz(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken NPZ files."""
    whole = st.sampled_from(list(seeds))
    members = whole.flatmap(_bad_members)
    return st.one_of(damaged(seeds, bytes(range(4, 31, 2))), members, members, damaged(members))


@st.composite
def _bad_idx(draw: st.DrawFn, seed: bytes) -> bytes:
    import gzip

    body = seed[16:]
    dimensions = draw(st.integers(0, 5))
    sizes = st.sampled_from((0, 1, 7, 12, 49, 588, 2**16, 2**31, 2**32 - 1))
    shape = [draw(sizes) for _ in range(dimensions)]
    kind = draw(st.sampled_from((0, 8, 8, 8, 9, 10, 11, 12, 13, 14, 255)))
    content = bytes([0, 0, kind, draw(st.sampled_from((dimensions, dimensions, 0, 255)))])
    content += struct.pack(f">{dimensions}I", *shape) + body
    return gzip.compress(content, 1) if draw(st.booleans()) else content


def bad_idx(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken IDX files, gzipped or not; the first seed must not be gzipped."""
    headers = _bad_idx(seeds[0])
    return st.one_of(damaged(seeds, bytes(range(2, 16))), headers, damaged(headers))


# ---- Tables: CSV and Parquet ---------------------------------------------------------------------

BAD_CELLS = (
    *(b"", b" ", b"nan", b"inf", b"-1", b"256", b"1e400", b"9" * 400, b"0x1", b"true", b"a b"),
    *(
        b'"',
        b'"a',
        b'""',
        b'a"b',
        b"'",
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\r",
    ),
    *(b",", b",,,,", b";", b"\t", b"\n", b"\r\n", b"\n\n\n", b'"\n"', b"x" * 5000, b"1," * 3000),
    *(b"\xe2\x80\xa8", b"-", b"+1", b"1_000", b"label", b"z1", b"=1+1", b"\x1b[31m", b"\x1a"),
)


@st.composite
def _bad_cells(draw: st.DrawFn, seed: bytes) -> bytes:
    lines = seed.split(b"\n")
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from((0, 0, 1, 2, len(lines) // 2, len(lines) - 1)))
        row = min(row, len(lines) - 1)
        cells = lines[row].split(b",")
        place = draw(st.integers(0, len(cells) - 1))
        cell = draw(st.sampled_from(BAD_CELLS))
        edit = draw(st.sampled_from(("replace", "replace", "add", "drop", "line", "repeat")))
        if edit == "replace":
            cells[place] = cell
        elif edit == "add":
            cells.insert(place, cell)
        elif edit == "drop":
            cells.pop(place)
        elif edit == "line":
            cells = [cell]
        elif edit == "repeat":
            cells = cells * draw(st.sampled_from((2, 30)))
        lines[row] = b",".join(cells)
    return b"\n".join(lines)


def bad_csv(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken CSV files."""
    cells = st.sampled_from(list(seeds)).flatmap(_bad_cells)
    codings = st.builds(
        lambda seed, coding: seed.decode().encode(coding),
        st.sampled_from(list(seeds)),
        st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "utf-7")),
    )
    return st.one_of(damaged(seeds), cells, cells, cells, damaged(cells), codings)


def _odd_columns() -> list[Any]:
    """Columns of four rows, of types that are rare in tables of numbers."""
    import datetime
    import decimal

    import numpy as np
    import pyarrow as pa

    return [
        pa.array([None] * 4),
        pa.array(["a", None, "b\n", ""]),
        pa.array([b"\xff", b"", b"x", None]),
        pa.array([[1], [], None, [2, 3]]),
        pa.array([{"a": 1}, None, {"a": 2}, {}]),
        pa.array([decimal.Decimal("1.5")] * 4),
        pa.array([datetime.datetime(1, 1, 1)] * 4),
        pa.array([datetime.timedelta(days=1)] * 4),
        pa.array([1, 2, None, 4]),
        pa.array([1.0, float("nan"), float("inf"), -0.0]),
        pa.array([True, False, None, True]),
        pa.array([2**64 - 1, 0, 1, 2], pa.uint64()),
        pa.array(["x", "y", None, "x"]).dictionary_encode(),
        pa.array([1.0, 2.0, 1.0, 3.0]).dictionary_encode(),
        pa.array(["x" * 10_000, "", "y", "z"]),
        pa.array(np.array([1, 2, 3, 4], np.float16)),
        pa.array(["1", "2", "3", "x"], pa.large_string()),
        pa.array([b"1234"] * 4, pa.binary(4)),
        pa.nulls(4, pa.struct([("z1", pa.int8())])),
    ]


@st.composite
def _odd_parquet(draw: st.DrawFn, names: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    columns = draw(st.lists(st.sampled_from(_ODD), min_size=1, max_size=3))
    chosen = [draw(st.sampled_from((*names, "x", "", "é\n", "z1"))) for _ in columns]
    table = pa.table(columns, names=chosen)
    content = io.BytesIO()
    pa.parquet.write_table(
        table,
        content,
        compression=draw(st.sampled_from(("none", "snappy", "gzip", "zstd", "brotli", "lz4"))),
        use_dictionary=draw(st.booleans()),
        data_page_version=draw(st.sampled_from(("1.0", "2.0"))),
    )
    return content.getvalue()


_ODD = _odd_columns()


def footer_of(content: bytes) -> tuple[bytes, bytes]:
    """The pages and the footer of a Parquet file."""
    size = struct.unpack("<I", content[-8:-4])[0]
    return content[: -8 - size], content[-8 - size : -8]


@st.composite
def _bad_footer(draw: st.DrawFn, seed: bytes) -> bytes:
    """A Parquet file whose footer is changed, with the footer's length updated."""
    pages, footer = footer_of(seed)
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(("flip", "set", "drop", "insert", "double", "number")),
                st.integers(0, len(footer) - 1),
                st.integers(0, 2**16),
                st.integers(0, 255),
            ),
            min_size=1,
            max_size=2,
        )
    )
    footer = damage(footer, changes, b"")
    return pages + footer + struct.pack("<I", len(footer)) + b"PAR1"


def bad_parquet(seeds: Sequence[bytes], names: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Broken Parquet files, and intact ones with unusual types in columns of these names."""
    footers = st.sampled_from(list(seeds)).flatmap(_bad_footer)
    return st.one_of(
        damaged(seeds, bytes(range(4, 60))), footers, footers, _odd_parquet(names), damaged(footers)
    )


# ---- Images --------------------------------------------------------------------------------------


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file, each as kind and content."""
    chunks, at = [], 8
    while at < len(png):
        size = struct.unpack(">I", png[at : at + 4])[0]
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


def join_png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks, with correct checksums."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in chunks:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        parts += [struct.pack(">I", len(content)), kind, content, checksum]
    return b"".join(parts)


@st.composite
def _bad_chunks(draw: st.DrawFn, seed: bytes) -> bytes:
    chunks = chunks_of(seed)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(chunks) - 1))
        kind, content = chunks[place]
        edit = draw(st.sampled_from(("bytes", "bytes", "size", "double", "drop", "text", "kind")))
        if edit == "bytes":
            content = damage(content, draw(st.lists(_change, min_size=1, max_size=2)), b"")
        elif edit == "size" and kind == b"IHDR":
            sizes = st.sampled_from((0, 1, 7, 3000, 8000, 2**16, 2**31 - 1, 2**32 - 1))
            content = struct.pack(">II", draw(sizes), draw(sizes)) + content[8:]
        elif edit == "text":
            text = zlib.compress(bytes(draw(st.sampled_from((10, 10**6, 2 * 10**7)))))
            kinds = st.sampled_from((b"zTXt", b"iCCP", b"tEXt", b"eXIf", b"acTL", b"tRNS", b"PLTE"))
            chunks.insert(place, (draw(kinds), b"name\0\0" + text))
            continue
        elif edit == "kind":
            kind = draw(st.sampled_from((b"IDAT", b"IEND", b"PLTE", b"tRNS", b"fdAT", b"xxxx")))
        new = [] if edit == "drop" else [(kind, content)] * (1 + (edit == "double"))
        chunks[place : place + 1] = new
        if not chunks:
            break
    return join_png(chunks)


def bad_png(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken PNG files."""
    chunks = st.sampled_from(list(seeds)).flatmap(_bad_chunks)
    return st.one_of(damaged(seeds, bytes(range(16, 29))), chunks)


BAD_NAMES = (
    *("../x.png", "/etc/x.png", "C:\\x.png", "a\0b.png", ".", "..", "/", "x" * 5000 + ".png"),
    *("a/../../b.png", "\n.png", "\x1b[31m.png", "é.png", "con/0.png", "000001.png", "000001.cls"),
    *("000001.json", "000002.txt", "metadata.csv", "train/0/a.png", "test/0/a.png", ".png", "a/"),
)
BAD_CONTENTS = (b"", b"\0", b"[" * 100_000, b'{"label": 1e999}', b'{"label": "x", "a": [1]}', b"7")


def tar(members: Sequence[tuple[str, bytes]], kinds: Sequence[bytes] = ()) -> bytes:
    """A tar archive with these members; the first ones are of these kinds instead of files."""
    import tarfile

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for i, (name, member) in enumerate(members):
            info = tarfile.TarInfo(name.replace("\0", "0"))
            info.size = len(member)
            if i < len(kinds):
                info.type, info.linkname = kinds[i], "../../etc/passwd"
            archive.addfile(info, io.BytesIO(member))
    return content.getvalue()


@st.composite
def _bad_entries(draw: st.DrawFn, seed: Sequence[tuple[str, bytes]], kind: str) -> bytes:
    import gzip

    members = list(seed)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(members) - 1))
        name, content = members[place]
        edit = draw(st.sampled_from(("name", "name", "content", "damage", "double", "bomb")))
        if edit == "name":
            members[place] = draw(st.sampled_from(BAD_NAMES)), content
        elif edit == "content":
            members[place] = name, draw(st.sampled_from(BAD_CONTENTS))
        elif edit == "damage":
            members[place] = name, draw(damaged([content]))
        elif edit == "double":
            members.append((name, content))
        elif edit == "bomb":
            members[place] = name, bytes(draw(st.sampled_from((10**4, 10**6, 10**7))))
    if kind == "zip":
        return npz(members, method=draw(st.sampled_from((0, 8, 12, 14))))
    kinds = draw(st.lists(st.sampled_from((b"0", b"1", b"2", b"3", b"6", b"S", b"x")), max_size=3))
    content = tar(members, kinds)
    return gzip.compress(content, 1) if kind == "tar.gz" else content


def bad_archive(
    whole: bytes, members: Sequence[tuple[str, bytes]], kind: str
) -> st.SearchStrategy[bytes]:
    """Broken archives of these members: ``zip``, ``tar`` or ``tar.gz``."""
    entries = _bad_entries(members, kind)
    marks = bytes(range(4, 31, 2)) if kind == "zip" else bytes((124, 148, 156, 157, 200))
    return st.one_of(damaged([whole], marks), entries, entries, damaged(entries, marks))


def bad_lines(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken files of JSON lines."""
    lines = st.sampled_from(list(seeds)).flatmap(_bad_line)
    return st.one_of(damaged(seeds), lines, lines, damaged(lines))


@st.composite
def _bad_line(draw: st.DrawFn, seed: bytes) -> bytes:
    lines = seed.decode().splitlines()
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(lines) - 1))
        with suppress(ValueError, RecursionError):  # already broken
            lines[place] = to_text(draw(bad_json(to_pairs(lines[place]))))
    return "\n".join(lines).encode(errors="surrogatepass")


def bad_compressed(
    files: st.SearchStrategy[bytes], codec: str = "gzip"
) -> st.SearchStrategy[bytes]:
    """Compressed files, some of which are damaged after they were compressed."""
    import pyarrow as pa

    whole = st.builds(lambda content: pa.compress(content, codec, asbytes=True), files)
    return st.one_of(whole, damaged(whole, bytes(range(2, 12))))


def find_sizes(content: bytes) -> bytes:
    """Positions in an image file that may hold its width and height, by its format."""
    if content[:3] == b"GIF":
        return bytes((6, 7, 8, 9, 10))
    if content[:2] == b"BM":
        return bytes((2, 10, 14, 18, 22, 26, 28, 30, 34))
    if content[:4] == b"RIFF":
        return bytes((4, 16, 20, 24, 26, 28))
    if content[:2] == b"\xff\xd8":
        frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        return bytes(at for at in range(frame + 2, frame + 12) if 0 < at < 256)
    if content[:2] in (b"II", b"MM"):
        start = struct.unpack("<I", content[4:8])[0]
        return bytes(at for at in range(start, start + 150, 4) if at < 256)
    return b""


def bad_images(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Broken images of any format."""
    png = [seed for seed in seeds if seed[1:4] == b"PNG"]
    others = [damaged([seed], find_sizes(seed)) for seed in seeds if seed not in png]
    return st.one_of(*others, bad_png(png)) if png else st.one_of(*others)


if __name__ == "__main__":
    _main()
