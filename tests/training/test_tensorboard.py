from __future__ import annotations

import importlib
import importlib.util
import io
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import full_disk
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from ae_cli.config import ModelConfig
from ae_cli.data.images import Images
from ae_cli.data.store import PixelStore
from ae_cli.errors import UsageError
from ae_cli.latents.infer import reconstruct_all
from ae_cli.models import build
from ae_cli.training.events import Epoch
from ae_cli.training.tensorboard import TensorBoard, check_tensorboard

CPU = torch.device("cpu")


def epoch(number: int, images: Images, train_loss: float = 0.25) -> Epoch:
    return Epoch(
        epoch=number,
        step=24 * number,
        train_loss=train_loss,
        test_loss=0.5 / number,
        val_loss=None,
        test_errors=np.zeros(len(images), np.float32),
        latents_in_use=3.0,
        kl=None,
        learning_rate=0.001,
        images_per_second=1000.0 * number,
        seconds=1.5,
    )


def make_images(count: int, shape: tuple[int, int, int] = (1, 28, 28), **known) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
    return Images(PixelStore(pixels), **known)


def open_board(
    folder: Path, images: Images, after_step: int | None = None, run_id: str = "this", **config
):
    model = build(ModelConfig(shape=images.shape, **config), seed=0)
    board = TensorBoard(folder, model, images, device=CPU, run_id=run_id, after_step=after_step)
    return board, model


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def picture(content: bytes | Path) -> np.ndarray:
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    with Image.open(source) as image:
        return np.asarray(image)


def metadata(folder: Path) -> list[list[str]]:
    text = (folder / "latents" / "metadata.tsv").read_bytes().decode()
    assert text.endswith("\n")
    return [line.split("\t") for line in text[:-1].split("\n")]


def config(folder: Path):
    """The Projector's only tensor, parsed as TensorBoard does it."""
    text = (folder / "projector_config.pbtxt").read_text()
    (embedding,) = text_format.Parse(text, ProjectorConfig()).embeddings
    return embedding


def test_curves_and_reconstructions_are_written(digits, tmp_path):
    folder = tmp_path / "runs" / "first"
    board, model = open_board(folder, digits.test)
    assert os.listdir(tmp_path) == []
    for number in (1, 2):
        board.write_epoch(epoch(number, digits.test))
        assert read(folder).Scalars("loss/train")[-1].step == 24 * number, "during training"
    events = read(folder)
    assert events.Tags()["scalars"] == [
        "loss/train",
        "loss/test",
        "learning_rate",
        "images_per_second",
    ]
    assert scalars(folder, "loss/train") == [(24, 0.25), (48, 0.25)]
    assert scalars(folder, "loss/test") == [(24, 0.5), (48, 0.25)]
    assert scalars(folder, "learning_rate") == [(24, np.float32(0.001)), (48, np.float32(0.001))]
    assert scalars(folder, "images_per_second") == [(24, 1000), (48, 2000)]
    assert events.Tags()["images"] == ["reconstructions"]
    drawn = events.Images("reconstructions")
    assert [(image.step, image.width, image.height) for image in drawn] == [
        (24, 280, 56),
        (48, 280, 56),
    ]
    grid = picture(drawn[0].encoded_image_string)
    images = digits.test.head(10)
    expected = reconstruct_all(model, images, device=CPU).pixels
    for i in range(10):
        column = grid[:, 28 * i : 28 * (i + 1)]
        np.testing.assert_array_equal(column[:28], images.pixels[i, 0])
        np.testing.assert_allclose(column[28:], 255 * expected[i, 0], atol=0.51)
    assert len(os.listdir(folder)) == 1


def test_latents_are_written_for_the_projector(digits, tmp_path):
    board, model = open_board(tmp_path, digits.test)
    assert board.write_latents(240) == 297
    assert sorted(os.listdir(tmp_path)) == ["latents", "projector_config.pbtxt"]
    assert sorted(os.listdir(tmp_path / "latents")) == ["metadata.tsv", "sprite.png", "vectors.tsv"]
    embedding = config(tmp_path)
    assert embedding.tensor_name == "latents after step 240"
    assert list(embedding.sprite.single_image_dim) == [28, 28]
    expected = reconstruct_all(model, digits.test, device=CPU)
    tensors = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(tensors, expected.latents)
    header, *lines = metadata(tmp_path)
    assert embedding.metadata_path == "latents/metadata.tsv"
    assert header == ["label", "index", "error"]
    assert [line[0] for line in lines] == [str(label) for label in digits.test.label_values()]
    assert [int(line[1]) for line in lines] == list(digits.test.index())
    np.testing.assert_allclose([float(line[2]) for line in lines], expected.errors, rtol=1e-5)
    sprite = picture(tmp_path / embedding.sprite.image_path)
    assert sprite.shape == (18 * 28, 18 * 28)
    for i in (0, 17, 18, 296):
        top, left = 28 * (i // 18), 28 * (i % 18)
        np.testing.assert_array_equal(
            sprite[top : top + 28, left : left + 28], digits.test.pixels[i, 0]
        )
    assert not sprite[16 * 28 :, 9 * 28 :].any(), "there is no 298th image"


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_the_projector_gets_at_least_three_dimensions(digits, tmp_path, latent_dim):
    board, model = open_board(tmp_path, digits.test, latent_dim=latent_dim)
    board.write_latents(24)
    tensors = np.loadtxt(tmp_path / "latents" / "vectors.tsv", dtype=np.float32)
    expected = reconstruct_all(model, digits.test, device=CPU).latents
    np.testing.assert_array_equal(tensors[:, :latent_dim], expected)
    assert tensors.shape == (297, max(3, latent_dim))
    assert not tensors[:, latent_dim:].any()


def test_the_projector_serves_the_latents(digits, tmp_path):
    """Requested as by a browser."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client
    from werkzeug.wrappers import Response

    board, model = open_board(tmp_path / "first", digits.test)
    board.write_epoch(epoch(1, digits.test))
    board.write_latents(24)
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    context = TBContext(
        logdir=str(tmp_path),
        multiplexer=multiplexer,
        data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path)),
    )
    routes = ProjectorPlugin(context).get_plugin_apps()

    def get(route: str, **query) -> Response:
        return Client(routes[route], Response).get("/", query_string={"run": "first", **query})

    name = "latents after step 24"
    (embedding,) = get("/info").json["embeddings"]
    assert embedding["tensorName"] == name
    assert embedding["tensorShape"] == [297, 3]
    latents = np.frombuffer(get("/tensor", name=name).data, np.float32).reshape(297, 3)
    expected = reconstruct_all(model, digits.test, device=CPU).latents
    np.testing.assert_array_equal(latents, expected)
    assert get("/metadata", name=name).text.splitlines()[0] == "label\tindex\terror"
    assert picture(get("/sprite_image", name=name).data).shape == (504, 504)


def test_a_resumed_run_continues_its_curves(digits, tmp_path):
    board, _ = open_board(tmp_path, digits.test)
    for number in (1, 2, 3):
        board.write_epoch(epoch(number, digits.test))
    board.write_latents(72)
    (first,) = tmp_path.glob("*tfevents*")
    first.write_bytes(first.read_bytes()[:-50])  # killed while writing
    board, _ = open_board(tmp_path, digits.test, after_step=24)
    assert len(list(tmp_path.glob("*tfevents*"))) == 1
    for number in (2, 3, 4):
        board.write_epoch(epoch(number, digits.test, train_loss=0.125))
    assert board.write_latents(96) == 297
    assert max(tmp_path.glob("*tfevents*")).name > first.name, "files are read in name order"
    assert scalars(tmp_path, "loss/train") == [(24, 0.25), (48, 0.125), (72, 0.125), (96, 0.125)]
    assert [image.step for image in read(tmp_path).Images("reconstructions")] == [24, 48, 72, 96]
    assert config(tmp_path).tensor_name == "latents after step 96"
    assert len(os.listdir(tmp_path / "latents")) == 3


@pytest.mark.parametrize("after", [48, 60])
def test_curves_up_to_the_resumed_step_are_kept(digits, tmp_path, after):
    board, _ = open_board(tmp_path, digits.test)
    for number in (1, 2, 3):
        board.write_epoch(epoch(number, digits.test))
    board, _ = open_board(tmp_path, digits.test, after_step=after)
    board.write_epoch(epoch(4, digits.test))
    assert [step for step, _ in scalars(tmp_path, "loss/train")] == [24, 48, 96]


def test_a_resumed_run_can_write_to_another_folder(digits, tmp_path):
    board, _ = open_board(tmp_path / "new", digits.test, after_step=48)
    board.write_epoch(epoch(3, digits.test))
    assert scalars(tmp_path / "new", "loss/train") == [(72, 0.25)]


@pytest.mark.parametrize(
    ("shape", "cell", "thumbnail", "side"),
    [
        ((3, 32, 32), (32, 32), (32, 32), 32),
        ((1, 8, 20), (8, 20), (8, 20), 20),
        ((3, 20, 8), (20, 8), (20, 8), 20),
        ((3, 300, 150), (128, 64), (64, 32), 64),
        ((1, 1, 1000), (1, 128), (1, 64), 64),
        ((1, 1, 1), (1, 1), (1, 1), 1),
    ],
)
def test_images_of_any_size_can_be_shown(tmp_path, shape, cell, thumbnail, side):
    images = make_images(7, shape)
    board, _ = open_board(tmp_path, images, hidden=(4,))
    board.write_epoch(epoch(1, images))
    (drawn,) = read(tmp_path).Images("reconstructions")
    grid = picture(drawn.encoded_image_string)
    channels = () if shape[0] == 1 else (3,)
    assert grid.shape == (2 * cell[0], 7 * cell[1], *channels)
    assert (drawn.height, drawn.width) == grid.shape[:2]
    board.write_latents(24)
    assert list(config(tmp_path).sprite.single_image_dim) == [side, side]
    sprite = picture(tmp_path / "latents" / "sprite.png")
    assert sprite.shape == (3 * side, 3 * side, *channels)
    # The fourth image is the first of the second row, centred in its square.
    height, width = thumbnail
    top, left = side + (side - height) // 2, (side - width) // 2
    found = sprite[top : top + height, left : left + width].astype(float)
    original = images.pixels[3].numpy().transpose(1, 2, 0).squeeze()
    if thumbnail == shape[1:]:
        np.testing.assert_array_equal(found, original.reshape(found.shape))
    else:
        assert found.mean() == pytest.approx(original.mean(), abs=1)
    sprite = sprite.copy()
    sprite[top : top + height, left : left + width] = 0
    assert not sprite[side : 2 * side, :side].any()


def test_the_projector_gets_2000_evenly_spaced_images(tmp_path):
    images = make_images(5000, (1, 8, 8), positions=np.arange(5000) + 7)
    board, model = open_board(tmp_path, images, hidden=(4,))
    assert board.write_latents(1) == 2000
    header, *lines = metadata(tmp_path)
    assert header == ["index", "error"]
    assert [int(line[0]) for line in lines] == [7 + 5 * i // 2 for i in range(2000)]
    assert picture(tmp_path / "latents" / "sprite.png").shape == (45 * 8, 45 * 8)
    tensors = np.loadtxt(tmp_path / "latents" / "vectors.tsv", delimiter="\t", dtype=np.float32)
    expected = reconstruct_all(model, images, device=CPU).latents[[5 * i // 2 for i in range(2000)]]
    np.testing.assert_allclose(tensors, expected, atol=1e-6)


def test_odd_names_stay_in_their_cells(tmp_path):
    names = ("tab\there.png", "two\nlines", "carriage\r\nreturn", "\u2028", "\udcff.png", "", "ü\0")
    classes = ("a\tb", "c\n")
    images = make_images(
        7, names=names, classes=classes, labels=torch.tensor([0, 1, 0, 1, 0, 1, 0])
    )
    board, _ = open_board(tmp_path, images)
    board.write_latents(24)
    header, *lines = metadata(tmp_path)
    assert header == ["label", "name", "index", "error"]
    assert [line[0] for line in lines] == ["a b", "c ", "a b", "c ", "a b", "c ", "a b"]
    assert [line[1] for line in lines] == [
        "tab here.png", "two lines", "carriage  return", " ", "?.png", "", "ü "
    ]  # fmt: skip
    assert [line[2] for line in lines] == list("0123456")


def test_nothing_is_written_for_a_diverged_model(digits, tmp_path):
    board, model = open_board(tmp_path, digits.test, activation="relu")
    with torch.no_grad():
        model.encoder[0].weight.fill_(torch.nan)
    assert board.write_latents(24) == 0
    assert os.listdir(tmp_path) == []


def test_a_missing_tensorboard_is_an_error(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "ae_cli.training.tensorboard.find_spec",
        lambda name: None if name == "tensorboard" else find(name),
    )
    with pytest.raises(UsageError) as error:
        check_tensorboard(tmp_path, resuming=False)
    expected = "--tensorboard needs tensorboard; install it: pip install 'ae-cli[tensorboard]'"
    assert str(error.value) == expected


def test_a_folder_called_tensorboard_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorboard")
    with pytest.raises(UsageError, match="needs tensorboard"):
        check_tensorboard(tmp_path, resuming=False)


def test_a_broken_installation_is_an_error(digits, tmp_path, monkeypatch):
    def broken(name: str):
        raise TypeError("Descriptors cannot be created directly.\nIf this call came from …")

    monkeypatch.setattr("ae_cli.training.tensorboard.import_module", broken)
    with pytest.raises(UsageError) as error:
        open_board(tmp_path, digits.test)
    assert str(error.value) == (
        "tensorboard cannot be imported (Descriptors cannot be created directly.); install a "
        "newer one: pip install --upgrade tensorboard"
    )


def test_import_warnings_are_not_shown(digits, tmp_path, monkeypatch):
    real = importlib.import_module

    def warn(name: str):
        warnings.warn("Protobuf gencode version 5.1 is older than the runtime", stacklevel=1)
        return real(name)

    monkeypatch.setattr("ae_cli.training.tensorboard.import_module", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_board(tmp_path, digits.test)


def test_the_folder_is_checked(digits, tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b", tmp_path / "new"):
        check_tensorboard(folder, resuming=False)
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file is not a folder; name a folder for --tensorboard"):
        check_tensorboard(tmp_path / "file", resuming=False)
    with pytest.raises(UsageError, match=r"cannot write .*runs \(Not a directory\); make room"):
        check_tensorboard(tmp_path / "file" / "runs", resuming=True)
    with pytest.raises(UsageError, match=r"cannot write .* \(File name too long\)"):
        check_tensorboard(tmp_path / ("x" * 300), resuming=False)
    (tmp_path / "ae.safetensors").touch()
    check_tensorboard(tmp_path, resuming=False)
    board, _ = open_board(tmp_path, digits.test)
    board.write_epoch(epoch(1, digits.test))
    check_tensorboard(tmp_path, resuming=True)
    check_tensorboard(tmp_path / "second", resuming=False)
    message = f"{tmp_path} already holds another run; name a new folder for --tensorboard"
    with pytest.raises(UsageError) as error:
        check_tensorboard(tmp_path, resuming=False)
    assert str(error.value) == message
    open_board(tmp_path, digits.test, after_step=24)
    with pytest.raises(UsageError) as error:
        open_board(tmp_path, digits.test, after_step=24, run_id="another")
    assert str(error.value) == message


def test_a_full_disk_is_one_error(digits, tmp_path, capfd):
    folder = tmp_path / "runs"
    board, _ = open_board(folder, digits.test)
    message = r"cannot write .*runs \(File too large\); make room or write elsewhere"
    with full_disk(), pytest.raises(UsageError, match=message):
        board.write_epoch(epoch(1, digits.test))
    with full_disk(), pytest.raises(UsageError, match=r"cannot write .* \(File too large\)"):
        board.write_latents(24)
    assert os.listdir(folder / "latents") == []
    board.write_epoch(epoch(1, digits.test))  # there is room again
    board.write_epoch(epoch(2, digits.test))
    assert scalars(folder, "loss/train") == [(24, 0.25), (48, 0.25)]
    assert capfd.readouterr() == ("", "")


def test_a_missing_folder_is_an_error(digits, tmp_path):
    folder = tmp_path / "runs"
    board, _ = open_board(folder, digits.test)
    board.write_epoch(epoch(1, digits.test))
    folder.rename(tmp_path / "gone")
    message = r"cannot write .*runs \(No such file or directory\); make room or write elsewhere"
    with pytest.raises(UsageError, match=message):
        board.write_epoch(epoch(2, digits.test))


PROGRAM = """
import signal, sys, threading
from pathlib import Path
import numpy as np, torch
from ae_cli.config import ModelConfig
from ae_cli.data.images import Images
from ae_cli.data.store import PixelStore
from ae_cli.models import build
from ae_cli.training.events import Epoch
before = [signal.getsignal(s) for s in signal.valid_signals()]
from ae_cli.training.tensorboard import TensorBoard
images = Images(PixelStore(torch.zeros(20, 1, 28, 28, dtype=torch.uint8)))
board = TensorBoard(Path("runs"), build(ModelConfig(), seed=0), images, device=torch.device("cpu"),
    run_id="this", after_step=0)
board.write_epoch(Epoch(1, 2, 0.1, 0.1, None, np.zeros(20, np.float32), 3.0, None, 0.1, 0.1, 0.1))
board.write_latents(2)
assert before == [signal.getsignal(s) for s in signal.valid_signals()]
assert threading.enumerate() == [threading.main_thread()]
print({"tensorflow", "matplotlib", "torch.utils.tensorboard"} & set(sys.modules))
"""


@pytest.mark.slow
def test_nothing_is_printed_and_nothing_keeps_running(tmp_path):
    """Even with TensorFlow installed: importing it would take seconds and print messages."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "set()\n", "")


def test_no_thread_is_left(digits, tmp_path):
    threads = threading.active_count()
    board, _ = open_board(tmp_path, digits.test)
    board.write_epoch(epoch(1, digits.test))
    assert threading.active_count() == threads
