"""What commands print with --json, compared with the page that documents it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import TUTORIAL, Run, invoke, write_images, write_inspection_set

from ae_cli import cli

PAGE = (Path(__file__).parents[2] / ".github" / "JSON.md").read_text()
COMMANDS = {name: cli.load_command(name) for name in cli.COMMANDS}


class Node(NamedTuple):
    """The documentation of one place in an event."""

    types: set[str]
    children: dict[str, Node]


def read_table(lines: list[str]) -> list[tuple[str, str]]:
    """The path and type in each row."""
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| `")]
    return [(path.strip("`"), kind) for _, path, kind, *_ in rows]


def sections() -> dict[str, list[tuple[str, str]]]:
    """The table rows under each heading."""
    parts = re.split(r"^###? (.*)$", PAGE, flags=re.M)
    found = {
        heading: read_table(text.splitlines())
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {heading: rows for heading, rows in found.items() if rows}


TABLES = sections()


def build(rows: list[tuple[str, str]]) -> dict[str, Node]:
    """A tree from rows. An object or list without a row of its own is always present."""
    tree: dict[str, Node] = {}
    for path, kind in rows:
        children = tree
        keys = re.findall(r"\[\]|[^.\[\]]+", path)
        for parent, child in pairwise(keys):
            node = children.setdefault(parent, Node(set(), {}))
            if not node.types:
                node.types.add("list" if child == "[]" else "object")
            children = node.children
        node = children.setdefault(keys[-1], Node(set(), {}))
        for name in kind.split(" or "):
            link = re.fullmatch(r"\[(\w+)\]\(#object-\1\)", name)
            node.types.add("object" if link else name)
            if link:
                node.children.update(build(TABLES[f"object `{link[1]}`"]))
    return tree


EVENTS = {
    (match[1], match[2]): build([("event", "text"), *rows])
    for heading, rows in TABLES.items()
    if (match := re.fullmatch(r"`ae ([^`]+)`: `(\w+)`", heading))
}
NAMES = {str: "text", bool: "boolean", int: "integer", float: "number", type(None): "null"}
NAMES |= {list: "list", dict: "object"}


def compare(value: Any, node: Node, place: str, seen: set[str]) -> None:
    """Fail the test if a value is not as documented; add the places it has to `seen`."""
    kind = NAMES[type(value)]
    allowed = node.types | ({"integer"} if "number" in node.types else set())
    assert kind in allowed, f"{place} is {kind}, documented as {node.types}"
    seen.add(place)
    if isinstance(value, dict):
        if set(node.children) == {"*"}:
            for item in value.values():
                compare(item, node.children["*"], f"{place}.*", seen)
            return
        assert set(value) == set(node.children), place
        for key, item in value.items():
            compare(item, node.children[key], f"{place}.{key}", seen)
    if isinstance(value, list):
        for item in value:
            compare(item, node.children["[]"], f"{place}.[]", seen)


def places(node: Node, place: str) -> Iterator[str]:
    yield place
    for name, child in node.children.items():
        yield from places(child, f"{place}.{name}")


def refuse(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def read_events(text: str) -> list[dict[str, Any]]:
    """The events that a command printed to stdout, which must be one JSON object per line."""
    assert text.isascii()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def check(
    heading: str, *arguments: str | Path, code: int = 0
) -> tuple[list[dict[str, Any]], set[str]]:
    """Run a command and compare its events with the documentation under a heading."""
    result = invoke(*arguments, "--json", "--quiet")
    assert result.exit_code == code, result.output
    events, seen = read_events(result.stdout), set()
    for event in events:
        tree = EVENTS[heading, event["event"]]
        compare(event, Node({"object"}, tree), event["event"], seen)
    return events, seen


def check_complete(heading: str, seen: set[str]) -> None:
    """Fail the test if something documented was never printed."""
    documented = {
        place
        for (name, event), tree in EVENTS.items()
        if name == heading
        for place in places(Node({"object"}, tree), event)
    }
    assert documented - seen == set()


def test_every_command_is_documented_and_has_json():
    assert {heading.split()[0] for heading, _ in EVENTS} == set(COMMANDS)
    for command in COMMANDS.values():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--quiet", "-q"} <= options


@pytest.fixture
def photos(digits) -> Path:
    """A folder of images without labels."""
    write_images(digits.test, Path("photos"), count=30, labelled=False)
    return Path("photos")


@pytest.fixture
def unlabelled(photos) -> Path:
    """A checkpoint trained on images without labels."""
    path = Path("photos.safetensors")
    result = invoke(*TUTORIAL, "--data", photos, "--epochs", "1", "--out", path)
    assert result.exit_code == 0, result.output
    return path


TRAIN = (
    "train",
    "--augment",
    "shift",
    "--preset",
    "tutorial",
    "--data",
    "digits",
    "--hidden",
    "64",
    "--limit",
    "200",
    "--engine",
    "fused",
)


def test_train(photos):
    events, seen = check("train", *TRAIN, "--epochs", "2")
    assert [event["event"] for event in events] == ["start", "epoch", "epoch", "end"]
    events, more = check(
        "train", *TRAIN, "--classes", "0-4", "--epochs", "2", "--log-every", "2", "--film", "f.png"
    )
    assert [event["event"] for event in events] == [
        "start", "step", "epoch", "step", "epoch", "end"
    ]  # fmt: skip
    assert (events[-1]["backup"], events[-1]["film"]) == ("ae.bak.safetensors", "f.png")
    events, last = check("train", *TUTORIAL, "--data", photos, "--epochs", "1")
    assert events[0]["data"]["classes"] is None
    assert events[0]["resumed"] is None
    check_complete("train", seen | more | last | {"start.resumed.epoch", "start.resumed.step"})


def test_train_resumed():
    check("train", *TRAIN, "--epochs", "1")
    (start, *_), _ = check("train", "train", "--resume", "--epochs", "2")
    assert start["resumed"] == {"epoch": 1, "step": 4}


def test_reconstruct(checkpoint, unlabelled):
    _, seen = check("reconstruct", "reconstruct")
    events, more = check("reconstruct", "reconstruct", "--checkpoint", unlabelled)
    assert events[0]["images"][0]["label"] is None
    check_complete("reconstruct", seen | more)


def test_embed_and_commands_that_read_its_table(checkpoint):
    for command in (("embed",), ("plot3d",), ("plot3d", "--out", "latents.html"), ("decode",)):
        _, seen = check(command[0], *command)
        check_complete(command[0], seen)


def test_decode_without_a_table(checkpoint):
    check("decode", "decode", "--grid", "2")
    check("decode", "decode", "--between", "1,2", "--out", "folder")


def test_explore(checkpoint):
    _, seen = check("explore", "explore", "--n", "20")
    check_complete("explore", seen)


def test_evaluate(checkpoint, unlabelled):
    few = ("--limit", "20", "--classes", "0,1")
    _, seen = check("evaluate", "evaluate", *few, "--out", "evaluation.png")
    (event,), more = check("evaluate", "evaluate", "--limit", "100")
    assert (event["problems"], len(event["advice"]) > 0) == ([], True)
    (event,), last = check("evaluate", "evaluate", "--limit", "20", "--checkpoint", unlabelled)
    assert (event["accuracy"], event["chance"], event["out"]) == (None, None, None)
    assert (len(event["problems"]), event["advice"]) == (1, [])
    check_complete("evaluate", seen | more | last)


def test_neighbours_and_duplicates(checkpoint):
    _, seen = check("neighbours", "neighbours", "--index", "3,4")
    check_complete("neighbours", seen)
    (event,), seen = check("duplicates", "duplicates", "--threshold", "0", "--split", "test")
    assert (event["duplicates"], event["picture"]) == (0, None)
    (event,), more = check("duplicates", "duplicates", "--threshold", "3")
    assert event["duplicates"] > 0
    check_complete("duplicates", seen | more)


def test_curve():
    invoke(*TUTORIAL, "--data", "digits", "--limit", "99", "--epochs", "2", "--log", "m.csv")
    _, seen = check("curve", "curve", "m.csv")
    check_complete("curve", seen)


def test_sweep(photos):
    pytest.importorskip("optuna")
    sweep = ("sweep", "--preset", "tutorial", "--epochs", "1", "--latent-dim", "2,3")
    _, seen = check("sweep", *sweep, "--data", "digits", "--limit", "100", "--trials", "1")
    (event,), more = check("sweep", *sweep, "--data", photos, "--out", "photos-sweep")
    assert (event["chose"], event["chance"], event["models"][0]["knn"]) == (["epoch"], None, None)
    check_complete("sweep", seen | more)


def test_anomalies(checkpoint, digits, run: Run):
    (event,), _ = check("anomalies", "anomalies")
    assert (event["normal_classes"], event["scores"]) == (None, None)
    (event,), seen = check("anomalies", "anomalies", "--normal-classes", "0,1")
    assert (event["shares"], event["confidence"], event["pixel_scores"]) == (None, None, None)
    write_inspection_set(digits, Path("parts"))
    small = ("--model", "mlp", "--hidden", "8", "--epochs", "1", "--out", "parts.safetensors")
    run("train", "--data", "parts", *small, "-q")
    model = ("--checkpoint", "parts.safetensors")
    _, more = check("anomalies", "anomalies", *model)
    Path("parts/test/a.png").write_bytes(b"")  # comes first, and cannot be read
    ends = ("--fail-on-anomaly", "--quantile", "0")  # at the first image above the threshold
    (broken, *_, last), watched = check(
        "anomalies", "anomalies", *model, "--watch", "parts/test", *ends, code=6
    )
    assert (broken["name"], broken["is_anomaly"], last["is_anomaly"]) == ("a.png", None, True)
    check_complete("anomalies", seen | more | watched)


def test_data(photos):
    _, seen = check("data", "data")
    check_complete("data", seen)
    (event,), more = check("data SOURCE", "data", photos, "--out", "examples.png")
    assert event["classes"] == {"train": None, "test": None}
    _, seen = check("data SOURCE", "data", "digits")
    check_complete("data SOURCE", seen | more)
    folder = Path(os.environ["AE_DATA_DIR"])
    (folder / "mine").write_text("")
    (folder / "USPS").mkdir()
    (folder / "USPS" / "usps.bz2").write_text("")
    _, seen = check("data --clear", "data", "--clear", "--yes")
    check_complete("data --clear", seen)


def test_export(run: Run, checkpoint):
    _, seen = check("export", "export", "--int8")
    (event,), more = check("export", "export", "--out", "projector")
    assert (event["inputs"], event["images"]) == ([], 1797)
    _, last = check("export", "export", "--out", "ae.pt2")
    check_complete("export", seen | more | last)


def test_info(run: Run, checkpoint, unlabelled):
    _, seen = check("info", "info")
    run(*TRAIN, "--classes", "0-4", "--epochs", "1", "--out", "some.safetensors")
    _, more = check("info", "info", "some.safetensors")
    (event,), _ = check("info", "info", unlabelled)
    assert event["data"]["classes"] is None
    check_complete("info", seen | more)


ODD = ['"quoted"\\', "line\nbreak", "日本", "\x1b[31mred", os.fsdecode(b"caf\xe9")]


def test_odd_names_are_valid_json(digits):
    """Folder, class and file names with quotes, control characters and invalid UTF-8."""
    for i, name in enumerate(ODD):
        some = digits.test.select(np.arange(10 * i, 10 * i + 10))
        write_images(some, Path("odd", name), labelled=False)
    (event,), _ = check("data SOURCE", "data", "odd")
    assert set(event["classes"]["train"]) == {*ODD[:-1], "caf\N{REPLACEMENT CHARACTER}"}
    for name in ODD:
        (event,), _ = check("data SOURCE", "data", f"odd/{name}", "--out", f"{name}.png")
        assert event["source"] == str(Path("odd", name).resolve())
        assert event["out"] == f"{name}.png"
        assert Path(event["out"]).exists()


@pytest.mark.slow
def test_odd_output_names(checkpoint, table):
    for command, ending in (
        (("reconstruct",), "png"), (("embed", "--split", "test"), "csv"), (("plot3d",), "png"),
        (("explore", "--n", "5"), "html"), (("decode",), "png"),
        (("anomalies", "--split", "test"), "csv"),
    ):  # fmt: skip
        path = f"{command[0]} {' '.join(ODD)}.{ending}"
        (event,), _ = check(command[0], *command, "--out", path)
        assert event["out"] == path
        assert Path(path).exists()


def test_a_failing_command_prints_no_json(run: Run):
    for command in COMMANDS:
        result = run(command, "--json", "--data-dir", "/dev/null", "--no-such-option")
        assert (result.exit_code, result.stdout) == (2, "")
