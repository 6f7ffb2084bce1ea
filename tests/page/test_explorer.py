"""The page that explores the latent space, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import DESKTOP, PHONE, TABLET, Visit, embedded, visit
from conftest import TUTORIAL, contrast, error_line, invoke, rewrite, write_images
from PIL import Image
from playwright.sync_api import Browser

from ae_cli.config import ModelConfig
from ae_cli.latents import infer
from ae_cli.latents.read_table import read_latents
from ae_cli.latents.table import Latents
from ae_cli.models import AutoEncoder, DecoderDescription, Layer, build
from ae_cli.models.checkpoint import load_checkpoint
from ae_cli.page.explorer import LARGEST, SCRIPTS, LatentSpace, write_explorer

CPU = torch.device("cpu")


def open_page(browser: Browser, path: Path, **options: object) -> Visit:
    """Open a page with the network disabled, and wait until it is ready."""
    visited = visit(browser, path, offline=True, **options)
    visited.page.wait_for_selector("#worst tbody tr", state="attached")
    return visited


@pytest.fixture(scope="session")
def page_file(_trained: Path) -> Path:
    """The page for all 1,797 digits."""
    out = _trained / "explore.html"
    result = invoke(
        "explore", "--checkpoint", _trained / "ae.safetensors", "--out", out, "--n", "all"
    )
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="session")
def _tab(_browser: Browser, page_file: Path) -> Visit:
    return open_page(_browser, page_file)


@pytest.fixture
def opened(_tab: Visit, page_file: Path) -> Visit:
    """The page, reloaded in a shared tab; a new tab would make each test 0.2 s slower."""
    _tab.page.mouse.move(0, 0)
    _tab.page.goto("about:blank")
    _tab.errors.clear()
    _tab.requests.clear()
    _tab.page.goto(page_file.resolve().as_uri())
    _tab.page.wait_for_selector("#worst tbody tr", state="attached")
    return _tab


@pytest.fixture(scope="session")
def rows(_trained: Path) -> Latents:
    return read_latents(_trained / "latents.csv")


@pytest.fixture(scope="session")
def model(_trained: Path):
    return load_checkpoint(_trained / "ae.safetensors").model


def settle(visited: Visit) -> None:
    """Wait until the page has drawn its latest state."""
    visited.page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def canvas_pixels(visited: Visit, selector: str) -> np.ndarray:
    """The red channel of a canvas, uint8 (height, width)."""
    address = visited.page.evaluate(
        "selector => document.querySelector(selector).toDataURL('image/png')", selector
    )
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.array(picture.convert("RGB"))[:, :, 0]


def decoded(model, z: np.ndarray) -> np.ndarray:
    """What the decoder draws in torch, as levels from 0 to 255 (height, width)."""
    return infer.decode(model, np.array([z], np.float32), device=CPU)[0, 0] * 255


def current(visited: Visit) -> np.ndarray:
    return np.array(visited.page.evaluate("[...explorer.z]"), np.float32)


def original(digits, rows: Latents, i: int) -> np.ndarray:
    images = digits.splits[str(rows.split[i])]
    return images.pixels[list(images.index()).index(rows.index[i]), 0].numpy()


def position(visited: Visit, i: int) -> tuple[float, float]:
    """The position of a point on the screen."""
    return tuple(
        visited.page.evaluate(
            """i => {
                const box = explorer.cloud.canvas.getBoundingClientRect();
                return [box.left + explorer.cloud.x[i], box.top + explorer.cloud.y[i]];
            }""",
            i,
        )
    )


def images_of(visited: Visit, selector: str) -> list[int]:
    """The numbers of the images that the selected elements represent."""
    return visited.page.locator(selector).evaluate_all(
        "elements => elements.map(element => Number(element.dataset.image))"
    )


def downloaded(visited: Visit) -> Latents:
    """Download the page's table as downloaded.csv, and read it."""
    with visited.page.expect_download() as download:
        visited.page.click("#download")
    download.value.save_as("downloaded.csv")
    return read_latents(Path("downloaded.csv"))


def test_the_page_opens_without_errors_or_requests(opened):
    settle(opened)
    assert opened.errors == []
    assert opened.requests == []


def test_the_title_the_summary_and_the_json(opened, rows, run, checkpoint):
    assert opened.page.title() == "digits – latent space"
    whole, train, test = (
        rows.error[chosen].mean(dtype="float64")
        for chosen in (slice(None), rows.split == "train", rows.split == "test")
    )
    used = load_checkpoint(checkpoint).metrics.latents_in_use
    assert opened.page.inner_text("#summary") == (
        f"1,797 images, 3 latents, of which about {used:.1f} are in use, "
        f"mean error {whole:.4f} (train {train:.4f}, test {test:.4f})"
    )
    result = run("explore", "--n", "300", "--json", "-q")
    (line,) = result.stdout.splitlines()
    said = json.loads(line)
    assert said.pop("bytes") == Path("explore.html").stat().st_size
    assert 0.01 < (mean := said.pop("mean_error")) < 0.1
    train, test = said.pop("split_errors").values()
    assert min(train, test) <= mean <= max(train, test)
    assert said == {
        "event": "result",
        "out": "explore.html",
        "images": 300,
        "there": 1797,
        "latent_dim": 3,
        "thumbnail": [28, 28],
        "lossless": True,
        "decoder": "float32",
    }


def test_a_hovered_point_shows_its_image(opened, digits, rows, model):
    seen = set()
    for i in (3, 500, 900, 1300, 1700):
        opened.page.mouse.move(*position(opened, i))
        opened.page.wait_for_selector("#card:not([hidden])")
        shown = opened.page.evaluate("explorer.onCard")  # it may be another point in front of it
        seen.add(shown)
        made = [canvas_pixels(opened, f"#card figure:nth-child({n}) canvas") for n in (1, 2, 3)]
        np.testing.assert_array_equal(made[0], original(digits, rows, shown))
        np.testing.assert_allclose(made[1], decoded(model, rows.z[shown]), atol=0.51)
        # The red in the heat map increases with the error.
        difference = (made[0] / 255 - decoded(model, rows.z[shown]) / 255) ** 2
        assert np.corrcoef(difference.ravel(), made[2].ravel())[0, 1] > 0.8
        text = opened.page.inner_text("#card")
        assert f"{rows.split[shown]} {rows.index[shown]}: {rows.label[shown]}\n" in text
        assert f"error {rows.error[shown]:#.3g} · {rows.split[shown]}" in text
    assert len(seen) > 1
    opened.page.mouse.move(5, 5)
    opened.page.wait_for_selector("#card", state="hidden")


def test_a_clicked_point_becomes_the_current_one(opened, digits, rows):
    opened.page.mouse.click(*position(opened, 700))
    shown = opened.page.evaluate("explorer.i")
    np.testing.assert_array_equal(current(opened), rows.z[shown])
    settle(opened)
    np.testing.assert_array_equal(canvas_pixels(opened, "#original"), original(digits, rows, shown))
    assert f"label\n{rows.label[shown]}\n" in opened.page.inner_text("#facts")
    assert f"{rows.index[shown]}, {rows.split[shown]}" in opened.page.inner_text("#facts")
    rank = 1 + int((rows.error > rows.error[shown]).sum())
    assert f"{rows.error[shown]:#.3g}, rank {rank} of 1797" in opened.page.inner_text("#facts")


def test_the_neighbours_are_the_nearest_images(opened, rows):
    opened.page.evaluate("explorer.go(42)")
    settle(opened)
    shown = images_of(opened, "#neighbours button")
    distances = np.linalg.norm(rows.z - rows.z[42], axis=1)
    others = np.delete(distances, 42)
    distances[42] = np.inf
    nearest = np.sort(distances)[:5]
    np.testing.assert_allclose(distances[shown], nearest, rtol=1e-5)
    said = re.fullmatch(
        r"Distances from (.*) to (.*), on average (.*) to all others",
        opened.page.inner_text("#distances"),
    )
    assert [float(x.replace("−", "-")) for x in said.groups()] == pytest.approx(
        [nearest[0], nearest[-1], others.mean()], rel=5e-3
    )
    opened.page.locator("#neighbours button").nth(2).press("Enter")
    assert opened.page.evaluate("explorer.i") == shown[2]
    settle(opened)
    assert (
        opened.page.locator("#neighbours button")
        .nth(2)
        .evaluate("button => button === document.activeElement")
    )


@pytest.mark.slow  # the tests of the opened page compare tanh with torch
@pytest.mark.parametrize("activation", ["tanh", "relu", "silu", "gelu"])
def test_the_decoder_in_the_page_matches_torch(browser, run, activation):
    run(*TUTORIAL, "--data", "digits", "--epochs", "2", "--activation", activation, "--loss", "bce")
    run("explore", "--n", "20")
    visited = open_page(browser, Path("explore.html"))
    model = load_checkpoint(Path("ae.safetensors")).model
    z = np.random.default_rng(1).normal(0, 4, (100, 3)).astype(np.float32)
    here = visited.page.evaluate("all => all.map(z => [...explorer.decoder.decode(z)])", z.tolist())
    np.testing.assert_allclose(
        np.array(here).reshape(100, 1, 28, 28), infer.decode(model, z, device=CPU), atol=1e-4
    )


def test_a_slider_moves_through_the_latent_space(opened, model):
    before = current(opened)
    opened.page.focus("#z2")
    for _ in range(20):
        opened.page.keyboard.press("ArrowRight")
    settle(opened)
    after = current(opened)
    assert after[1] > before[1]
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(canvas_pixels(opened, "#decoded"), decoded(model, after), atol=0.51)
    assert opened.page.inner_text("#where") == "Between the images"
    assert opened.page.inner_text("#original-caption").startswith("Nearest image")
    assert f"{after[1]:#.3g}".replace("-", "−") in opened.page.inner_text("#sliders")


def test_dragging_the_ring_moves_in_the_plane_facing_the_viewer(opened, model):
    opened.page.evaluate("explorer.go(10)")
    start = current(opened)
    where = """() => {
        const { cloud } = explorer;
        const here = cloud.locate(cloud.place(explorer.z), cloud.directions());
        const box = cloud.canvas.getBoundingClientRect();
        return [box.left + here.x, box.top + here.y, here.depth];
    }"""
    x, y, depth = opened.page.evaluate(where)
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x + 30, y - 20, steps=5)
    opened.page.mouse.move(x + 60, y - 45, steps=5)
    opened.page.mouse.up()
    settle(opened)
    # It is where the pointer left it, at the same distance from the viewer.
    np.testing.assert_allclose(opened.page.evaluate(where), [x + 60, y - 45, depth], atol=0.02)
    assert np.linalg.norm(current(opened) - start) > 0.1
    shown = canvas_pixels(opened, "#decoded")
    np.testing.assert_allclose(shown, decoded(model, current(opened)), atol=0.51)


@pytest.mark.slow
def test_dragging_elsewhere_rotates_unless_walking_is_chosen(opened):
    before = current(opened)
    box = opened.page.locator("#cloud").bounding_box()
    corner = box["x"] + 60, box["y"] + 40

    def drag() -> None:
        opened.page.mouse.move(*corner)
        opened.page.mouse.down()
        opened.page.mouse.move(corner[0] + 50, corner[1] + 10, steps=4)
        opened.page.mouse.up()

    drag()
    assert opened.page.evaluate("[explorer.cloud.azim, explorer.cloud.elev]") == pytest.approx(
        [-80, 34]
    )
    np.testing.assert_array_equal(current(opened), before)
    opened.page.click("#walk")
    drag()
    assert opened.page.evaluate("explorer.cloud.azim") == pytest.approx(-80)
    assert np.linalg.norm(current(opened) - before) > 0.1
    opened.page.mouse.dblclick(*corner)
    assert opened.page.evaluate("explorer.cloud.azim") == -60


@pytest.mark.slow
def test_play_goes_from_a_to_b(opened, model, rows):
    opened.page.evaluate("explorer.go(5)")
    opened.page.click("#set-a")
    opened.page.evaluate("explorer.go(1234)")
    opened.page.click("#set-b")
    opened.page.evaluate("explorer.way.go(0.25)")
    np.testing.assert_allclose(current(opened), 0.75 * rows.z[5] + 0.25 * rows.z[1234], rtol=1e-4)
    opened.page.click("#play")
    assert opened.page.inner_text("#play") == "Pause"
    for _ in range(1000):
        if float(opened.page.input_value("#progress")) >= 0.4:
            break
        settle(opened)
    else:
        pytest.fail("playing makes no progress")
    opened.page.keyboard.press("Space")  # while the button has the focus
    assert opened.page.inner_text("#play") == "Play"
    share = float(opened.page.input_value("#progress"))
    settle(opened)
    assert float(opened.page.input_value("#progress")) == share
    np.testing.assert_allclose(
        canvas_pixels(opened, "#decoded"),
        decoded(model, rows.z[5] + share * (rows.z[1234] - rows.z[5])),
        atol=0.6,
    )
    opened.page.click("#end-b")
    assert opened.page.evaluate("explorer.i") == 1234
    # A neighbour can be clicked even while it plays.
    opened.page.click("#play")
    settle(opened)
    button = opened.page.locator("#neighbours button").first
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    opened.page.mouse.move(box["x"] + 9, box["y"] + 9)
    opened.page.mouse.down()
    settle(opened)
    opened.page.mouse.up()
    assert opened.page.inner_text("#play") == "Play"
    assert opened.page.evaluate("explorer.i") >= 0


def test_the_worst_images_are_listed_and_can_be_selected(opened, rows):
    worst = np.argsort(-rows.error, kind="stable")
    assert images_of(opened, "#worst tbody tr") == worst[:10].tolist()
    opened.page.click("#more")
    assert images_of(opened, "#worst tbody tr") == worst[:20].tolist()
    opened.page.locator("#worst tbody tr").nth(1).get_by_role("button").click()
    assert opened.page.evaluate("explorer.i") == worst[1]


def test_colours_and_hiding_with_the_legend(opened, rows):
    choices = opened.page.locator("#color option").all_inner_texts()
    assert choices == ["label", "error", "split"]

    def hidden() -> np.ndarray:
        return np.array(opened.page.evaluate("[...explorer.cloud.visible]")) == 0

    opened.page.locator("#legend button").nth(3).click()
    np.testing.assert_array_equal(hidden(), rows.label == 3)
    for color in ("error", "split"):
        opened.page.select_option("#color", color)
        assert not hidden().any()
        colors = np.array(opened.page.evaluate("[...explorer.cloud.colors]"))
        if color == "error":
            order = np.argsort(rows.error)
            assert (np.diff(colors[order]) >= 0).all()
            assert (colors.min(), colors.max()) == (0, 63)
            assert f"{rows.error.min():#.3g}" in opened.page.inner_text("#legend")
        else:
            np.testing.assert_array_equal(colors == 1, rows.split == "train")
    opened.page.select_option("#color", "label")
    np.testing.assert_array_equal(hidden(), rows.label == 3)
    assert opened.page.locator("#legend button").nth(3).get_attribute("aria-pressed") == "false"
    # The keys skip hidden images.
    before = int(np.flatnonzero((rows.label != 3)[:-1] & (rows.label == 3)[1:])[0])
    opened.page.evaluate(f"explorer.go({before})")
    settle(opened)
    opened.page.keyboard.press("n")
    after = opened.page.evaluate("explorer.i")
    assert after > before + 1
    assert (rows.label[before + 1 : after] == 3).all()
    assert rows.label[after] != 3


def test_search(opened, rows):
    opened.page.keyboard.press("/")
    opened.page.keyboard.press("Enter")
    opened.page.keyboard.type("train 17")
    i = int(np.flatnonzero((rows.split == "train") & (rows.index == 17))[0])
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("explorer.i") == i
    assert opened.page.locator("#results").is_hidden(), "the image is not covered"
    opened.page.fill("#query", "nobody")
    assert opened.page.inner_text("#results") == (
        "No image among these 1797 has that name, index or label."
    )
    opened.page.fill("#query", "7")
    count = (rows.label == 7).sum() + ((rows.index == 7) & (rows.label != 7)).sum()
    assert opened.page.inner_text("#results p") == f"{count} found, the first 24:"
    found = opened.page.evaluate("explorer.found")
    exact = sum(rows.index[i] == 7 for i in found)
    assert (rows.index[found[:exact]] == 7).all(), "exact matches are first"
    others = [(rows.split[i], rows.index[i]) for i in found[exact:]]
    assert others == sorted(others)
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("#results").is_hidden()
    assert opened.errors == []


@pytest.mark.slow
def test_keys(opened):
    opened.page.evaluate("explorer.go(7)")
    for key, expected in (("n", 8), ("p", 7), ("a", 7), ("p", 6), ("b", 6)):
        settle(opened)
        opened.page.keyboard.press(key)
        assert opened.page.evaluate("explorer.i") == expected
    assert opened.page.evaluate("explorer.way.ends.map(end => end.i)") == [7, 6]
    opened.page.keyboard.press("Space")
    assert opened.page.inner_text("#play") == "Pause"
    opened.page.keyboard.press("Space")
    assert opened.page.inner_text("#play") == "Play"
    opened.page.click("#help-button")
    assert opened.page.locator("#help").is_visible()
    opened.page.keyboard.press("Escape")
    assert opened.page.locator("#help").is_hidden()
    opened.page.focus("#cloud")
    opened.page.keyboard.press("ArrowLeft")
    assert opened.page.evaluate("explorer.cloud.azim") == -55
    opened.page.keyboard.press("+")
    assert opened.page.evaluate("explorer.cloud.zoom") == pytest.approx(1.2)
    before = current(opened)
    opened.page.keyboard.press("Shift+ArrowUp")
    assert not np.array_equal(current(opened), before)
    # All controls can be reached with the Tab key.
    opened.page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        opened.page.keyboard.press("Tab")
        reached.add(opened.page.evaluate("document.activeElement.id"))
    assert {"download", "theme", "color", "query", "cloud", "z1", "play", "progress"} <= reached


@pytest.mark.slow
def test_the_downloaded_table_matches_that_of_embed(opened, rows, run):
    table = downloaded(opened)
    for name, values in rows.columns().items():
        np.testing.assert_array_equal(table.columns()[name], values)
    assert run("plot3d", "downloaded.csv").exit_code == 0


@pytest.mark.slow
def test_light_and_dark(browser, page_file):
    visited = open_page(browser, page_file, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = visited.page.evaluate(background)
    corner = "[...explorer.cloud.canvas.getContext('2d').getImageData(2, 2, 1, 1).data]"
    settle(visited)
    assert max(visited.page.evaluate(corner)[:3]) < 60
    visited.page.click("#theme")
    settle(visited)
    light = visited.page.evaluate(background)
    assert light != dark
    assert visited.page.evaluate(corner)[:3] == [255, 255, 255]
    for scheme in ("light", "dark"):  # which matters no more
        visited.page.emulate_media(color_scheme=scheme)
        settle(visited)
        assert visited.page.evaluate(background) == light


@pytest.mark.slow
def test_the_page_on_a_phone(browser, page_file):
    visited = open_page(browser, page_file, size=PHONE, is_mobile=True, has_touch=True)
    assert visited.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    sizes = visited.page.evaluate(
        """[...document.querySelectorAll("button, p, td, label, h2, figcaption")].filter(
            node => node.offsetParent && node.innerText
        ).map(node => parseFloat(getComputedStyle(node).fontSize))"""
    )
    assert min(sizes) >= 12
    before = current(visited)
    visited.page.touchscreen.tap(*position(visited, 800))
    assert not np.array_equal(current(visited), before)
    assert visited.errors == []


HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    '"><svg onload=alert(2)>.png',
    "$title ${data} {{7*7}}.png",
    "'; alert(3); '.png",
    "<!--<script>.png",
)


def test_hostile_names_are_shown_and_never_run(browser, run, digits):
    folder = Path("<b>photos & co</b>")
    write_images(digits.train, folder / "<i>cat", count=20, labelled=False)
    write_images(digits.test, folder / "x' onload='alert(4)", count=20, labelled=False)
    for i, name in enumerate(HOSTILE):
        shutil.copy(folder / "<i>cat" / f"{i:04}.png", folder / "<i>cat" / name)
    assert run(*TUTORIAL, "--data", folder, "--epochs", "1").exit_code == 0
    assert run("explore").exit_code == 0
    visited = open_page(browser, Path("explore.html"))
    assert visited.page.inner_text("h1") == folder.name
    assert visited.page.title() == f"{folder.name} – latent space"
    legend = visited.page.locator("#legend button").all_inner_texts()
    assert legend == ["<i>cat", "x' onload='alert(4)"]
    for name in HOSTILE:
        visited.page.fill("#query", name)
        visited.page.keyboard.press("Enter")
        settle(visited)
        assert name in visited.page.inner_text("#where")
        assert name in visited.page.inner_text("#facts")
        assert name in visited.page.evaluate(
            "explorer.showCard(explorer.i, 100, 100) || document.getElementById('card').innerText"
        )
        assert name in visited.page.locator("#results button").first.get_attribute("title")
    visited.page.click("#more")
    made = visited.page.evaluate(
        "document.querySelectorAll('img, svg, i, script:not([type])').length"
    )
    assert made == 1  # the page's own script
    assert visited.errors == []
    assert visited.requests == []
    assert set(HOSTILE) <= {Path(name).name for name in downloaded(visited).name}


def test_the_policy_forbids_what_the_page_does_not_need(opened):
    outcome = opened.page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            const image = new Image();
            const loaded = new Promise(done => {
                image.onload = image.onerror = event => done(event.type);
            });
            image.src = "http://127.0.0.1:9/x.png";
            const fetched = fetch("http://127.0.0.1:9/").then(() => "fetched", () => "refused");
            return [window.ran === true, await loaded, await fetched];
        }"""
    )
    assert outcome == [False, "error", "refused"]
    assert any("Content Security Policy" in error for error in opened.errors)


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_other_numbers_of_latents(browser, run, latent_dim):
    run(*TUTORIAL, "--data", "digits", "--latent-dim", str(latent_dim), "--epochs", "3")
    run("explore", "--n", "200")
    visited = open_page(browser, Path("explore.html"))
    assert visited.page.locator("#sliders input").count() == latent_dim
    note = visited.page.inner_text("#axes-note") if latent_dim > 3 else ""
    model = load_checkpoint(Path("ae.safetensors")).model
    if latent_dim == 5:
        assert "principal components (PCA) of all 5" in note
        visited.page.select_option("#axes", label="latents")
        assert "3 of 5 latents" in visited.page.inner_text("#axes-note")
        visited.page.locator("#triple select").nth(0).select_option("4")
        names = visited.page.evaluate("explorer.cloud.projection.names")
        assert names == ["z5", "z2", "z3"]
        visited.page.select_option("#axes", label="PCA of the latents")
    else:
        assert visited.page.locator("#axes-label").is_hidden()
    before = current(visited)
    visited.page.focus("#cloud")
    for _ in range(5):
        visited.page.keyboard.press("Shift+ArrowRight")
    settle(visited)
    after = current(visited)
    scale = visited.page.evaluate("explorer.cloud.scales[0]")
    assert np.linalg.norm(after - before) > 0.05 * scale
    np.testing.assert_allclose(canvas_pixels(visited, "#decoded"), decoded(model, after), atol=0.51)
    assert visited.errors == []


@pytest.mark.slow
def test_many_sliders_are_ordered_by_what_they_change(browser, run):
    run(*TUTORIAL, "--data", "digits", "--latent-dim", "12", "--epochs", "5")
    run("explore", "--n", "all", "--split", "test")
    run("embed", "--split", "test")
    z = read_latents(Path("latents.csv")).z.astype(float)
    model = load_checkpoint(Path("ae.safetensors")).model
    moves = np.diag(2 * z.std(axis=0))
    low, high = (
        infer.decode(model, (z.mean(axis=0) + side * moves).astype(np.float32), device=CPU)
        for side in (-1, 1)
    )
    squares = np.square(high - low).sum(axis=(1, 2, 3))
    order = np.argsort(-squares)
    visited = open_page(browser, Path("explore.html"))
    settle(visited)
    names = "[...document.querySelectorAll('#sliders input')].map(node => node.id)"
    assert visited.page.evaluate(names) == [f"z{k + 1}" for k in order[:6]]
    k = order[1]
    share = round(100 * squares[k] / squares.sum())
    label = visited.page.locator(f"label[for=z{k + 1}]")
    assert label.inner_text().split() == [f"z{k + 1}", f"{share}%"]
    for n, images in ((1, low), (2, high)):
        shown = canvas_pixels(visited, f"#sliders > canvas:nth-of-type({2 + n})")
        np.testing.assert_allclose(shown, images[k, 0] * 255, atol=0.51)
    rest = round(100 * squares[order[6:]].sum() / squares.sum())
    summary = visited.page.locator("#sliders summary")
    assert summary.inner_text() == f"6 more, with {rest}% of the variance"
    summary.click()
    visited.page.wait_for_selector(f"#z{order[-1] + 1}")  # they are drawn one after the other
    assert visited.page.evaluate(names) == [f"z{k + 1}" for k in order]
    before = current(visited)
    visited.page.focus(f"#z{order[-1] + 1}")
    visited.page.keyboard.press("ArrowRight")
    assert np.flatnonzero(current(visited) != before).tolist() == [order[-1]]
    assert visited.errors == []


def test_the_summary_counts_the_latents_in_use_as_info_does(run):
    run(*TUTORIAL, "--data", "digits", "--latent-dim", "8", "--epochs", "5")
    run("explore", "--n", "50")
    data = embedded(Path("explore.html"), "data")
    (used,) = re.findall(r"latents +8(, of which about \d\.\d are in use)", run("info").stdout)
    assert data["summary"].startswith(f"50 of 1,797 images, 8 latents{used}, mean")


def test_latents_that_change_nothing_have_no_share_of_the_variance(run):
    run(*TUTORIAL, "--data", "digits", "--latent-dim", "8", "--epochs", "5")
    run("explore", "--n", "50")
    data = embedded(Path("explore.html"), "data")
    np.testing.assert_allclose(sum(data["changes"]["shares"]), 1)
    # The decoder ignores all latents but two, however much they vary.
    ignored = [0, 1, 2, 4, 6, 7]
    rewrite(
        Path("ae.safetensors"),
        tensors=lambda t: t["decoder.0.weight"].index_fill_(1, torch.tensor(ignored), 0),
    )
    run("explore", "--n", "50")
    data = embedded(Path("explore.html"), "data")
    assert np.flatnonzero(data["changes"]["shares"]).tolist() == [3, 5]


def test_the_principal_components_match_those_of_the_latents(browser, run):
    run(*TUTORIAL, "--data", "digits", "--latent-dim", "6", "--epochs", "2")
    run("explore", "--n", "all", "--split", "test")
    run("embed", "--split", "test")
    visited = open_page(browser, Path("explore.html"))
    z = read_latents(Path("latents.csv")).z.astype(float)
    centred = z - z.mean(axis=0)
    _, sizes, components = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ components[:3].T
    places, scales, center = (
        np.array(visited.page.evaluate(f"[...explorer.cloud.{name}]")).reshape(-1, 3)
        for name in ("places", "scales", "center")
    )
    places = places * scales + center
    signs = np.sign((expected * places).sum(axis=0))
    np.testing.assert_allclose(places * signs, expected, atol=1e-4)
    share = round(100 * sizes[0] ** 2 / (sizes**2).sum())
    assert visited.page.evaluate("explorer.cloud.projection.names")[0] == f"PC1 ({share}%)"


@pytest.mark.slow
def test_chosen_axes(browser, run):
    run(*TUTORIAL, "--data", "digits", "--latent-dim", "5", "--epochs", "1")
    assert run("explore", "--n", "50", "--axes", "z5,z1,z3", "--color", "error").exit_code == 0
    visited = open_page(browser, Path("explore.html"))
    assert visited.page.evaluate("explorer.cloud.projection.names") == ["z5", "z1", "z3"]
    assert visited.page.input_value("#color") == "error"
    assert run("explore", "--n", "50", "--axes", "z2,z4").exit_code == 0
    visited = open_page(browser, Path("explore.html"))
    assert visited.page.evaluate("explorer.cloud.projection.names") == ["z2", "z4"]
    assert "2 of 5 latents" in visited.page.inner_text("#axes-note")


@pytest.mark.slow
def test_colour_by_split_with_a_single_split(browser, run, checkpoint):
    assert run("explore", "--n", "20", "--split", "test", "--color", "split").exit_code == 0
    visited = open_page(browser, Path("explore.html"))
    assert visited.page.input_value("#color") == "split"
    assert visited.page.locator("#legend button").all_inner_texts() == ["test"]
    assert visited.errors == []


@pytest.mark.slow
def test_one_image_without_a_label(browser, run, digits):
    write_images(digits.train, Path("few"), count=9, labelled=False)
    run(*TUTORIAL, "--data", "few", "--epochs", "1")
    assert run("explore", "--n", "1").exit_code == 0
    visited = open_page(browser, Path("explore.html"))
    assert visited.page.locator("#color option").all_inner_texts() == ["error"]
    assert visited.page.locator("#worst tbody tr").count() == 1
    assert re.match(r"\d{4}\.png$", visited.page.inner_text("#where"))
    visited.page.keyboard.press("n")
    visited.page.click("#play")
    settle(visited)
    assert visited.errors == []


@pytest.mark.slow
def test_the_page_of_a_collapsed_model_has_all_images_in_one_place(browser, run, checkpoint):
    rewrite(checkpoint, tensors=lambda t: [w.zero_() for k, w in t.items() if k[:7] == "encoder"])
    result = run("explore", "--n", "100")
    assert result.exit_code == 0, result.output
    visited = open_page(browser, Path("explore.html"))
    visited.page.focus("#z1")
    visited.page.keyboard.press("ArrowRight")
    assert current(visited)[0] > 0
    assert visited.page.evaluate("explorer.cloud.x.every(Number.isFinite)")
    assert visited.errors == []


def space_of(pixels: np.ndarray, **changes: object) -> LatentSpace:
    """A latent space with these images and random latents and weights."""
    random = np.random.default_rng(0)
    count = len(pixels)
    values = {
        "title": "random",
        "summary": "",
        "rows": Latents(
            z=random.normal(size=(count, 3)).astype(np.float32),
            index=np.arange(count),
            split=np.full(count, "train"),
            error=random.random(count).astype(np.float32),
        ),
        "pixels": pixels,
        "decoder": DecoderDescription(
            [
                Layer(
                    "linear",
                    random.normal(size=(pixels[0].size, 3)).astype(np.float32),
                    np.zeros(pixels[0].size, np.float32),
                    "sigmoid",
                ),
            ]
        ),
        "changes": None,
        "heat_most": 1.0,
        "axes": None,
        "color": "error",
    }
    return LatentSpace(**(values | changes))


def with_pca(shape: tuple[int, int, int], latent_dim: int, **layers: object) -> AutoEncoder:
    """A model with PCA in which everything matters: untrained, most of it would be zero."""
    model = build(ModelConfig(shape=shape, latent_dim=latent_dim, pca=True, **layers), seed=0)
    random = torch.Generator().manual_seed(0)
    for name, values in model.state_dict().items():
        if name.endswith("unit"):
            values.fill_(0.3)
        elif name.endswith("mean"):
            values.copy_(torch.rand(values.shape, generator=random))
        elif name.endswith("scale"):
            values.copy_(1 + torch.rand(values.shape, generator=random))
        else:
            scale = 0.2 if values.ndim == 1 or name.endswith("line") else 1
            inputs = values[0].numel() if values.ndim > 1 else 1
            values.copy_(torch.randn(values.shape, generator=random) * scale / inputs**0.5)
    return model


def space_of_model(model: AutoEncoder, count: int = 10) -> LatentSpace:
    """A latent space with this decoder, and random images and latents."""
    random = np.random.default_rng(0)
    rows = Latents(
        z=random.normal(size=(count, model.config.latent_dim)).astype(np.float32),
        index=np.arange(count),
        split=np.full(count, "train"),
        error=random.random(count).astype(np.float32),
    )
    pixels = random.integers(0, 256, (count, *model.config.shape), np.uint8)
    return space_of(pixels, rows=rows, decoder=model.describe_decoder())


SMALL = {"model": "conv", "hidden": (8, 16, 32, 64), "activation": "gelu"}
USUAL = {"model": "conv", "hidden": (32, 64, 128, 256), "activation": "silu"}
PERCEPTRON = {"model": "mlp", "hidden": (256, 384, 256), "activation": "silu"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "latent_dim", "layers", "half"),
    [
        # The grids of these three are larger than their images.
        ((1, 28, 28), 3, SMALL, False),
        ((3, 17, 5), 1, {"model": "conv", "hidden": (8, 32), "activation": "relu"}, False),
        (
            *((3, 75, 112), 5),
            *({"model": "conv", "hidden": (6, 10, 32), "activation": "tanh"}, False),
        ),
        ((3, 64, 64), 16, SMALL, False),
        ((3, 64, 64), 64, USUAL, True),
        ((1, 28, 28), 3, PERCEPTRON, False),
        ((3, 17, 5), 1, {"hidden": (), "activation": "tanh"}, False),
        ((3, 64, 64), 16, PERCEPTRON, True),
    ],
)
def test_a_decoder_with_pca_in_the_page_matches_torch(browser, shape, latent_dim, layers, half):
    model = with_pca(shape, latent_dim, **layers)
    assert write_explorer(Path("page.html"), space_of_model(model)).half == half
    visited = open_page(browser, Path("page.html"))
    z = np.random.default_rng(1).normal(0, 1.5, (100, latent_dim)).astype(np.float32)
    here = visited.page.evaluate("all => all.map(z => [...explorer.decoder.decode(z)])", z.tolist())
    expected = infer.decode(model, z, device=CPU)
    assert 0.1 < np.mean((expected > 0) & (expected < 1)) < 0.99  # some pixels are at the limits
    np.testing.assert_allclose(np.array(here).reshape(100, *shape), expected, atol=1e-3)
    assert visited.errors == []


@pytest.mark.slow
def test_a_convolutional_decoder_is_fast_and_its_page_small(browser):
    model = with_pca((3, 64, 64), 64, **USUAL)
    page = write_explorer(Path("page.html"), space_of_model(model, 5000))
    assert page.size < LARGEST
    visited = open_page(browser, Path("page.html"))
    times = visited.page.evaluate(
        """() => Array.from({ length: 30 }, (_, i) => {
            const start = performance.now();
            explorer.z = explorer.space.latent(i);
            explorer.show();
            return performance.now() - start;
        })"""
    )
    # The fastest, since other programs on this machine can only make it slower
    assert min(times) < 50


@pytest.mark.slow
def test_two_hundred_classes(browser):
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1, 8, 8), np.uint8)
    rows = space_of(pixels).rows
    labels = np.array([f"a class with a long name, {i % 200:03}" for i in range(1000)])
    labelled = Latents(z=rows.z, index=rows.index, split=rows.split, error=rows.error, label=labels)
    write_explorer(Path("page.html"), space_of(pixels, rows=labelled, color="label"))
    visited = open_page(browser, Path("page.html"), size=PHONE)
    assert visited.page.locator("#legend button").count() == 200
    assert visited.page.locator("#legend").bounding_box()["height"] < 150
    dots = "[...document.querySelectorAll('#legend .dot')].map(dot => dot.style.background)"
    assert len(set(visited.page.evaluate(dots))) == 200
    assert visited.page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


SIZES = (DESKTOP, (1000, 700), TABLET, PHONE)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_names_of_the_worst_images_are_never_cut(browser, size):
    pixels = np.zeros((10, 1, 8, 8), np.uint8)
    names = np.array([f"sunflowers/{i}_d2c1c1fa17_n-{'long' * (3 * i)}.jpeg" for i in range(10)])
    labels = np.array(["sunflowers", "a class with a long name", "dandelion" * 5, "rose", "7"] * 2)
    numbers = space_of(pixels).rows.columns() | {"index": np.arange(512, 522)}
    z = space_of(pixels).rows.z
    some = {name: numbers[name] for name in ("index", "error")}
    numbered = Latents(z=z, split=np.repeat(["train", "test"], 5), label=labels, **some)
    named = Latents(z=z, split=numbered.split, name=names, label=labels, **some)
    for rows in (numbered, named):
        write_explorer(Path("page.html"), space_of(pixels, rows=rows))
        visited = open_page(browser, Path("page.html"), size=size)
        cut = visited.page.locator("#worst, #worst td, #worst button").evaluate_all(
            "nodes => nodes.filter(n => n.scrollWidth > n.clientWidth).map(n => n.innerText)"
        )
        assert cut == []
        scroll = visited.page.locator(".scroll")
        assert scroll.evaluate("node => node.scrollWidth - node.clientWidth") == 0
        shown = visited.page.locator("#worst button").all_inner_texts()
        assert len(set(shown)) == 10
        assert all("…" not in text for text in shown)


@pytest.mark.slow
@pytest.mark.parametrize("size", [*SIZES, (900, 700), (1100, 700)])
def test_the_placeholder_of_the_search_is_never_cut(browser, size):
    rows = space_of(np.zeros((9, 1, 8, 8), np.uint8)).rows
    rows = Latents(
        z=np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32),
        index=rows.index,
        split=np.repeat(["train", "test", "test"], 3),
        name=np.array([f"{i}.png" for i in range(9)]),
        label=np.repeat(["a", "b", "c"], 3),
        error=rows.error,
    )
    write_explorer(Path("page.html"), space_of(np.zeros((9, 1, 8, 8), np.uint8), rows=rows))
    visited = open_page(browser, Path("page.html"), size=size)
    # The axes of more latents, which are chosen beside the search
    visited.page.evaluate("['axes-label', 'triple'].forEach(id => element(id).hidden = false)")
    text, room = visited.page.locator("#query").evaluate(
        """field => {
            const style = getComputedStyle(field);
            const context = document.createElement("canvas").getContext("2d");
            context.font = style.font;
            const button = parseFloat(style.fontSize); // which clears the field
            const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
            return [context.measureText(field.placeholder).width,
              field.clientWidth - padding - button];
        }"""
    )
    assert 100 < text <= room


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_search_leaves_the_cloud_where_it_is(browser, page_file, size):
    visited = open_page(browser, page_file, size=size)
    cloud = visited.page.locator("#cloud")
    before = cloud.bounding_box()
    for text in ("7", "nobody"):
        visited.page.fill("#query", text)
        settle(visited)
        results = visited.page.locator("#results").bounding_box()
        assert 0 <= results["x"] <= results["x"] + results["width"] <= size[0]
        assert results["y"] + results["height"] <= size[1]
        assert results["height"] < before["height"] / 1.5
        assert cloud.bounding_box() == before
    visited.page.fill("#query", "7")
    button = visited.page.locator("#results button").nth(1)
    chosen = int(button.get_attribute("data-image"))
    button.click()
    assert visited.page.evaluate("explorer.i") == chosen
    results = visited.page.locator("#results")
    assert results.is_hidden(), "they do not cover the cloud for longer than needed"
    after = cloud.bounding_box()  # a phone has scrolled down to the image
    assert (after["width"], after["height"]) == (before["width"], before["height"])
    assert visited.page.locator("#original").bounding_box()["y"] < size[1]
    visited.page.evaluate("scrollTo(0, 0)")
    assert cloud.bounding_box() == before
    visited.page.click("#query")
    assert results.is_visible()
    visited.page.click("#title")
    assert results.is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_what_is_decoded_is_seen_where_it_is_moved_from(browser, run, size):
    run("train", "--data", "digits", "--model", "conv", "--latent-dim", "24", "--epochs", "1")
    run("explore", "--n", "40")
    visited = open_page(browser, Path("explore.html"), size=size)
    decoded = visited.page.locator("#decoded")
    visited.page.click("#sliders summary")
    settle(visited)
    for moved in ("#sliders details input >> nth=-1", "#sliders input >> nth=0", "#play"):
        visited.page.locator(moved).scroll_into_view_if_needed()
        box = decoded.bounding_box()
        assert 0 <= box["y"] <= box["y"] + box["height"] <= size[1], moved
    visited.page.click("#play")
    assert visited.page.inner_text("#play") == "Pause", "nothing covers it"


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_points_coloured_by_error_stand_out_from_the_background(browser, page_file, theme):
    other = {"light": "dark", "dark": "light"}[theme]
    visited = open_page(browser, page_file, color_scheme=other)
    visited.page.select_option("#color", "error")
    visited.page.click("#theme")
    background = visited.page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--stage')"
    )
    # The scale in the legend, and the middles of the dots in all shades
    colors = visited.page.evaluate(
        """() => {
            const read = (canvas, x, y) => "#" + [...canvas.getContext("2d")
              .getImageData(x, y, 1, 1).data].slice(0, 3)
              .map(level => level.toString(16).padStart(2, "0")).join("");
            const ramp = document.querySelector("#legend .ramp");
            const { atlas } = explorer.cloud;
            const scale = Array.from({ length: ramp.width }, (_, x) => read(ramp, x, 0));
            const dots = scale.flatMap((_, position) => [0, 1, 2, 3, 4, 5].map((shade) => {
              const [x, y] = atlas.cell(position, shade);
              return read(atlas.canvas, x + 16, y + 16);
            }));
            return [...scale, ...dots];
        }"""
    )
    assert len(set(colors)) > 200
    assert min(contrast(color, background) for color in colors) >= 3


@pytest.mark.slow
def test_many_points(browser):
    pixels = np.zeros((100_000, 1, 28, 28), np.uint8)
    pixels[np.arange(100_000), 0, 7, np.arange(100_000) % 28] = 255
    page = write_explorer(Path("page.html"), space_of(pixels))
    assert page.thumbnail < (28, 28)  # a phone could not handle a larger sheet
    assert page.size < LARGEST
    visited = open_page(browser, Path("page.html"))
    before = visited.page.evaluate("explorer.i")
    visited.page.mouse.click(*position(visited, 99_999))
    assert visited.page.evaluate("explorer.i") != before
    assert visited.errors == []


@pytest.mark.slow
def test_colour_images_that_do_not_fit_become_jpeg_or_smaller(browser):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (1000, 3, 64, 64), np.uint8)
    page = write_explorer(Path("page.html"), space_of(noise))
    assert page.size <= LARGEST
    visited = open_page(browser, Path("page.html"))
    assert not page.lossless
    shown = visited.page.evaluate("[explorer.space.thumbnails.width, explorer.space.shape]")
    assert shown == [page.thumbnail[1], [3, 64, 64]]
    assert visited.errors == []


@pytest.mark.slow
def test_reduced_thumbnails_average_only_their_own_image(browser):
    # Four times the limit of a sheet, so that each side is halved.
    pixels = np.zeros((400, 1, 400, 400), np.uint8)
    pixels[::2] = 255
    pixels[:, :, ::2, ::2] = 100
    page = write_explorer(Path("page.html"), space_of(pixels))
    assert page.thumbnail == (200, 200)
    visited = open_page(browser, Path("page.html"))
    for i in (0, 1, 20, 21, 399):
        visited.page.evaluate(f"explorer.go({i})")
        settle(visited)
        expected = np.full((200, 200), (3 * (0 if i % 2 else 255) + 100) / 4)
        np.testing.assert_allclose(canvas_pixels(visited, "#original"), expected, atol=1)


@pytest.mark.slow
def test_a_large_decoder_is_stored_in_half_precision(browser):
    pixels = np.zeros((10, 1, 40, 40), np.uint8)
    random = np.random.default_rng(0)
    layers = [
        Layer(
            "linear",
            random.normal(0, 0.3, shape).astype(np.float32),
            np.zeros(shape[0], np.float32),
            activation,
        )
        for shape, activation in (((700, 3), "tanh"), ((1600, 700), "sigmoid"))
    ]
    layers[0].weight[0, 0] = 1e-6  # a number that is denormal in half precision
    page = write_explorer(Path("page.html"), space_of(pixels, decoder=DecoderDescription(layers)))
    assert page.half
    visited = open_page(browser, Path("page.html"))
    for k, layer in enumerate(layers):
        some = f"[...explorer.space.layers[{k}].weight].filter((_, i) => i % 97 === 0)"
        np.testing.assert_array_equal(
            np.float32(visited.page.evaluate(some)),
            layer.weight.astype(np.float16).astype(np.float32).ravel()[::97],
        )


@pytest.mark.slow
def test_a_decoder_that_is_too_large_causes_a_warning(run):
    np.save("big.npy", np.random.default_rng(0).integers(0, 256, (12, 200, 200), np.uint8))
    trained = run(*TUTORIAL, "--data", "big.npy", "--hidden", "128", "--epochs", "1")
    assert trained.exit_code == 0, trained.output
    result = run("explore")
    assert result.exit_code == 0, result.output
    assert "warning: explore.html is 15 MB, mostly the decoder" in result.stderr


def test_the_sample_has_both_splits_and_is_reproducible(run, checkpoint):
    for name in ("a", "b"):
        assert run("explore", "--n", "100", "--out", f"{name}.html").exit_code == 0
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()
    data = embedded(Path("a.html"), "data")
    assert data["splitNames"] == ["test", "train"]
    run("explore", "--n", "100", "--split", "test")
    assert embedded(Path("explore.html"), "data")["splitNames"] == ["test"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--out", "page.pdf"), 2, "page.pdf does not end in a format that can be written"),
        (("--out", "no/page.html"), 2, "no does not exist"),
        (("--n", "5000"), 2, "--n is 5000, and there are 1,797 images; give at most 1797, or all"),
        (("--n", "0"), 2, "--n is '0'"),
        (("--axes", "z1,z9"), 2, "--axes names 'z9'"),
        (("--axes", "z1"), 2, "name two or three different latents"),
        (("--checkpoint", "no.safetensors"), 4, "no checkpoint at no.safetensors"),
        (("--data", "wide.npy"), 3, "is for images of 1 × 28 × 28"),
    ],
)
def test_invalid_input_is_a_one_line_error(run, checkpoint, arguments, code, said):
    np.save("wide.npy", np.zeros((4, 5, 9), np.uint8))
    assert said in error_line(run("explore", *arguments), code)
    assert not Path("explore.html").exists()


def test_colour_by_labels_needs_labels(run, digits):
    write_images(digits.train, Path("few"), count=9, labelled=False)
    run(*TUTORIAL, "--data", "few", "--epochs", "1")
    line = error_line(run("explore", "--color", "label"), 2)
    assert line == "error: --color is label, but the images have no labels; choose error or split"


def test_show_opens_a_browser(run, checkpoint, monkeypatch, tmp_path):
    opener = tmp_path / "opener"
    opener.write_text('#!/bin/sh\necho "$1" > opened\n')
    opener.chmod(0o755)
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setattr("webbrowser._browsers", {})
    monkeypatch.setenv("BROWSER", f"{opener} %s")
    assert run("explore", "--n", "10", "--show").exit_code == 0
    assert Path("opened").read_text().strip() == (tmp_path / "explore.html").as_uri()


def test_no_script_writes_html():
    scripts = [p for p in resources.files("ae_cli.page").iterdir() if p.name.endswith(".js")]
    assert {script.name for script in scripts} >= set(SCRIPTS)
    for script in scripts:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write", script.read_text()
        )
