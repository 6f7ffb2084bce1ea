"""Pictures of images: where things are, and that no texts overlap."""

from __future__ import annotations

import itertools
import math

import matplotlib
import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from matplotlib.text import Text

from ae_cli import figures
from ae_cli.figures.strips import Strip, shorten, text_width, wrap

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 28, 100), (3, 100, 28), (1, 2, 200)]
LONG = r"a very long class name with a $\frac formula$"
ACCURACIES = {"latents": (0.812, 0.745), "PCA": (0.5, 1.0), "pixels": (0.968, 0.0)}


def noise(count: int, shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape)).astype(np.float32)


def draw(function, *arguments, **options) -> Figure:
    figure, _ = figures.new_figure()
    function(figure, *arguments, **options)
    figure.draw_without_rendering()
    return figure


def strips(figure: Figure) -> list:
    """The strips from top to bottom, and from left to right where several are side by side."""
    return figure.axes[0].images


def shown_texts(figure: Figure) -> list[Text]:
    """All texts in the picture, including tick labels."""
    found: list[Text] = []
    for axes in figure.axes:
        found += axes.texts
        if axes.axison:
            found += [axes.xaxis.label, axes.yaxis.label]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                for tick in axis.get_major_ticks():
                    found += [tick.label1, tick.label2] if low <= tick.get_loc() <= high else []
        if axes.get_legend():
            found += axes.get_legend().get_texts()
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in shown_texts(figure)]


def find(figure: Figure, word: str) -> Text:
    (text,) = (text for text in shown_texts(figure) if text.get_text() == word)
    return text


def assert_tidy(figure: Figure) -> None:
    """Check that everything is on the page, and that no text covers another or an image."""
    width, height = figure.bbox.size
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    for word, box in boxes:
        assert box.x0 >= 0, word
        assert box.y0 >= 0, word
        assert box.x1 <= width, word
        assert box.y1 <= height, word
    places = [("an image", strip.get_window_extent()) for strip in strips(figure)]
    for _, place in places:
        assert 0 <= place.x0 < place.x1 <= width
        assert 0 <= place.y0 < place.y1 <= height
    for (word, one), (other_word, other) in itertools.chain(
        itertools.combinations(boxes, 2), itertools.product(boxes, places)
    ):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(across, down) < 1, f"{word!r} covers {other_word!r}"  # ignore one pixel


def test_reconstructions_are_below_their_originals():
    originals, reconstructions = noise(12), noise(12, seed=1)
    titles = [f"title {i}" for i in range(12)]
    figure = draw(figures.draw_reconstructions, originals, reconstructions, titles)
    drawn = strips(figure)
    assert len(drawn) == 4  # two rows of six images, each above its reconstructions
    for i, title in enumerate(titles):
        block, column = divmod(i, 6)
        upper, lower = drawn[2 * block : 2 * block + 2]
        place = slice(29 * column, 29 * column + 28)
        np.testing.assert_array_equal(upper.get_array()[:, place], originals[i, 0])
        np.testing.assert_array_equal(lower.get_array()[:, place], reconstructions[i, 0])
        left, right, bottom, top = upper.get_extent()
        x, y = find(figure, title).get_position()
        assert x == pytest.approx(left + (29 * column + 14) / (6 * 29 - 1) * (right - left))
        assert top - 0.1 < y < top
        assert lower.get_extent()[:2] == [left, right]
        assert bottom < lower.get_extent()[3] < bottom + 0.1
    assert words(figure).count("original") == words(figure).count("reconstruction") == 2
    assert_tidy(figure)


def test_images_are_rendered_in_the_right_places(tmp_path):
    """Draws twelve plain images of different shades, and looks them up in the file."""
    shades = np.linspace(0, 1, 12, dtype=np.float32)
    images = np.broadcast_to(shades[:, None, None, None], (12, 1, 20, 10))
    figure, _ = figures.new_figure()
    figures.draw_sheet(figure, images, [str(i) for i in range(12)])
    figures.save(figure, tmp_path / "sheet.png")
    pixels = image.imread(tmp_path / "sheet.png")
    width, height = figure.get_size_inches()
    assert pixels.shape[:2] == pytest.approx((height * 150, width * 150), abs=1)
    first = strips(figure)[0].get_extent()
    assert first[3] < 0.5, "the first row is at the top"
    step = (first[1] - first[0] + 0.13) / 6  # an image and the gap after it
    for i, shade in enumerate(shades):
        left, _, bottom, top = strips(figure)[i // 6].get_extent()
        x, y = left + (i % 6 + 0.4) * step, (top + bottom) / 2
        assert pixels[int(y * 150), int(x * 150), 0] == pytest.approx(shade, abs=0.005)


def test_the_number_of_pixels_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "MOST_PIXELS", 500)
    for shape in [(1, 10, 90), (1, 90, 10)]:
        images = noise(30, shape)
        figure = draw(figures.draw_sheet, images)
        figures.save(figure, tmp_path / "sheet.png")
        assert max(image.imread(tmp_path / "sheet.png").shape) in (499, 500)


def test_color_images_are_drawn_in_color():
    images = noise(2, (3, 6, 4))
    figure = draw(figures.draw_reconstructions, images, images - 0.5, ["a", "b"])
    original, reconstruction = strips(figure)
    assert original.get_array().shape == (6, 9, 3)
    np.testing.assert_array_equal(original.get_array()[:, 5:], images[1].transpose(1, 2, 0))
    assert reconstruction.get_array().min() == 0, "PCA may exceed the range of colours"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 13])
def test_no_title_covers_anything(shape, count):
    images = noise(count, shape)
    titles = [f"{LONG} (error 0.1234)", *("7 (error 0.0345)" for _ in range(count - 1))]
    figure = draw(figures.draw_reconstructions, images, images, titles)
    assert_tidy(figure)
    first, *others = (word for word in words(figure) if "error" in word)
    name, error = first.split("\n")
    start, end = name.split("…")
    assert LONG.startswith(start)
    assert LONG.endswith(end)
    assert min(len(start), len(end)) > 5
    assert error == "(error 0.1234)", "the error is not cut off"
    assert set(others) <= {"7\n(error 0.0345)"}
    for strip in strips(figure):
        left, right, bottom, top = strip.get_extent()
        rows, columns = strip.get_array().shape[:2]
        assert (right - left) / (bottom - top) == pytest.approx(columns / rows), "undistorted"


def test_a_sheet_without_titles_has_even_gaps():
    images = noise(25)
    figure = draw(figures.draw_sheet, images)
    assert words(figure) == []
    first, second, third = (strip.get_extent() for strip in strips(figure))
    gap = (first[1] - first[0]) / (9 * 29 - 1)
    assert second[3] - first[2] == pytest.approx(gap)
    last = strips(figure)[2].get_array()
    np.testing.assert_array_equal(last[:, 6 * 29 : 6 * 29 + 28], images[24, 0])
    assert (last[:, 7 * 29 :] == 1).all(), "empty places are white"
    _, height = figure.get_size_inches()
    assert third[2] + 0.1 == pytest.approx(height)
    assert_tidy(figure)


@pytest.mark.parametrize(
    ("shape", "classes"),
    [*((shape, 3) for shape in SHAPES), *(((1, 8, 8), n) for n in (1, 26, 62))],
)
def test_examples_have_their_class_on_the_left(shape, classes):
    rows = [noise(1 + k % 4, shape, seed=k) for k in range(classes)]
    names = [f"{k} {LONG if k % 2 else ''}" for k in range(classes)]
    figure = draw(figures.draw_examples, rows, names)
    assert_tidy(figure)
    assert len(strips(figure)) == classes
    pixels = shape[2]
    for k, (strip, images) in enumerate(zip(strips(figure), rows, strict=True)):
        left = strip.get_array()[:, :pixels].reshape(shape[1], pixels, -1)
        np.testing.assert_array_equal(left, images[0].transpose(1, 2, 0))
        (name,) = (text for text in shown_texts(figure) if text.get_text().split()[0] == str(k))
        box, place = name.get_window_extent(), strip.get_window_extent()
        assert box.x1 < place.x0 < box.x1 + 20
        assert (box.y0 + box.y1) / 2 == pytest.approx((place.y0 + place.y1) / 2, abs=2)
    width, height = figure.get_size_inches() * figures.RESOLUTION
    assert max(width, height) < 2**16


def test_examples_without_classes_leave_no_space_for_names():
    figure = draw(figures.draw_examples, [noise(10), noise(3)], ["", ""])
    first, second = (strip.get_extent() for strip in strips(figure))
    assert first[0] == pytest.approx(0.1)
    assert second[3] - first[2] == pytest.approx((first[1] - first[0]) / 289)
    assert words(figure) == []


def test_a_class_without_images_is_an_empty_row():
    figure = draw(figures.draw_examples, [noise(0), noise(3)], ["none", "three"])
    assert len(strips(figure)) == 1
    assert words(figure) == ["none", "three"]
    assert find(figure, "none").get_position()[1] < strips(figure)[0].get_extent()[3]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (20, 7)])
def test_a_grid_is_a_mosaic_along_two_axes(shape, columns, rows):
    images = noise(rows * columns, shape)
    across = np.linspace(-2.1, 2.1, columns)
    down = np.linspace(1000, -1000, rows)
    figure = draw(figures.draw_grid, images, ("z1", "$z_2"), (across, down))
    assert_tidy(figure)
    axes = figure.axes[1]
    (mosaic,) = axes.images
    channels, height, width = shape
    drawn = mosaic.get_array().reshape(rows * height, columns * width, channels)
    for i, single in enumerate(images):
        row, column = divmod(i, columns)
        place = drawn[row * height : (row + 1) * height, column * width : (column + 1) * width]
        np.testing.assert_array_equal(place, single.transpose(1, 2, 0))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z1", "$z_2")
    # The tick at the middle of an image shows the image's value.
    for ticks, labels, values in (
        (axes.get_xticks(), axes.get_xticklabels(), across),
        (axes.get_yticks(), axes.get_yticklabels(), down),
    ):
        for tick, label in zip(ticks, labels, strict=True):
            value = float(label.get_text().replace("\N{MINUS SIGN}", "-"))
            assert value == pytest.approx(values[int(tick - 0.5)], rel=0.01, abs=1e-9)
    inches = axes.get_position().size * figure.get_size_inches()
    assert max(inches) <= 7.001
    assert inches[0] / inches[1] == pytest.approx(columns * width / (rows * height))


def test_a_value_near_zero_is_shown_as_zero():
    values = np.array([-1.2, 3e-16, 1.2])
    figure = draw(figures.draw_grid, noise(9), ("a", "b"), (values, values[::-1]))
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["−1.2", "0", "1.2"]


def anomalies(count: int = 12, shape=(1, 28, 28), **options) -> Figure:
    originals, reconstructions = noise(count, shape), noise(count, shape, seed=1)
    options = {"scores": np.geomspace(0.005, 0.2, 1000), "threshold": 0.12} | options
    titles = [f"{LONG if i % 3 else i} (error 0.1234)" for i in range(count)]
    return draw(figures.draw_anomalies, originals, reconstructions, titles, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("count", "known"), [(13, False), pytest.param(1, True, marks=pytest.mark.slow)]
)
def test_anomalies_are_tidy(shape, count, known):
    assert_tidy(anomalies(count, shape, anomalous=np.arange(1000) > 900 if known else None))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 40)])
def test_the_heat_map_is_the_squared_error_of_each_pixel(shape):
    figure = anomalies(12, shape)
    originals, reconstructions = noise(12, shape), noise(12, shape, seed=1)
    squared = ((originals - reconstructions) ** 2).mean(axis=1)
    colors = matplotlib.colormaps["inferno"](squared / squared.max())[..., :3]
    step = shape[2] + max(1, shape[2] // 28)
    for i in range(12):
        heat = strips(figure)[2 if i < 6 else 5].get_array()
        left = i % 6 * step
        np.testing.assert_allclose(heat[:, left : left + shape[2]], colors[i], atol=0.01)
    bar = figure.axes[2]
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0", f"{squared.max():.2g}"]
    assert words(figure).count("squared error") == 2


def test_the_histogram_counts_all_images():
    figure = anomalies(threshold=0.0345)
    axes = figure.axes[1]
    (steps,) = axes.patches
    counts, edges, _ = steps.get_data()
    assert counts.sum() == 1000
    np.testing.assert_allclose(
        counts, counts.mean(), rtol=0.1
    )  # evenly spread on a logarithmic axis
    assert axes.get_xscale() == "log"
    assert edges[0] == pytest.approx(0.005)
    assert edges[-1] == pytest.approx(0.2)
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0.0345, 0.0345]
    assert {"threshold 0.0345", "images", "0.01", "0.02", "0.05", "0.1"} <= set(words(figure))
    assert axes.get_legend() is None


def test_groups_of_unequal_size_are_comparable():
    errors = np.concatenate([np.full(900, 0.01), np.full(99, 0.1), [0.2]])
    figure = anomalies(scores=errors, anomalous=np.arange(1000) >= 900)
    axes = figure.axes[1]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["normal (900)", "anomalous (100)"]
    filled = [steps for steps in axes.patches if steps.get_fill()]
    normal, anomalous = (steps.get_data().values for steps in filled)
    assert normal.max() == pytest.approx(100)
    assert sorted(anomalous)[-2:] == pytest.approx([1, 99])
    assert axes.get_ylabel() == "images of each group (%)"


@pytest.mark.parametrize(
    "errors",
    [[0.03], [0.0] * 5, [0.03] * 50, [0.0, 0.01, 0.2], [0.03, 0.031], [1e-9, 1.0]],
    ids=repr,
)
@pytest.mark.parametrize(
    ("threshold", "known"),
    [
        (0.03, False),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in ((0.0, None), (5.0, True))),
    ],
)
def test_any_errors_have_a_histogram(errors, threshold, known):
    anomalous = None if known is None else np.full(len(errors), known)
    figure = anomalies(
        2, scores=np.array(errors, np.float32), threshold=threshold, anomalous=anomalous
    )
    assert_tidy(figure)
    filled = [steps for steps in figure.axes[1].patches if steps.get_fill()]
    total = sum(steps.get_data().values.sum() for steps in filled)
    assert total == pytest.approx(len(errors) if known is None else 100)


def test_images_without_error_can_be_drawn():
    images = noise(2)
    figure = draw(
        figures.draw_anomalies, images, images, ["a", "b"], scores=np.zeros(2), threshold=0.0
    )
    heat = strips(figure)[2].get_array()[:, :28]
    np.testing.assert_allclose(heat, np.broadcast_to(heat[0, 0], heat.shape))


def evaluation(count: int = 10, shape=(1, 28, 28), **options) -> Figure:
    three = (noise(count, shape, seed=seed) for seed in range(3))
    return draw(figures.draw_evaluation, *three, errors=(0.0352, 0.05), **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("count", "chance"),
    [(13, 0.016), *(pytest.param(*row, marks=pytest.mark.slow) for row in ((1, 1.0), (5, None)))],
)
def test_an_evaluation_is_tidy(shape, count, chance):
    assert_tidy(evaluation(count, shape, accuracies=ACCURACIES | {LONG: (0.3, 0.4)}, chance=chance))


def test_an_evaluation_has_three_rows():
    figure = evaluation()
    for seed, strip in enumerate(strips(figure)):
        np.testing.assert_array_equal(strip.get_array()[:, 29:57], noise(10, seed=seed)[1, 0])
    expected = ["original", "autoencoder\n(error 0.0352)", "PCA\n(error 0.0500)"]
    assert words(figure) == expected
    assert len(figure.axes) == 1, "without labels there are no bars"


@pytest.mark.parametrize("count", [3, 10])
def test_accuracies_are_bars(count):
    figure = evaluation(count, accuracies=ACCURACIES, chance=0.1)
    panels = figure.axes[1:]
    expected = [
        ([0.812, 0.5, 0.968], ["81.2%", "50.0%", "96.8%", "chance 10.0%"]),
        ([0.745, 1.0, 0.0], ["74.5%", "100.0%", "0.0%", "chance 10.0%"]),
    ]
    for axes, (shares, texts) in zip(panels, expected, strict=True):
        assert [bar.get_width() for bar in axes.patches] == shares
        assert [text.get_text() for text in axes.texts] == texts
        labels = {text.get_position()[1]: text.get_text() for text in axes.get_yticklabels()}
        middles = [round(bar.get_y() + bar.get_height() / 2, 6) for bar in axes.patches]
        assert [labels[middle] for middle in middles] == list(ACCURACIES)
        (line,) = axes.lines
        assert list(line.get_xdata()) == [0.1, 0.1]
    for name, axes in zip(("k-nearest neighbours", "logistic regression"), panels, strict=True):
        title, bars = find(figure, name).get_window_extent(), axes.get_window_extent()
        assert title.x0 == pytest.approx(bars.x0, abs=2)
        assert 0 < title.y0 - bars.y1 < 30, "the name is above the bars"


@pytest.mark.parametrize(("count", "beside"), [(1, False), (5, False), (7, True), (10, True)])
def test_classifiers_are_side_by_side_if_there_is_room(count, beside):
    figure = evaluation(count, accuracies=ACCURACIES, chance=0.1)
    first, second = (axes.get_position() for axes in figure.axes[1:])
    if beside:
        assert (first.y0, first.y1) == (second.y0, second.y1)
        assert second.x0 - first.x0 == pytest.approx(0.5)
        assert first.x1 < 0.5
    else:
        assert (first.x0, first.x1) == (second.x0, second.x1)
        assert first.y0 > second.y1
    width, height = figure.get_size_inches()
    assert second.x1 == pytest.approx(1 - 0.6 / width), "the bars use the whole width"
    assert first.width * width > 2
    assert second.y0 * height == pytest.approx(0.5)


def test_without_chance_there_is_no_line():
    figure = evaluation(accuracies=ACCURACIES)
    assert not any(axes.lines for axes in figure.axes[1:])


def test_texts_are_cut_by_their_printed_width():
    assert shorten("bag", 1.0) == "bag"
    for letter in "iW":
        cut = shorten(letter * 100, 1.0)
        assert len(set(map(len, cut.split("…")))) == 1, "as much is left before as after"
        assert 0.8 < text_width(cut) <= 1.0
    assert shorten("W", 0.01) == "…"
    assert wrap(["a (b)", "c"], 1.0) == ["a (b)", "c"]
    assert wrap(["a (b)", "W" * 9 + " (b)"], 0.7)[0] == "a\n(b)", (
        "all titles are wrapped in the same way"
    )


def test_the_width_of_a_text_matches_the_picture():
    figure = Figure(dpi=1000)
    text = figure.text(0, 0, "T-shirt/top (error 0.1234)", fontsize=8)
    drawn = text.get_window_extent().width / 1000
    assert text_width("T-shirt/top (error 0.1234)") == pytest.approx(drawn, rel=0.02)


def test_a_strip_is_as_wide_as_its_images():
    strip = Strip.fit(noise(3, (1, 28, 14)), columns=3)
    assert strip.arrange(noise(3, (1, 28, 14))).shape == (28, 3 * 14 + 2 * strip.gap)
    assert math.isclose(strip.width / strip.height, (3 * 14 + 2 * strip.gap) / 28)
