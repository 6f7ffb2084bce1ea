"""The page of images sorted by score, in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from browser import PHONE, Visit, embedded, visit
from conftest import Run, error_line, invoke, write_inspection_set
from PIL import Image
from playwright.sync_api import Browser

import ae_cli
from ae_cli.data.images import DataSet
from ae_cli.page.anomalies import MOST_SHOWN, SCRIPTS, STYLES, most_shown

SMALL = ("--model", "mlp", "--hidden", "16", "--latent-dim", "4", "--epochs", "3", "--quiet")


@pytest.fixture(scope="module")
def folder(digits: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page of 20 good images and 40 cracked ones."""
    folder = tmp_path_factory.mktemp("anomalies")
    write_inspection_set(digits, folder / "parts")
    checkpoint = folder / "ae.safetensors"
    for arguments in (
        ("train", "--data", folder / "parts", "--out", checkpoint, *SMALL),
        ("anomalies", "--checkpoint", checkpoint, "--split", "test", "-q",
         "--out", folder / "anomalies.csv"),
    ):  # fmt: skip
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def rows(folder: Path) -> list[dict[str, str]]:
    return read(folder / "anomalies.csv")


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def opened(browser: Browser, folder: Path) -> Visit:
    return open_page(browser, folder / "anomalies.html")


def open_page(browser: Browser, path: Path, **options: object) -> Visit:
    """Open a page with the network disabled, and wait until it is ready."""
    visited = visit(browser, path, offline=True, **options)
    visited.page.wait_for_selector("#grid button")
    return visited


def pixels(visited: Visit, selector: str) -> np.ndarray:
    """A canvas, uint8 (height, width, 3)."""
    address = visited.page.locator(selector).evaluate("canvas => canvas.toDataURL('image/png')")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def downloaded(visited: Visit) -> list[dict[str, str]]:
    with visited.page.expect_download() as download:
        visited.page.click("#download")
    download.value.save_as("downloaded.csv")
    return read(Path("downloaded.csv"))


def test_images_are_sorted_by_score(opened, rows):
    assert (opened.errors, opened.requests) == ([], [])
    assert opened.page.locator("#title").inner_text() == "parts"
    assert opened.page.locator("#summary").inner_text() == "60 images, score: auto"
    names = opened.page.locator("#grid button").evaluate_all("all => all.map(one => one.title)")
    assert names == [f"{row['name']}, {row['label']}" for row in rows]


def test_at_first_the_threshold_is_that_of_the_command(opened, rows):
    above = [row for row in rows if row["is_anomaly"] == "true"]
    bad = [row for row in above if row["label"] == "cracked"]
    assert opened.page.locator("#grid .above").count() == len(above)
    text = opened.page.locator("#count").inner_text()
    assert text.startswith(
        f"{len(above)} of 60 images are above it; {len(bad)} of 40 anomalous and "
        f"{len(above) - len(bad)} of 20 normal ones; "
    )


@pytest.mark.parametrize("means", ["slider", "keys", "field", "histogram"])
def test_the_threshold_moves(opened, rows, folder, means):
    page = opened.page
    before = page.locator("#grid .above").count()
    if means == "slider":
        page.locator("#slider").evaluate(
            "slider => { slider.value = 0.3; slider.dispatchEvent(new Event('input')) }"
        )
    elif means == "keys":
        page.locator("#slider").focus()
        for _ in range(2):
            page.keyboard.press("PageDown")
    elif means == "field":
        page.fill("#threshold", "0.25")
        assert float(page.input_value("#threshold")) == 0.25
    else:
        page.click("#histogram", position={"x": 200, "y": 20})
    threshold = float(page.input_value("#threshold"))
    expected = [row for row in rows if float(row["score"]) > threshold]
    assert before < len(expected) < 60
    assert page.locator("#grid .above").count() == len(expected)
    assert page.locator("#count").inner_text().startswith(f"{len(expected)} of 60 ")
    command = page.locator("#command code").inner_text()
    assert command == f"ae anomalies --threshold {page.input_value('#threshold')}"
    # The command agrees with the page that suggests it.
    options = ("--checkpoint", folder / "ae.safetensors", "--split", "test", "--json", "-q")
    result = invoke(*command.split()[1:], *options)
    event = json.loads(result.stdout.splitlines()[-1])
    assert event["anomalies"] == len(expected)
    found = downloaded(opened)
    kept = ("index", "split", "name", "label")
    assert [[row[name] for name in kept] for row in found] == [
        [row[name] for name in kept] for row in expected
    ]
    assert list(found[0]) == list(rows[0])
    assert {float(row["threshold"]) for row in found} == {threshold}
    for name in ("score", "error"):
        mine, theirs = ([float(row[name]) for row in some] for some in (found, expected))
        assert mine == pytest.approx(theirs, rel=1e-6)
    page.click("#reset")
    assert page.locator("#grid .above").count() == before


def test_images_are_filtered_and_searched(opened, rows):
    page = opened.page
    names = lambda: page.locator("#grid button:visible").evaluate_all(  # noqa: E731
        "all => all.map(one => one.title.split(', ')[0])"
    )
    page.click("#above")
    assert names() == [row["name"] for row in rows if row["is_anomaly"] == "true"]
    page.click("#below")
    assert names() == [row["name"] for row in rows if row["is_anomaly"] == "false"]
    page.click("#all")
    page.fill("#query", "GOOD")
    assert names() == [row["name"] for row in rows if row["label"] == "good"]
    page.fill("#query", "no such name")
    assert names() == []
    assert page.locator("#nothing").is_visible()


def test_a_pointer_shows_where_an_image_is_unusual(opened, folder):
    page = opened.page
    plain = pixels(opened, "#grid button:nth-child(1) canvas")
    assert (plain[..., 0] == plain[..., 2]).all()  # grey
    page.hover("#grid button:nth-child(1)")
    pointed = pixels(opened, "#grid button:nth-child(1) canvas")
    assert (pointed[..., 0] != pointed[..., 2]).any()
    page.hover("#grid button:nth-child(2)")
    assert (pixels(opened, "#grid button:nth-child(1) canvas") == plain).all()
    page.check("#overlays")
    page.hover("#title")
    assert (pixels(opened, "#grid button:nth-child(1) canvas") == pointed).all()


def test_an_image_opens(opened, rows, folder):
    page = opened.page
    page.click("#grid button:nth-child(2)")
    assert page.locator("#name").inner_text() == rows[1]["name"]
    report = ae_cli.anomalies(
        folder / "ae.safetensors", str(folder / "parts"), split="test", n=2, progress=ignore
    )
    for name, expected in (("original", report.originals), ("reconstruction", report.pixels)):
        shown = pixels(opened, f"#{name}")[..., 0]
        assert np.abs(shown - 255 * expected[1, 0]).max() < 1
    page.keyboard.press("ArrowRight")
    assert page.locator("#name").inner_text() == rows[2]["name"]
    page.click("#previous")
    page.click("#previous")
    page.click("#previous")  # there is none before the first
    assert page.locator("#name").inner_text() == rows[0]["name"]
    assert rows[0]["label"] in page.locator("#facts").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#image").is_visible()


def ignore(*_: object) -> None:
    """No progress."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_on_a_phone(browser, folder, scheme):
    opened = open_page(
        browser, folder / "anomalies.html", size=PHONE, color_scheme=scheme, has_touch=True
    )
    width = opened.page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE[0]
    assert opened.page.evaluate("document.documentElement.dataset.theme") == scheme
    opened.page.tap("#grid button:nth-child(1)")
    assert opened.page.locator("#image").is_visible()
    assert opened.errors == []


def test_most_images_of_a_large_set_are_left_out(run: Run, digits, browser):
    """The page says so; a count is exact as long as the threshold is above some of its images."""
    assert run("train", "--data", "digits", *SMALL).exit_code == 0
    assert run("anomalies", "-q").exit_code == 0
    opened = open_page(browser, Path("anomalies.html"))
    assert opened.page.locator("#grid button").count() == MOST_SHOWN == most_shown(8, 8)
    summary = opened.page.locator("#summary").inner_text()
    assert summary == ("the 1,000 with the highest scores of 1,797 images, reconstruction error")
    opened.page.fill("#threshold", "0")
    assert "at least 1000 of 1797 images" in opened.page.locator("#count").inner_text()
    first = opened.page.locator("#grid button span").first.inner_text()
    assert first in {str(digit) for digit in range(10)}


def test_large_images_are_fewer():
    assert most_shown(512, 512) < 100
    assert most_shown(10_000, 10_000) == 1


def test_texts_cannot_become_html(run: Run, browser, digits):
    write_inspection_set(digits, Path("parts"))
    bad = Path("parts/test/<img src=x onerror=alert(1)>")
    Path("parts/test/cracked").rename(bad)
    assert run("train", "--data", "parts", *SMALL).exit_code == 0
    assert run("anomalies", "-q", "--split", "test").exit_code == 0
    opened = open_page(browser, Path("anomalies.html"))
    opened.page.click("#grid button:nth-child(1)")
    assert opened.page.locator("#facts img, #grid img").count() == 0
    assert opened.errors == []
    assert bad.name in {image["label"] for image in embedded("anomalies.html", "data")["images"]}


def test_a_page_that_cannot_be_written_is_said_at_once(run: Run, checkpoint):
    Path("anomalies.html").mkdir()
    assert "anomalies.html is not a file" in error_line(run("anomalies"), 2)


def test_a_threshold_excludes_a_quantile(run: Run, checkpoint):
    line = error_line(run("anomalies", "--threshold", "0.1", "--quantile", "0.9"), 2)
    assert line.startswith("error: --quantile and --threshold exclude one another")
    line = error_line(run("anomalies", "--threshold", "nan"), 2)
    assert line.startswith("error: --threshold is nan; give a score")


def test_a_threshold_is_that_of_the_table(run: Run, checkpoint):
    result = run("anomalies", "--threshold", "0.03", "--json", "-q")
    event = json.loads(result.stdout.splitlines()[-1])
    rows = read(Path("anomalies.csv"))
    assert {row["threshold"] for row in rows} == {"0.03"}
    assert event["threshold"] == 0.03
    assert event["anomalies"] == sum(float(row["score"]) > 0.03 for row in rows)
    quantile = run("anomalies", "--quantile", str(event["quantile"]), "--json", "-q")
    near = json.loads(quantile.stdout.splitlines()[-1])["threshold"]
    assert near == pytest.approx(0.03, rel=0.02)


def test_the_scripts_and_styles_are_there():
    files = {path.name for path in resources.files("ae_cli.page").iterdir()}
    assert files >= {*SCRIPTS, *STYLES}
