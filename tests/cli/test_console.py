from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from ae_cli.cli.console import Reporter, one_line, report_warning
from ae_cli.cli.preview import Reduction, fit, half_blocks, shrink_grid


def drawn(rows: list[np.ndarray], width: int, height: int) -> list[list[tuple[int, int]]]:
    """The grey of each character's upper and lower half, by line; None for what is not drawn."""
    lines = []
    how = fit(rows, width, height)
    assert how is not None
    for text in half_blocks(rows, how):
        line: list = [None] * len(text)
        for span in text.spans:
            if span.style:
                halves = (span.style.color, span.style.bgcolor)
                line[span.start] = tuple(half and half.get_truecolor().red for half in halves)
        lines.append(line)
    return lines


def test_half_blocks_show_two_pixels_each():
    image = np.array([[[[0, 0.2], [0.4, 0.6]]]], np.float32)  # one 2 × 2 image
    assert drawn([image], width=80, height=20) == [[(0, 102), (51, 153), None], []]


def test_rows_are_stacked_and_images_side_by_side():
    upper = np.zeros((2, 1, 4, 3), np.float32)
    lower = np.ones((2, 1, 4, 3), np.float32)
    black, white = [(0, 0)] * 3, [(255, 255)] * 3
    assert drawn([upper, lower], width=80, height=20) == [
        *[[*black, None, *black, None]] * 2,
        [],
        *[[*white, None, *white, None]] * 2,
        [],
    ]


@pytest.mark.parametrize("count", [1, 5, 12, 100])
@pytest.mark.parametrize("size", [28, 64, 7])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (12, 8)])
def test_the_preview_fits_the_terminal(count, size, width, height):
    images = np.random.default_rng(0).random((count, 1, size, size)).astype(np.float32)
    lines = drawn([images, images], width, height)
    assert lines
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_reduced_images_are_averaged():
    image = np.random.default_rng(0).random((5, 1, 28, 28)).astype(np.float32)
    lines = drawn([image], width=80, height=40)  # 5 images, each 14 characters wide
    expected = image[0, 0].reshape(14, 2, 14, 2).mean((1, 3)) * 255
    for y in range(7):
        for x in range(14):
            assert lines[y][x] == pytest.approx(tuple(expected[2 * y : 2 * y + 2, x]), abs=0.51)


def test_below_an_odd_line_is_the_terminals_background():
    image = np.full((1, 1, 3, 1), 0.2, np.float32)
    assert drawn([image], width=80, height=20) == [[(51, 51), None], [(51, None), None], []]


def shades(rows: int, columns: int, size: int, channels: int = 1) -> np.ndarray:
    """A grid of plain images, the grey of each of which is its number."""
    numbers = np.arange(rows * columns, dtype=np.float32)[:, None, None, None]
    return np.broadcast_to(numbers / 255, (rows * columns, channels, size, size))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("width", "height", "rows", "columns", "side"),
    [
        (80, 20, [0, 4, 7, 11], [0, 1, 3, 4, 6, 7, 8, 10, 11], 8),
        (120, 36, [0, 2, 3, 5, 6, 8, 9, 11], range(12), 8),
        (200, 60, range(12), range(12), 9),
        (400, 200, range(12), range(12), 28),
        (400, 20, [0, 4, 7, 11], range(12), 9),
    ],
)
def test_a_grid_is_shown_from_its_first_to_its_last_row_and_column(
    width, height, rows, columns, side, channels
):
    grid = shrink_grid(shades(12, 12, 28, channels), 12, width, height)
    small = grid.pixels
    numbers = 12 * np.array(rows)[:, None] + np.array(columns)
    expected = np.kron(numbers, np.ones((side, side))) / 255
    assert small.shape == (1, channels, *expected.shape)
    assert (grid.rows, grid.columns) == (len(rows), len(columns))
    for plane in small[0]:
        np.testing.assert_allclose(plane, expected, atol=1e-6)
    lines = drawn([small], width, height)
    assert len(lines[0]) == 1 + len(columns) * side, "it is not reduced again"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 12), (2, 2), (30, 30)])
@pytest.mark.parametrize("shape", [(28, 28), (7, 7), (100, 28), (3, 300)])
@pytest.mark.parametrize(("width", "height"), [(80, 20), (40, 8), (12, 3), (200, 56)])
def test_any_grid_fits_the_terminal(rows, columns, shape, width, height):
    images = np.random.default_rng(0).random((rows * columns, 1, *shape)).astype(np.float32)
    small = shrink_grid(images, columns, width, height).pixels
    lines = drawn([small], width, height)
    assert lines
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert len(lines[0]) == 1 + small.shape[3]


def test_a_terminal_without_lines_shows_no_grid():
    assert fit([shrink_grid(shades(3, 3, 28), 3, 80, 0).pixels], 80, 0) is None


def test_reduced_grids_are_averaged():
    images = np.random.default_rng(0).random((4, 1, 16, 16)).astype(np.float32)
    small = shrink_grid(images, 2, 80, 9).pixels
    whole = np.block([[images[0, 0], images[1, 0]], [images[2, 0], images[3, 0]]])
    expected = whole.reshape(16, 2, 16, 2).mean((1, 3))
    np.testing.assert_allclose(small[0, 0], expected, atol=0.006)  # of levels, rounded twice


def test_color_images_are_drawn_in_color():
    red = np.zeros((1, 3, 2, 1), np.float32)
    red[:, 0] = 1
    (text, _) = half_blocks([red], Reduction(1, 1))
    assert text.spans[0].style.color.get_truecolor() == (255, 0, 0)


def test_one_line_shows_control_characters():
    assert one_line("a\nb\x1b[31mc\rd\u202ee") == "a\\nb\\x1b[31mc\\rd\\u202ee"
    assert one_line("É × 日本 …") == "É × 日本 …"


def test_messages_go_to_stderr_and_json_to_stdout(capsys):
    reporter = Reporter(json=True)
    reporter.say("label", "a message")
    report_warning("a warning")
    reporter.emit("result", value=1.5, name="é")
    captured = capsys.readouterr()
    assert captured.err == "label      a message\nwarning: a warning\n"
    assert json.loads(captured.out) == {"event": "result", "value": 1.5, "name": "é"}


def test_quiet_keeps_warnings(capsys):
    reporter = Reporter(quiet=True)
    reporter.say("label", "a message")
    reporter.answer("label", "an answer")
    report_warning("a warning")
    reporter.emit("result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: a warning\n")


def test_markup_in_messages_is_printed_as_text(capsys):
    Reporter().say("label", "[red]not red[/red] [/] :smile:")
    assert capsys.readouterr().err == "label      [red]not red[/red] [/] :smile:\n"


def test_long_messages_stay_on_one_line(capsys):
    Reporter().say("label", "word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_terminal_nothing_is_drawn(capsys):
    reporter = Reporter()
    images = np.zeros((2, 1, 28, 28), np.float32)
    reporter.preview(images, images, what="images")
    reporter.preview_grid(images, 2)
    with reporter.progress() as progress:
        progress("embed", 5, 10, "images")
        progress("PCA", 0, None, "")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert not Console(stderr=True).is_terminal
