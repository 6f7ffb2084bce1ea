from __future__ import annotations

import base64
import io
import json
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from browser import DESKTOP, PHONE, TABLET, Visit, embedded, visit
from conftest import contrast, error_line
from matplotlib.colors import to_hex
from PIL import Image
from playwright.sync_api import Browser

from ae_cli.figures.latents import palette
from ae_cli.latents.read_table import read_latents
from ae_cli.latents.table import Latents, write_latents

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<b>x</b>&lt;",
    "%{x}",
    "$x$",
)


def open_page(browser: Browser, path: Path | str, **options: object) -> Visit:
    """Open a page and wait until the plot is drawn."""
    visited = visit(browser, Path(path), **options)
    visited.page.wait_for_selector("#plot .main-svg .infolayer", state="attached")
    wait(visited, "_fullLayout !== undefined")
    return visited


def wait(visited: Visit, condition: str) -> None:
    """Wait until this is true of the plot; the page's policy blocks Playwright's own wait."""
    for _ in range(500):
        if visited.page.evaluate(f"document.querySelector('#plot').{condition}"):
            return
        visited.page.wait_for_timeout(20)
    pytest.fail(condition)


def traces(visited: Visit) -> list[dict]:
    """What Plotly draws: its own copy of the figure, with all numbers decoded."""
    return visited.page.evaluate(
        """() => document.querySelector(".js-plotly-plot")._fullData.map((t) => ({
          type: t.type, name: t.name, visible: t.visible, text: t.text,
          color: typeof t.marker.color === "string" ? t.marker.color : Array.from(t.marker.color),
          columns: [t.x, t.y, t.z].filter((c) => c).map((c) => Array.from(c)),
        }))"""
    )


def size_of(visited: Visit) -> tuple[int, int]:
    """The width and height of the page, with what one has to scroll to."""
    return tuple(
        visited.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
    )


def layout(visited: Visit, field: str) -> object:
    return visited.page.evaluate(f"document.querySelector('#plot')._fullLayout.{field}")


def legend(visited: Visit) -> list[str]:
    return visited.page.locator("#legend button").all_inner_texts()


def unpack(numbers: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(numbers["bdata"]), numbers["dtype"])


def quiet(visited: Visit) -> bool:
    return not visited.errors and not visited.requests


def write(path: str, n: int, dimensions: int = 3, **columns: object) -> Latents:
    rows = Latents(
        np.random.default_rng(0).normal(size=(n, dimensions)).astype(np.float32), **columns
    )
    write_latents(Path(path), [rows])
    return rows


@pytest.mark.slow
def test_the_page_shows_points_and_colours(run, table, browser):
    result = run("plot3d", table, "--out", "latents.html", "--json")
    rows = read_latents(table)
    assert json.loads(result.stdout)["points"] == len(rows) == 1797
    assert result.stderr.splitlines()[-1] == "page       latents.html"
    visited = open_page(browser, "latents.html")
    page = visited.page
    assert page.title() == "Latents of 1,797 images" == page.inner_text("h1")
    drawn = traces(visited)
    assert [trace["name"] for trace in drawn] == list("0123456789")
    colors = [trace["color"] for trace in drawn]
    for label, trace in enumerate(drawn):
        np.testing.assert_array_equal(
            np.array(trace["columns"], np.float32).T, rows.z[rows.label == label]
        )
    assert layout(visited, "scene.xaxis.title.text") == "z1"

    assert page.inner_text("#summary") == (
        f"1,797 points, mean reconstruction error {rows.error.mean(dtype='float64'):.4f}"
    )

    assert legend(visited) == list("0123456789")
    page.locator("#legend button").nth(3).click()
    assert page.locator("#legend button").nth(3).get_attribute("aria-pressed") == "false"
    wait(visited, "_fullData[3].visible === false")
    page.select_option("#color", "error")
    wait(visited, "_fullData[3].visible === true")
    for label, trace in enumerate(traces(visited)):
        np.testing.assert_array_equal(np.float32(trace["color"]), rows.error[rows.label == label])
    scale = f"error {rows.error.min():#.3g} {rows.error.max():#.3g}"
    assert " ".join(page.locator("#legend span").all_inner_texts()) == scale
    limits = layout(visited, "coloraxis.cmin"), layout(visited, "coloraxis.cmax")
    assert np.float32(limits).tolist() == [rows.error.min(), rows.error.max()]
    page.select_option("#color", "label")
    wait(visited, "_fullData[3].visible === false")
    page.locator("#legend button").nth(4).click()
    page.locator("#legend button").nth(3).click()
    wait(visited, "_fullData[3].visible === true")
    visible = visited.page.evaluate("document.querySelector('#plot')._fullData.map(t => t.visible)")
    assert visible == [label != 4 for label in range(10)]
    page.locator("#legend button").nth(4).click()
    wait(visited, "_fullData[4].visible === true")
    assert [trace["color"] for trace in traces(visited)] == colors
    assert page.locator("#legend .ramp").count() == 0
    assert quiet(visited)


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_text_from_users_is_shown_and_never_run(run, browser, dimensions):
    texts = np.array(HOSTILE)
    write("latents.csv", 5, dimensions, label=texts, name=texts[::-1], split=texts)
    title = " ".join(HOSTILE)
    run("plot3d", "--out", "page.html", "--title", title)
    visited = open_page(browser, "page.html")
    page = visited.page
    assert page.title() == page.inner_text("h1") == title
    assert legend(visited) == sorted(HOSTILE)
    hovers = page.evaluate(
        """async () => {
          const plot = document.querySelector("#plot");
          const found = [];
          for (let i = 0; i < plot.data.length; i++) {
            const point = plot.calcdata[i][0];
            const trace = plot._fullData[i];
            const text = trace.hovertemplate.replace("%{text}", () => trace.text[0]);
            Plotly.Fx.loneHover({x: 200, y: 200, text, color: "#000"},
              {container: plot.querySelector(".hoverlayer"), outerContainer: plot, gd: plot});
            found.push(plot.querySelector(".hoverlayer").textContent);
          }
          return found;
        }"""
    )
    for hover, text in zip(hovers, sorted(HOSTILE), strict=True):
        assert f"label {text}" in hover
        place = HOSTILE.index(text)
        assert HOSTILE[::-1][place] in hover
    assert quiet(visited)
    assert page.locator("img, b, #plot script").count() == 0


@pytest.mark.slow
def test_hovering_over_a_point_describes_it(run, browser):
    rows = Latents(
        np.array([[0.5, -1.25]], np.float32),
        index=np.array([7]),
        split=np.array(["test"]),
        name=np.array(["%{x}<i>.png"]),
        label=np.array(["cat"]),
        error=np.array([0.0123], np.float32),
    )
    write_latents(Path("latents.csv"), [rows])
    run("plot3d", "--out", "page.html")
    visited = open_page(browser, "page.html")
    box = visited.page.locator(".nsewdrag").bounding_box()
    visited.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visited.page.wait_for_selector(".hovertext")
    lines = visited.page.locator(".hovertext tspan.line").all_text_contents()
    assert lines == ["%{x}<i>.png", "test 7", "label cat", "z1 0.5", "z2 -1.25", "error 0.0123"]
    assert layout(visited, "xaxis.range") == pytest.approx([0.495, 0.505])
    assert quiet(visited)


@pytest.mark.slow
def test_the_page_on_a_phone(run, table, browser):
    run("plot3d", table, "--out", "page.html", "--n", "300", "--title", "A long title " * 30)
    visited = open_page(browser, "page.html", size=PHONE)
    assert size_of(visited) == PHONE
    assert layout(visited, "scene.camera.eye.z") > 1.5, "the whole box is visible from a distance"
    plot = visited.page.locator("#plot").bounding_box()
    assert plot["width"] > 0.85 * PHONE[0]
    assert plot["height"] > 0.5 * PHONE[1]
    assert layout(visited, "width") == pytest.approx(plot["width"], abs=1)
    assert layout(visited, "height") == pytest.approx(plot["height"], abs=1)
    visited.page.set_viewport_size({"width": 800, "height": 400})
    wait(visited, "_fullLayout.width > 700")
    assert quiet(visited)


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE])
def test_many_long_names_in_the_legend_are_shown_whole(run, browser, size):
    names = np.array([f"a class with a long name, {i:02}{'_long' * i}" for i in range(50)])
    write("latents.csv", 100, label=np.tile(names, 2), error=np.ones(100, np.float32))
    run("plot3d", "--out", "page.html")
    visited = open_page(browser, "page.html", size=size)
    assert size_of(visited) == size
    assert legend(visited) == names.tolist()
    cut = visited.page.locator("#legend, #legend button, #legend span").evaluate_all(
        "nodes => nodes.filter(node => node.scrollWidth > node.clientWidth).length"
    )
    assert cut == 0
    plot = visited.page.locator("#plot").bounding_box()
    assert plot["height"] > 0.4 * size[1]
    sizes = visited.page.locator("#legend button, button, p, label").evaluate_all(
        "nodes => nodes.map(node => parseFloat(getComputedStyle(node).fontSize))"
    )
    assert min(sizes) >= 12
    assert quiet(visited)


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_light_and_dark(run, browser, dimensions):
    errors = np.linspace(0.01, 0.1, 90, dtype=np.float32)
    write("latents.csv", 90, dimensions, label=np.arange(90) % 3, error=errors)
    run("plot3d", "--out", "page.html", "--color", "error")
    visited = open_page(browser, "page.html", color_scheme="light")
    page = visited.page
    scene = "" if dimensions == 2 else "scene."

    def check(theme: str) -> None:
        wait(visited, f"closest('html').dataset.theme === '{theme}'")
        names = ("stage", "panel", "ink", "line")
        stage, panel, ink, line = (
            page.evaluate(f"getComputedStyle(document.body).getPropertyValue('--{name}').trim()")
            for name in names
        )
        assert layout(visited, "paper_bgcolor") == stage
        if dimensions == 2:
            assert layout(visited, "plot_bgcolor") == stage
        assert layout(visited, f"{scene}xaxis.tickfont.color") == ink
        assert layout(visited, f"{scene}yaxis.gridcolor") == line
        assert layout(visited, "hoverlabel.bgcolor") == panel
        assert contrast(ink, panel) > 7
        scale = [color for _, color in layout(visited, "coloraxis.colorscale")]
        assert scale == embedded("page.html", "data")["errors"]["colors"][theme]
        assert min(contrast(color, stage) for color in scale) >= 3
        # What is on the screen: the corner of the plot is as dark or light as its background.
        box = page.locator("#plot").bounding_box()
        clip = {"x": box["x"] + 3, "y": box["y"] + 3, "width": 2, "height": 2}
        with Image.open(io.BytesIO(page.screenshot(clip=clip))) as picture:
            level = picture.convert("RGB").getpixel((0, 0))
        assert level == tuple(bytes.fromhex(stage[1:]))

    check("light")
    page.emulate_media(color_scheme="dark")
    check("dark")
    if dimensions == 3:
        page.evaluate(
            "Plotly.relayout('plot', { 'scene.camera.eye': { x: 0.5, y: 1.5, z: 0.25 } })"
        )
    page.click("#theme")
    check("light")
    if dimensions == 3:
        assert layout(visited, "scene.camera.eye") == {"x": 0.5, "y": 1.5, "z": 0.25}
    assert quiet(visited)


@pytest.mark.parametrize(
    ("dimensions", "axes"), [(1, ["z1", "row"]), (2, ["z1", "z2"]), (5, ["z1", "z2", "z3"])]
)
def test_a_table_with_only_latents(run, dimensions, axes):
    rows = write("latents.csv", 12, dimensions)
    run("plot3d", "--out", "page.html")
    figure = embedded("page.html", "figure")
    (trace,) = figure["data"]
    flat = len(axes) == 2
    assert trace["type"] == ("scattergl" if flat else "scatter3d")
    np.testing.assert_array_equal(unpack(trace["x"]), rows.z[:, 0])
    assert len(unpack(trace["y"])) == 12
    names = figure["layout"] if flat else figure["layout"]["scene"]
    assert [names[f"{letter}axis"]["title"]["text"] for letter in "xyz"[: len(axes)]] == axes
    assert embedded("page.html", "data") == {
        "summary": "12 points",
        "groups": [],
        "choices": ["one colour"],
        "color": "one colour",
        "errors": None,
    }
    assert "error" not in trace["hovertemplate"]
    assert trace["text"][3] == "row 3"
    assert ("unsafe-eval" in Path("page.html").read_text()[:1000]) is flat


def test_an_option_sets_the_initial_colour(run, table):
    rows = read_latents(table)
    digits, splits = list("0123456789"), ["test", "train"]
    for color, groups, choices in (
        ("label", digits, ["label", "error"]),
        ("error", digits, ["label", "error"]),
        ("split", splits, ["split", "error"]),
        ("none", [], ["one colour", "error"]),
    ):
        run("plot3d", table, "--out", "page.html", "--color", color)
        figure = embedded("page.html", "figure")
        assert len(figure["data"]) == max(1, len(groups))
        assert figure["data"][0]["marker"]["color"] == "#1f77b4"
        data = embedded("page.html", "data")
        assert data["groups"] == groups
        assert data["choices"] == choices
        assert data["color"] == (color if color in choices else choices[0])
        shown = (data["errors"]["low"], data["errors"]["high"])
        assert np.float32(shown).tolist() == [rows.error.min(), rows.error.max()]


@pytest.mark.slow
def test_200_classes_have_the_same_colours_as_in_the_picture(run, browser):
    write("latents.csv", 400, 2, label=np.array([f"class {i % 200:03}" for i in range(400)]))
    run("plot3d", "--out", "page.html")
    visited = open_page(browser, "page.html")
    drawn = traces(visited)
    assert [trace["color"] for trace in drawn] == [to_hex(palette(200)(i)) for i in range(200)]
    assert len({trace["color"] for trace in drawn}) > 190
    assert len(legend(visited)) == 200
    assert visited.page.locator("#legend").evaluate("node => node.scrollHeight > node.clientHeight")
    assert quiet(visited)


def test_labels_too_many_for_a_legend_are_shown_at_each_point(run):
    write("latents.csv", 600, label=np.array([f"kind {i}" for i in range(600)]))
    result = run("plot3d", "latents.csv", "--out", "latents.html")
    assert result.exit_code == 0
    assert "warning: there are so many different labels that all points have one" in result.stderr
    (trace,) = embedded("latents.html", "figure")["data"]
    assert trace["text"][17] == "row 17<br>label kind 17"


@pytest.mark.slow
def test_a_page_of_many_points_is_small_and_loads_quickly(run, browser):
    n = 100_000
    rows = write(
        "latents.npz",
        n,
        index=np.arange(n),
        split=np.full(n, "train"),
        label=np.arange(n) % 10,
        error=np.linspace(0, 0.1, n, dtype=np.float32),
    )
    run("plot3d", "latents.npz", "--out", "page.html", "--json")
    assert Path("page.html").stat().st_size < 9_000_000
    visited = open_page(browser, "page.html")
    drawn = traces(visited)
    assert [len(trace["columns"][0]) for trace in drawn] == [5000] * 10
    assert quiet(visited)
    assert run("plot3d", "latents.npz", "--out", "page.html", "--n", "all").exit_code == 0
    found = sum(len(unpack(trace["z"])) for trace in embedded("page.html", "figure")["data"])
    assert found == n == len(rows)


def test_a_constant_latent_and_a_single_point_from_above(run):
    write_latents(Path("latents.csv"), [Latents(np.full((1, 3), 7.5, np.float32))])
    run("plot3d", "--out", "page.html", "--azim", "0", "--elev", "90")
    scene = embedded("page.html", "figure")["layout"]["scene"]
    low, high = scene["zaxis"]["range"]
    assert low < 7.5 < high
    eye = scene["camera"]["eye"]
    assert eye["z"] == pytest.approx(2, abs=1e-3)
    assert 0 < eye["x"] < 0.01, "even from above, one side is the front"


def test_a_plot_that_cannot_be_drawn_leaves_no_page(run):
    Path("latents.csv").write_text("z1,z2,z3\n1,2,3\n1,nan,3\n")
    line = error_line(run("plot3d", "--out", "page.html"), 3)
    assert "has nothing for z2 in row 2" in line
    line = error_line(run("plot3d", "--out", "page.xyz"), 2)
    for ending in (".gif", ".html", ".mp4", ".png", ".svg", ".webp"):
        assert ending in line
    assert not list(Path().glob("page*"))


def test_show_opens_a_page_in_the_browser(run, table, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or len(opened) == 1)
    result = run("plot3d", table, "--out", "page.html", "--show")
    assert "warning" not in result.stderr
    assert opened == [Path("page.html").resolve().as_uri()]
    result = run("plot3d", table, "--out", "page.html", "--show")
    assert "warning: no browser to open; the page is in page.html" in result.stderr
