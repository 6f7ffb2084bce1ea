"""What is installed: the wheel and the sdist, and the versions of what they need."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from ae_cli.config import VERSION

ROOT = Path(__file__).parents[1]
OLDEST = (ROOT / ".github" / "oldest.txt").read_text()


def needed(metadata: Message) -> dict[str, str]:
    """The lower bound of each distribution that the package or an extra for users needs."""
    found = {}
    for line in metadata.get_all("Requires-Dist", []):
        match = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?(?:>=([\d.]+))?(?:; extra == '(\w+)')?", line)
        assert match is not None, line
        name, bound, extra = match.groups()
        if extra not in ("test", "dev"):
            found[name] = bound
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def wheel(built: Path) -> Path:
    return built / f"ae_cli-{VERSION}-py3-none-any.whl"


@pytest.fixture
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"ae_cli-{VERSION}.dist-info/METADATA").decode()
    return email.message_from_string(text)


@pytest.mark.slow
def test_the_wheel_has_the_whole_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = (path for path in (ROOT / "ae_cli").rglob("*") if path.is_file())
    expected = {path.relative_to(ROOT).as_posix() for path in there if path.suffix != ".pyc"}
    assert names == expected
    assert {"ae_cli/page/explorer.html", "ae_cli/page/cloud.js", "ae_cli/py.typed"} <= names


@pytest.mark.slow
def test_the_sdist_has_tests_and_guides(built):
    with tarfile.open(built / f"ae_cli-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", ".github/CHANGELOG.md"} <= names
    assert {"tests/test_packaging.py", ".github/docs/install.md"} <= names


@pytest.mark.slow
def test_the_metadata_say_what_it_is_and_needs(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("ae-cli", VERSION)
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.10", "MIT")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# ae\n")
    assert set(metadata.get_all("Provides-Extra")) >= {"onnx", "hdf5", "heif", "sweep", "index"}


@pytest.mark.slow
def test_the_oldest_versions_are_the_lower_bounds(metadata):
    pinned = dict(re.findall(r"^([\w.-]+)==([\d.]+)$", OLDEST, re.M))
    bounds = needed(metadata)
    assert bounds
    for name, bound in bounds.items():
        # 2.6 allows 2.6.0 and all later ones.
        assert f"{pinned[name]}.".startswith(f"{bound}."), name


@pytest.mark.slow
def test_an_installed_wheel_works(wheel, tmp_path):
    """From another folder than the checkout, with the data files of the page."""
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", "installed", wheel]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    def run(*arguments: str) -> str:
        command = [tmp_path / "installed" / "bin" / "ae", *arguments]
        result = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment
        )
        return result.stdout

    assert run("--version") == f"ae {VERSION}\n"
    run("train", "--data", "digits", "--limit", "100", "--epochs", "1", "--preset", "tutorial")
    assert json.loads(run("explore", "--json"))["out"] == "explore.html"
    where = "import ae_cli; print(ae_cli.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], check=True, capture_output=True, text=True, env=environment
    )
    assert found.stdout.startswith(str(tmp_path / "installed"))
