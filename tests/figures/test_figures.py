from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import contrast
from matplotlib import image
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from mpl_toolkits.mplot3d import proj3d

import ae_cli.page
from ae_cli import figures
from ae_cli.figures.boxes import Boxes, _box_and_text
from ae_cli.figures.latents import LONGEST_LEGEND, palette


def points(n: int, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, dimensions)).astype(np.float32)


def boxes(figure: Figure) -> list[Boxes]:
    figure.draw_without_rendering()
    return [artist for artist in figure.axes[0].collections if isinstance(artist, Boxes)]


def texts(figure: Figure) -> list[str]:
    """The names in boxes, in drawing order."""
    return [box.names[box.member[i]] for box in boxes(figure) for i in box.order]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def draw(points, title: str = "A title", **options) -> Figure:
    figure, in_window = figures.new_figure()
    assert not in_window
    names = [f"z{i + 1}" for i in range(points.shape[1])]
    figures.draw_latents(figure, points, names, title=title, **options)
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("dimensions", [2, 3])
def test_up_to_300_points_are_drawn_as_their_labels(dimensions):
    labels = np.arange(300) % 10
    figure = draw(points(300, dimensions), groups=labels)
    assert sorted(texts(figure)) == sorted(map(str, labels))
    assert legend(figure) == list("0123456789")
    assert figure.axes[0].get_xlabel() == "z1"
    assert figure.get_suptitle() == "A title"


def test_more_points_or_longer_names_are_drawn_as_markers():
    figure = draw(points(301), groups=np.arange(301) % 10)
    assert texts(figure) == []
    assert len(figure.axes[0].collections[0].get_facecolors()) == 301
    assert legend(figure) == list("0123456789")
    figure = draw(points(4), groups=np.array(["ankle boot", "coat", "coat", "bag"]))
    assert texts(figure) == []
    assert legend(figure) == ["ankle boot", "bag", "coat"]


def test_a_label_has_the_same_color_in_the_plot_and_the_legend():
    labels = np.array([3, 1, 2, 1, 3])
    figure = draw(points(5), groups=labels)
    handles = figure.legends[0].legend_handles
    colors = {label: handle.get_color() for label, handle in zip("123", handles, strict=True)}
    (box,) = boxes(figure)
    drawn = box.get_facecolor()[::2]  # each box is followed by its text
    assert [tuple(color) for color in drawn] == [colors[text] for text in texts(figure)]


@pytest.mark.parametrize("count", [10, 20, 36])
def test_names_can_be_read_on_every_color(count):
    """The contrast is the one that WCAG 2.2 asks for in texts of this size."""
    (box,) = boxes(draw(points(count), groups=np.arange(count)))
    colors = box.get_facecolor()
    assert {tuple(text) for text in colors[1::2]} <= {(0, 0, 0, 1), (1, 1, 1, 1)}
    hues, texts_in = ([to_hex(color) for color in some] for some in (colors[::2], colors[1::2]))
    assert len(set(hues)) == count
    assert min(map(contrast, hues, texts_in)) > 4.5


@pytest.mark.parametrize("count", [10, 20, 21, 200])
def test_every_color_stands_out_from_a_dark_page(count):
    style = (Path(ae_cli.page.__file__).parent / "base.css").read_text()
    (dark,) = re.findall(r"--stage: (#1\w{5});", style)
    colors = map(to_hex, palette(count)(np.arange(count)))
    assert min(contrast(color, dark) for color in colors) > 2.5


def test_boxes_are_at_their_points():
    """They are where Matplotlib puts markers, and each has the name of its point."""
    where = points(40)
    figure = draw(where, groups=np.arange(40) % 10)
    markers = figure.axes[0].scatter(*where.T)
    (box,) = boxes(figure)
    ours, theirs = (sorted(map(tuple, a.get_offsets())) for a in (box, markers))
    np.testing.assert_allclose(ours[::2], theirs, rtol=1e-6)
    x, y, _ = proj3d.proj_transform(*where[box.order].T, figure.axes[0].M)
    np.testing.assert_allclose(box.get_offsets()[::2], np.column_stack([x, y]), rtol=1e-6)
    outlines = {str(digit): _box_and_text(str(digit))[1].vertices for digit in range(10)}
    for text, path in zip(texts(figure), box.get_paths()[1::2], strict=True):
        np.testing.assert_array_equal(path.vertices, outlines[text])


def test_near_labels_cover_far_ones():
    line = np.array([[0, 0, i] for i in range(5)], np.float32)
    assert texts(draw(line, groups=np.arange(5), elev=90)) == list("01234")
    assert texts(draw(line, groups=np.arange(5), elev=-90)) == list("43210")


def test_values_have_a_color_bar():
    errors = np.linspace(0.01, 0.1, 50).astype(np.float32)
    figure = draw(points(50), values=errors)
    assert figure.axes[1].get_ylabel() == "reconstruction error"
    bar = figure.axes[1].collections[-1]  # the bar's colours are those of the points
    shades = np.unique(figure.axes[0].collections[0].get_facecolor()[:, :3], axis=0)
    assert {tuple(row) for row in shades} <= {tuple(row) for row in bar.get_facecolor()[:, :3]}
    assert len(shades) == 50


def test_without_groups_and_values_there_is_no_legend():
    figure = draw(points(10))
    assert not figure.legends
    assert len(figure.axes) == 1


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("count", [1, 2, 400])
def test_a_constant_latent_can_be_drawn(dimensions, count):
    constant = np.full((count, dimensions), 7.5, np.float32)
    figure = draw(constant, groups=np.zeros(count, int))
    low, high = figure.axes[0].get_xlim()
    assert low < 7.5 < high


def test_many_classes_do_not_exceed_the_picture():
    figure = draw(points(400), groups=np.array([f"class number {i % 200}" for i in range(400)]))
    assert len(legend(figure)) == figures.MOST_LEGEND + 1
    assert legend(figure)[-1] == "… 176 more"
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    assert box.x1 <= figure.bbox.width


def test_long_names_are_cut_to_fit_beside_the_plot():
    names = ["short", "W" * 30, "i" * 30]
    figure = draw(points(60), groups=np.array(names)[np.arange(60) % 3])
    wide, narrow, short = legend(figure)
    assert ("…" in wide, narrow, short) == (True, "i" * 30, "short")
    assert len(narrow) > 2 * len(wide), "the printed width counts"
    for text in figure.legends[0].get_texts():
        assert text.get_window_extent().width <= 1.03 * LONGEST_LEGEND * figure.dpi


def test_names_are_not_parsed_as_formulas():
    odd = np.array(["$", "$x$", "\\", "$\\frac$"])
    figure = draw(points(4), groups=odd)
    assert legend(figure) == sorted(odd)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["", "t-shirt/top with sleeves "])
@pytest.mark.parametrize("title", ["A title", "A long title " * 12])
def test_title_plot_and_legend_do_not_overlap(dimensions, name, title):
    groups = np.array([f"{name}{i % 10}" for i in range(400)])
    figure = draw(points(400, dimensions), groups=groups, title=title)
    title_box = figure._suptitle.get_window_extent()
    assert 0 <= title_box.x0 < title_box.x1 <= figure.bbox.width
    assert title_box.y1 <= figure.bbox.height
    legend_box = figure.legends[0].get_window_extent()
    figure.legends[0].remove()
    figure._suptitle.remove()
    drawn = (figures.render(figure, figure.dpi) < 250).any(axis=2)[::-1]  # from the lower edge
    down, across = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    plot = Bbox.from_extents(across[0], down[0], across[-1] + 1, down[-1] + 1)
    assert not title_box.overlaps(plot)
    assert not legend_box.overlaps(plot)


def drawn_extent(figure: Figure, frames: Iterable[np.ndarray]) -> np.ndarray:
    """Where frames are not white: left, top, right and bottom, in shares of the plot's space."""
    drawn = np.any([(frame < 250).any(axis=2) for frame in frames], axis=0)
    down, across = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    edges = across[0], down[0], across[-1] + 1, down[-1] + 1
    shares = np.array(edges) / np.tile(drawn.shape[::-1], 2)
    space = figure.axes[0].get_position(original=True)
    corner = np.tile([space.x0, 1 - space.y1], 2)
    return (shares - corner) / np.tile(space.size, 2)


@pytest.mark.parametrize("elev", [0, 30, 90, -60])
@pytest.mark.parametrize("azim", [-60, 0, 45, 90])
def test_a_plot_fills_its_space_from_every_side(azim, elev):
    """Nothing of it, labels included, is outside, and it is as large as can be."""
    corners = np.array(list(product([-3000, 3000], repeat=3)), np.float32)
    figure = draw(corners, title="", azim=azim, elev=elev)
    left, top, right, bottom = drawn_extent(figure, [figures.render(figure)])
    assert min(left, top) > -0.005
    assert max(right, bottom) < 1.005
    assert max(right - left, bottom - top) > 0.96
    assert left + right == pytest.approx(1, abs=0.03)
    assert top + bottom == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("elev", [0, 30, 90])
def test_a_turning_plot_fills_its_space_without_leaving_it(elev):
    figure = draw(points(50), title="", elev=elev, turns=True)
    left, top, right, bottom = drawn_extent(figure, figures.turn(figure, 18))
    assert min(left, top) > -0.005
    assert max(right, bottom) < 1.005
    assert max(right - left, bottom - top) > 0.96


@pytest.mark.parametrize("names", ["0123456789", [f"a long name of class {i}" for i in range(30)]])
def test_a_title_is_close_to_its_plot(names):
    figure = draw(points(300), groups=np.resize(list(names), 300))
    figure.legends[0].remove()
    blank = (figures.render(figure) >= 250).all(axis=(1, 2))
    rows = np.flatnonzero(~blank) / len(blank)
    title, plot = rows[rows < 0.075], rows[rows >= 0.075]
    assert title[0] < 0.05
    assert plot[0] - title[-1] < 0.04
    assert plot[-1] > 0.95


def test_an_empty_label_is_shown_as_a_dash():
    figure = draw(points(3), groups=np.array(["", "a", "a"]))
    assert legend(figure) == ["–", "a"]
    assert sorted(texts(figure)) == ["a", "a", "–"]


@pytest.mark.parametrize(("label", "text"), [(" ", "–"), ("\u2003", "–"), ("a\nb", "a b")])
def test_white_space_in_labels_is_simplified(label, text):
    figure = draw(points(2), groups=np.array([label, "z"]))
    assert sorted(legend(figure)) == sorted(texts(figure)) == sorted([text, "z"])


def test_the_ending_chooses_the_format(tmp_path):
    figure = draw(points(20), groups=np.arange(20) % 3)
    figures.save(figure, tmp_path / "latents.png")
    assert image.imread(tmp_path / "latents.png").shape == (975, 1200, 4)
    figures.save(figure, tmp_path / "latents.svg")
    root = ET.parse(tmp_path / "latents.svg").getroot()
    assert any(text.text == "A title" for text in root.iter("{http://www.w3.org/2000/svg}text"))
    figures.save(figure, tmp_path / "latents.PDF")
    assert (tmp_path / "latents.PDF").read_bytes().startswith(b"%PDF")
    assert {".png", ".svg", ".pdf", ".jpg"} <= set(figures.endings())


def test_a_vector_file_of_many_points_is_small(tmp_path):
    figure = draw(points(50_000), groups=np.arange(50_000) % 10)
    figures.save(figure, tmp_path / "latents.svg")
    assert (tmp_path / "latents.svg").stat().st_size < 2_000_000


def test_without_a_display_no_window_is_opened():
    _, in_window = figures.new_figure(window=True)
    assert not in_window


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("color", ["groups", "values", None])
def test_very_many_points_look_like_those_of_a_scatter_plot(monkeypatch, dimensions, color):
    """They are drawn in another way, which is several times as fast."""
    cloud, random = points(20_000, dimensions), np.random.default_rng(1)
    cloud[:, 0] += 3 * (groups := np.arange(20_000) % 7 % 3)
    options = {"groups": groups, "values": random.random(20_000, np.float32), None: None}
    pixels = []
    for most in (10_000, 50_000):
        monkeypatch.setattr(figures.latents, "MOST_SCATTERED", most)
        figure = draw(cloud, **({color: options[color]} if color else {}))
        pixels.append(figures.render(figure).astype(float))
    # Colours of points at the same place cover one another in a slightly other order.
    coarse = [image[:640, :800].reshape(80, 8, 100, 8, 3).mean((1, 3)) for image in pixels]
    blank = coarse[0].max()
    difference = np.abs(coarse[0] - coarse[1]).mean() / np.abs(coarse[0] - blank).mean()
    assert difference < 0.1
