"""Exported models, run by onnxruntime and by torch alone, against the model itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import Run, error_line
from PIL import Image

import ae_cli
from ae_cli.data.images import DataSet
from ae_cli.export import onnx as onnx_files
from ae_cli.latents import infer

GUIDE = (Path(__file__).parents[2] / ".github" / "docs" / "export.md").read_text()
CPU = torch.device("cpu")
FAMILIES = {
    "tutorial": {"preset": "tutorial"},
    "mlp": {"model": "mlp", "hidden": "16", "activation": "gelu"},
    "variational": {"model": "mlp", "hidden": "16", "variational": True},
    "conv": {"model": "conv", "hidden": "8,12,16", "activation": "silu"},
}


@pytest.fixture(scope="module")
def trained(digits: DataSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family; that of the convolutional one is for colour images."""
    folder = tmp_path_factory.mktemp("families")
    colors = np.random.default_rng(0).integers(0, 256, (60, 20, 23, 3)).astype(np.uint8)
    paths = {}
    for name, recipe in FAMILIES.items():
        images = colors if name == "conv" else digits
        model = ae_cli.train(images, epochs=1, progress=False, **recipe)
        paths[name] = folder / f"{name}.safetensors"
        model.save(paths[name])
    return paths


def some_images(path: Path, count: int) -> np.ndarray:
    shape = ae_cli.info(path).model["shape"]
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype(np.uint8)


def expected(path: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The latents and the reconstructions that the model makes of uint8 images."""
    network = ae_cli.load_model(path).model
    with torch.inference_mode():
        latents, pixels = network(torch.from_numpy(images).float() / 255)
    return latents.numpy(), pixels.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pixels", ["float32", "uint8"])
def test_onnxruntime_computes_what_the_model_does(trained, family, pixels):
    made = ae_cli.export_model(trained[family], out="ae.onnx", pixels=pixels)
    assert made.difference < 1e-4
    onnx.checker.check_model("ae.onnx", full_check=True)
    session = onnxruntime.InferenceSession("ae.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = some_images(trained[family], count)
        given = images if pixels == "uint8" else images.astype(np.float32) / 255
        outputs = session.run(["latents", "reconstructions"], {"images": given})
        for there, wanted in zip(outputs, expected(trained[family], images), strict=True):
            np.testing.assert_allclose(there, wanted, rtol=1e-4, atol=1e-4)
    assert [(one.name, one.dtype) for one in made.inputs] == [("images", pixels)]
    assert session.get_inputs()[0].shape == list(made.inputs[0].shape)
    assert onnx.load("ae.onnx").opset_import[0].version == made.opset


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tutorial", "conv"])
def test_encoder_and_decoder_are_files_of_their_own(run: Run, trained, family):
    for part in ("encoder", "decoder"):
        result = run("export", "--checkpoint", trained[family], "--part", part,
                     "--out", f"{part}.onnx")  # fmt: skip
        assert result.exit_code == 0, result.output
    images = some_images(trained[family], 3)
    latents, reconstructions = expected(trained[family], images)
    encoder, decoder = (
        onnxruntime.InferenceSession(f"{part}.onnx", providers=["CPUExecutionProvider"])
        for part in ("encoder", "decoder")
    )
    (found,) = encoder.run(None, {"images": images.astype(np.float32) / 255})
    np.testing.assert_allclose(found, latents, rtol=1e-4, atol=1e-4)
    (drawn,) = decoder.run(["reconstructions"], {"latents": found})
    np.testing.assert_allclose(drawn, reconstructions, rtol=1e-4, atol=1e-3)


def test_the_command_says_what_goes_in_and_comes_out(run: Run, checkpoint):
    result = run("export")
    assert result.exit_code == 0, result.output
    lines = [re.split(r"\s\s+", line, maxsplit=1) for line in result.stderr.splitlines()]
    assert lines[:3] == [
        ["input", "images: float32 (n, 1, 28, 28)"],
        ["output", "latents: float32 (n, 3)"],
        ["output", "reconstructions: float32 (n, 1, 28, 28)"],
    ]
    assert re.fullmatch(r"differs from torch by \d\.\de-0\d at most", lines[3][1])
    assert lines[4][1].startswith("ae.onnx: ONNX, opset 18, ")
    assert Path("ae.onnx").stat().st_size < 2e6


def test_rounding_says_what_it_costs(run: Run, checkpoint, digits):
    result = run("export", "--int8", "--json", "-q")
    assert result.exit_code == 0, result.output
    event = json.loads(result.stdout)
    session = onnxruntime.InferenceSession("ae.onnx", providers=["CPUExecutionProvider"])
    images = digits.test.floats()
    _, pixels = session.run(None, {"images": images})
    cost = event["cost"]
    assert cost["images"] == len(images)
    assert cost["after"] == pytest.approx(np.square(pixels - images).mean(), rel=1e-4)
    errors = infer.reconstruction_errors(
        ae_cli.load_model("ae.safetensors").model, digits.test, device=CPU
    )
    assert cost["before"] == pytest.approx(errors.mean(), rel=1e-4)
    assert cost["before"] < cost["after"] < 1.5 * cost["before"]
    assert event["bytes"] == Path("ae.onnx").stat().st_size < 300_000  # a quarter
    assert event["difference"] is None


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("family", ["tutorial", "conv"])
def test_each_rounded_part_costs_little(trained, family, part):
    images = some_images(trained[family], 40)
    made = ae_cli.export_model(
        trained[family], images.transpose(0, 2, 3, 1).squeeze(), out="ae.onnx", part=part,
        int8=True, pixels="uint8",
    )  # fmt: skip
    assert made.cost.images == 40
    assert 0.9 * made.cost.before < made.cost.after < 1.5 * made.cost.before


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tutorial", "conv"])
def test_torch_alone_runs_a_program(trained, family):
    ae_cli.export_model(trained[family], out="ae.pt2")
    images = some_images(trained[family], 4)
    np.save("images.npy", images.astype(np.float32) / 255)
    program = (
        "import numpy as np, sys, torch\n"
        "module = torch.export.load('ae.pt2').module()\n"
        "outputs = module(torch.from_numpy(np.load('images.npy')))\n"
        "np.savez('outputs.npz', *(output.detach().numpy() for output in outputs))\n"
        "assert 'ae_cli' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    outputs = np.load("outputs.npz").values()
    for there, wanted in zip(outputs, expected(trained[family], images), strict=True):
        np.testing.assert_allclose(there, wanted, rtol=1e-4, atol=1e-5)


def test_weights_are_loaded_by_the_program_in_the_guide(run: Run, trained):
    family = "tutorial"
    result = run("export", "--checkpoint", trained[family], "--out", "ae.pt")
    assert result.exit_code == 0, result.output
    program = next(block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.S)
                   if "torch.load(" in block)  # fmt: skip
    assert sum(bool(line) for line in program.splitlines()) <= 20
    names: dict[str, Any] = {}
    exec(program, names)
    images = some_images(trained[family], 3)
    with torch.inference_mode():
        latents, pixels = names["autoencoder"](torch.from_numpy(images).float() / 255)
    for there, wanted in zip((latents, pixels), expected(trained[family], images), strict=True):
        np.testing.assert_allclose(there.numpy(), wanted, atol=1e-5)


def test_the_projector_shows_the_latents_of_images(run: Run, checkpoint, digits):
    pytest.importorskip("tensorboard")
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    result = run("export", "--out", "projector", "--split", "test", "--n", "50")
    assert result.exit_code == 0, result.output
    config = text_format.Parse(
        Path("projector/projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    (embedding,) = config.embeddings
    vectors = np.loadtxt(Path("projector", embedding.tensor_path), delimiter="\t")
    places = np.arange(50) * len(digits.test) // 50
    images = digits.test.select(places)
    model = ae_cli.load_model("ae.safetensors").model
    np.testing.assert_allclose(
        vectors, infer.encode(model, images, device=CPU), rtol=1e-5, atol=1e-6
    )
    lines = Path("projector", embedding.metadata_path).read_text().splitlines()
    assert lines[0].split("\t") == ["label", "index", "error"]
    assert [line.split("\t")[1] for line in lines[1:]] == [str(i) for i in images.index()]
    with Image.open(Path("projector", embedding.sprite.image_path)) as opened:
        sprite = np.asarray(opened)
    columns = sprite.shape[1] // 28
    for i in (0, columns, 49):
        top, left = 28 * (i // columns), 28 * (i % columns)
        thumbnail = sprite[top : top + 28, left : left + 28]
        assert (thumbnail == images.pixels[i, 0].numpy()).all()


def test_a_sprite_of_many_images_stays_within_the_limit():
    from ae_cli.export.sprite import MOST_SPRITE, make_sprite

    pixels = np.random.default_rng(0).integers(0, 256, (20_000, 1, 64, 48), np.uint8)
    sprite, side = make_sprite(pixels)
    assert max(sprite.shape[:2]) <= MOST_SPRITE
    assert side == MOST_SPRITE // 142


def test_the_extra_is_named(run: Run, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    line = error_line(run("export"), 2)
    assert line == ("error: a .onnx file needs onnxruntime; install it: pip install 'ae-cli[onnx]'")
    assert run("export", "--out", "ae.pt").exit_code == 0  # needs no extra


def test_a_file_that_computes_something_else_is_not_written(run: Run, checkpoint, monkeypatch):
    monkeypatch.setattr(onnx_files, "load", lambda content: lambda array: [
        np.zeros((len(array), 3), np.float32), np.zeros_like(array)
    ])  # fmt: skip
    result = run("export")
    assert result.exit_code == 1
    assert "computes other numbers than torch" in result.stderr
    assert not Path("ae.onnx").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--out ae.tflite", "choose .onnx, .pt2, .pt, or a folder without an ending"),
        ("--out ae.pt2 --int8", "--int8 is for .onnx files"),
        ("--out ae.pt --part encoder", "--part is for .onnx and .pt2 files"),
        ("--out ae.pt --pixels uint8", "--pixels is for .onnx and .pt2 files"),
        ("--n 5", "--n is for the Projector"),
        ("--split test", "--split is for the Projector"),
        ("--part both --pixels uint16", "--pixels"),
        ("--out nowhere/ae.onnx", "does not exist"),
        ("--out projector --n 5000", "there are 1,797 images"),
    ],
)
def test_options_that_do_not_fit(run: Run, checkpoint, options, words):
    assert words in error_line(run("export", *options.split()), 2)


def test_a_folder_with_files_is_kept(run: Run, checkpoint):
    Path("projector").mkdir()
    Path("projector", "mine").touch()
    assert "already exists" in error_line(run("export", "--out", "projector"), 2)
    assert [path.name for path in Path("projector").iterdir()] == ["mine"]
