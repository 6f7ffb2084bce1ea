"""The Python guide and what it promises, run as a user's program in a separate process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TUTORIAL, Run, error_line

import ae_cli as ae
from ae_cli.data.images import DataSet

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / ".github" / "docs" / "python.md"
PAGE = GUIDE.read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
OUTPUTS = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)
SCRIPT = Path(__file__).parent / "python" / "user_script.py"
pytestmark = pytest.mark.filterwarnings("ignore::ae_cli.AeWarning")
QUICK = {"preset": "tutorial", "epochs": 2, "hidden": (16,), "progress": False}


def python(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python as a user would: in the working folder, without a terminal."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture(scope="module")
def stripes() -> np.ndarray:
    """Images with stripes, uint8 (60, 12, 12)."""
    values = np.random.default_rng(0).integers(0, 40, (60, 12, 12), dtype=np.uint8)
    values[::2, :6] += 200
    values[1::2, :, :6] += 200
    return values


@pytest.fixture(scope="module")
def images(stripes) -> DataSet:
    return ae.load((stripes, np.arange(60) % 2))


@pytest.fixture(scope="module")
def model(images) -> ae.Model:
    return ae.train(images, **QUICK)


def shape(text: str) -> list[str]:
    """Printed text with 0 for all numbers, which other machines may round differently."""
    return [" ".join(re.sub(r"\d+(\.\d*)?", "0", line).split()) for line in text.splitlines()]


@pytest.mark.slow
def test_the_guides_code_prints_what_the_guide_shows():
    assert len(BLOCKS) == len(OUTPUTS) > 4
    mark = "print('-- next')\n"
    Path("guide.py").write_text(mark.join(BLOCKS))
    result = python("guide.py")
    printed = result.stdout.split("-- next\n")
    assert [shape(text) for text in printed] == [shape(text) for text in OUTPUTS]
    assert all(line.startswith("epoch ") for line in result.stderr.splitlines())


def test_the_guide_names_all_public_names_and_no_others():
    assert [name for name in ae.__all__ if not re.search(rf"\b{name}\b", PAGE)] == []
    documented = set(re.findall(r"\bae\.([a-zA-Z]\w*)", PAGE))
    assert [name for name in documented if not hasattr(ae, name)] == []
    methods = set(re.findall(r"\b(?:model|table|result|session)\.(\w+)\(", PAGE))
    kinds = (ae.Model, ae.Latents, ae.Reconstructions, ae.Session)
    assert [name for name in methods if not any(hasattr(kind, name) for kind in kinds)] == []
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (GUIDE.parent / target).is_file(), target


@pytest.mark.slow  # takes half a minute if mypy has not cached torch's types
def test_a_users_script_passes_mypy_strict():
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.stdout == "Success: no issues found in 1 source file\n"


@pytest.mark.slow
def test_a_users_script_runs():
    folder = Path("out")
    folder.mkdir()
    result = python(SCRIPT, folder)
    assert result.stdout.splitlines()[0].startswith("3 0.005 array ")
    assert [path.name for path in Path().iterdir()] == ["out"]
    assert {path.name for path in folder.iterdir()} == {
        "m.safetensors", "m.resume.safetensors", "copy.safetensors",
        "latents.csv", "latents.parquet", "latents.html", "explore.html",
    }  # fmt: skip


def test_numpys_numbers_are_numbers(digits):
    epochs, lr = np.arange(1, 3)[0], np.float32(0.005)
    model = ae.train(digits.train.head(60), epochs=epochs, lr=lr, progress=False)
    assert type(model.training.epochs) is int
    assert type(model.training.lr) is float


def test_a_warning_names_the_callers_line(digits):
    with pytest.warns(ae.AeWarning) as caught:
        ae.load(np.ones((20, 8, 8), np.uint8))
    assert caught[0].filename == __file__


def test_importing_ae_cli_imports_nothing_large():
    heavy = ("torch", "numpy", "typer", "rich", "matplotlib", "pyarrow", "safetensors")
    code = f"import sys, ae_cli, ae_cli as ae; dir(ae); print(set({heavy}) & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"


def test_public_names():
    assert set(ae.__all__) <= set(dir(ae))
    assert "__version__" in dir(ae)
    assert len(dir(ae)) == len(set(dir(ae)))
    assert re.fullmatch(r"\d+\.\d+\.\d+", ae.__version__)
    for name in ae.__all__:
        assert getattr(ae, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'ae_cli' has no attribute 'trian'"):
        ae.trian  # noqa: B018


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x.astype(np.float32) / 255,
        lambda x: np.stack([x] * 3, axis=-1),
        lambda x: x.reshape(len(x), -1),
        lambda x: x[:, ::-1],  # not contiguous
        torch.from_numpy,
        lambda x: torch.from_numpy(x)[:, None].float() / 255,
        lambda x: list(x),
        lambda x: (x, np.arange(len(x)) % 3),
        lambda x: (torch.from_numpy(x), torch.arange(len(x)) % 3),
        lambda x: (x, ["odd", "even"] * (len(x) // 2)),
    ],
)
def test_arrays_tensors_and_pairs_are_accepted_as_images(stripes, change):
    source = change(stripes)
    model = ae.train(source, **QUICK)
    assert model.data.train_images + model.data.test_images == len(stripes)
    table = model.embed(source)
    assert table.z.shape == (60, 3)
    assert table.index.tolist() == list(range(60))
    assert (table.label is None) == (not isinstance(source, tuple))


def test_arrays_are_not_modified(stripes):
    before = stripes.copy()
    ae.train(stripes, **QUICK).embed(stripes)
    assert (stripes == before).all()


def test_invalid_images_are_an_error(stripes):
    for source in (object(), {}, stripes.astype(np.float32), stripes[:0], (stripes, [1, 2])):
        with pytest.raises(ae.AeError):
            ae.train(source, **QUICK)


def test_decode_accepts_latents_in_any_form(model, images):
    table = model.embed(images)
    decoded = model.decode(table)
    assert decoded.shape == (60, 1, 12, 12)
    assert decoded.dtype == np.float32
    assert (model.decode(table.z) == decoded).all()
    assert (model.decode(torch.from_numpy(table.z)) == decoded).all()
    assert model.decode(table.z[0].tolist()) == pytest.approx(decoded[:1], abs=1e-5)
    table.save("latents.npz")
    assert (model.decode("latents.npz") == decoded).all()
    with pytest.raises(ae.AeError, match="4 latents"):
        model.decode(np.zeros((2, 4)))


def test_results_are_displayed_in_a_notebook(model, images):
    model.save("m.safetensors")
    table = model.embed(images)
    results = {
        "html": [images, table, ae.embed(model, images), ae.explore(model, images)],
        "page": [ae.plot3d(table, out="latents.html")],
        "png": [ae.plot3d(table)],
        "both": [
            model.reconstruct(images, n=3),
            ae.decode(model, data=images, grid=3),
            ae.evaluate(model, images),
            ae.anomalies(model, images),
            ae.describe_data(images),
        ],
    }
    results["html"].append(ae.info("m.safetensors"))
    for kind, some in results.items():
        for result in some:
            text = result._repr_html_() if kind != "png" else "<"
            assert text.startswith("<"), result
            assert "&lt;!DOCTYPE" in text or len(text) < 400_000
            picture = getattr(result, "_repr_png_", lambda: None)()
            assert (picture is not None) == (kind in ("png", "both"))
            assert picture is None or picture.startswith(b"\x89PNG\r\n\x1a\n")


TRAIN = """
import numpy as np
import ae_cli as ae
images = np.arange(60 * 144, dtype=np.uint8).reshape(60, 12, 12)
model = ae.train(images, preset="tutorial", epochs=3, hidden=(8,)%s)
model.embed(np.zeros((5, 12, 12), np.uint8))
"""


@pytest.mark.slow
def test_without_progress_it_prints_nothing():
    result = python("-W", "ignore", "-c", TRAIN % ", progress=False")
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.slow
def test_without_a_terminal_it_prints_a_line_per_epoch():
    result = python("-W", "ignore", "-c", TRAIN % "")
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{i}/3"] for i in (1, 2, 3)]


def test_progress_can_be_a_function(images):
    calls = []
    ae.train(images, **{**QUICK, "progress": lambda *call: calls.append(call)}, film="film.gif")
    name, done, total, unit = calls[-1]
    assert (name, unit) == ("film", "frames")
    assert done == total == len(calls) > 1


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [("epochs", 0, 2), ("lr", -1.0, 2), ("latent_dim", 0, 2), ("limit", 0, 2), ("warmup", 2.0, 2),
     ("val_fraction", 1.5, 2), ("hidden", "12,x", 2), ("log_every", 0, 2), ("image_size", "3y", 2)],
)  # fmt: skip
def test_an_option_out_of_range_fails_as_on_the_command_line(run: Run, option, value, code):
    result = run(*TUTORIAL, "--data", "digits", f"--{option.replace('_', '-')}={value}")
    with pytest.raises(ae.AeError) as raised:
        ae.train("digits", **{option: value})
    assert f"error: {raised.value}" == error_line(result, code)
    assert raised.value.exit_code == code
    assert str(raised.value) == f"{raised.value.problem}; {raised.value.remedy}"


def test_a_misspelt_argument_is_a_type_error(images, model):
    with pytest.raises(TypeError, match="'epoch'"):
        ae.train(images, epoch=3)
    with pytest.raises(TypeError, match="'splits'"):
        model.embed(images, splits="test")


def test_nothing_is_written_unless_a_path_is_given(model, images):
    table = model.embed(images)
    ae.train(images, **QUICK)
    model.reconstruct(images)
    model.decode(table.z)
    ae.plot3d(table)._repr_png_()
    ae.explore(model, images)
    ae.evaluate(model, images)
    ae.anomalies(model, images)
    ae.describe_data(images)
    ae.embed(model, images)
    assert list(Path().iterdir()) == []


def test_a_saved_model_loads_unchanged(model, images):
    model.save("m.safetensors")
    again = ae.load_model("m.safetensors")
    table, same = model.embed(images), again.embed(images)
    assert (table.z == same.z).all()
    assert (table.error == same.error).all()
    assert (again.training, again.data, again.metrics) == (
        model.training, model.data, model.metrics
    )  # fmt: skip
    for path in ("m.pt", "missing/m.safetensors"):
        with pytest.raises(ae.AeError):
            model.save(path)


def test_a_saved_table_reads_back_unchanged(model, images):
    table = model.embed(images)
    for ending in ("csv", "parquet", "npz"):
        table.save(f"latents.{ending}")
        again = ae.read_table(f"latents.{ending}")
        assert again.columns().keys() == table.columns().keys()
        assert (again.z == table.z).all()
    assert table.to_arrow().num_rows == 60


def test_out_and_resume_work_as_on_the_command_line(run: Run, images):
    model = ae.train(images, **QUICK, out="m.safetensors", log="m.jsonl")
    assert {path.name for path in Path().iterdir()} == {
        "m.safetensors", "m.resume.safetensors", "m.jsonl"
    }  # fmt: skip
    assert run("info", "m.safetensors").exit_code == 0
    longer = ae.train(images, epochs=4, resume=True, out="m.safetensors", progress=False)
    assert (model.metrics.epoch, longer.metrics.epoch) == (2, 4)
    through = ae.train(images, **{**QUICK, "epochs": 4})
    assert (longer.embed(images).z == through.embed(images).z).all()


def test_session_events(images):
    with ae.Session(ae.TrainOptions(images, **QUICK, batch_size=27)) as session:
        names = [type(event).__name__ for event in session]
    assert names == [
        "Begun", "Step", "Step", "Epoch", "Step", "Step", "Epoch", "Trained", "Finished"
    ]  # fmt: skip
    same = ae.train(images, **QUICK, batch_size=27)
    assert (session.model().embed(images).z == same.embed(images).z).all()


def test_leaving_a_session_early_keeps_the_model_of_the_last_epoch(images):
    with ae.Session(ae.TrainOptions(images, preset="tutorial", epochs=9, hidden=(16,))) as session:
        for event in session:
            if getattr(event, "test_loss", None) is not None and event.epoch == 3:
                break
    assert session.model().metrics.epoch == 3


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interruption_says_what_was_saved(images):
    options = {**QUICK, "progress": interrupt, "film": "film.gif", "out": "m.safetensors"}
    with pytest.raises(ae.AeError) as raised:
        ae.train(images, **options)
    assert str(raised.value) == ("interrupted while writing film.gif; m.safetensors holds epoch 2")
    assert raised.value.exit_code == 130


def test_a_signal_stops_training_between_steps(images):
    with pytest.raises(ae.AeError) as raised:
        with ae.Session(
            ae.TrainOptions(images, preset="tutorial", epochs=9, hidden=(16,))
        ) as session:
            for event in session:
                if getattr(event, "test_loss", None) is not None and event.epoch == 3:
                    os.kill(os.getpid(), signal.SIGINT)
    assert str(raised.value) == (
        "interrupted after epoch 4 of 9; the model was not kept, as no out was given"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_warnings_are_python_warnings(images):
    with pytest.warns(ae.AeWarning, match="no better than their mean image would"):
        ae.train(images, **{**QUICK, "epochs": 1}, limit=2)


FORMATS = (ROOT / ".github" / "docs" / "formats.md").read_text()


def test_the_page_of_formats_names_all_endings():
    from ae_cli.data.columns import LABELS, SPLITS
    from ae_cli.data.image_formats import image_formats
    from ae_cli.data.sources import FORMATS as KINDS
    from ae_cli.files.reading import COMPRESSED

    named = set(re.findall(r"`(\.\w+)`", FORMATS))
    known = {ending for kind in KINDS for ending in kind.endings}
    assert known - named == {".pickle", ".pth", ".joblib"}
    assert set(COMPRESSED) <= named
    others = {".cls", ".eps", ".json", *(".heic",) * (".heic" not in image_formats())}
    assert named - known - set(COMPRESSED) - image_formats().keys() == others
    for name in (*LABELS, *SPLITS):
        assert f"`{name}`" in FORMATS
