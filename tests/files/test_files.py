from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import full_disk

from ae_cli.errors import UsageError
from ae_cli.files import (
    atomic_write,
    back_up,
    backup_path,
    check_output,
    find_unquoted,
    only_writer,
    suggest_near,
)


def test_a_file_appears_complete_when_the_block_ends(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.csv"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"new")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    message = r"cannot write .*out\.csv \(File too large\); make room"
    with full_disk(), pytest.raises(UsageError, match=message), atomic_write(path) as file:
        file.write(b"x" * 5000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_symbolic_link_is_written_through(tmp_path):
    real = tmp_path / "elsewhere" / "real.csv"
    real.parent.mkdir()
    link = tmp_path / "out.csv"
    link.symlink_to(real)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_the_previous_file_is_kept_as_a_backup(tmp_path):
    path = tmp_path / "model.safetensors"
    assert back_up(path) is None
    path.write_bytes(b"old")
    backup = back_up(path)
    assert backup == backup_path(path) == tmp_path / "model.bak.safetensors"
    path.write_bytes(b"new")
    assert backup.read_bytes() == b"old"


def test_outputs_that_cannot_be_written_are_refused_at_once(tmp_path):
    endings = (".csv", ".npz")
    check_output(tmp_path / "new.csv", endings)
    check_output(tmp_path / "NEW.CSV", endings)
    check_output(Path("relative.csv"), endings)
    for path, message in (
        (tmp_path / "out.txt", "does not end in a format that can be written; choose an ending"),
        (tmp_path / "out", "choose an ending from .csv, .npz"),
        (tmp_path / "missing" / "out.csv", "missing does not exist; create it"),
        (Path("/proc/out.csv"), "cannot write /proc/out.csv"),
    ):
        with pytest.raises(UsageError, match=message):
            check_output(path, endings)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is not a file; give the name of a file"):
        check_output(tmp_path / "folder.csv", endings)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match="is not a file"):
        check_output(tmp_path / "pipe.csv", endings)
    with pytest.raises(UsageError, match="File name too long"):
        check_output(tmp_path / f"{'n' * 300}.csv", endings)
    assert sorted(os.listdir(tmp_path)) == ["folder.csv", "pipe.csv"]


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / f"{'n' * 251}.csv"
    check_output(path, [".csv"])
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"


def test_only_leftovers_of_killed_writers_are_removed(tmp_path):
    path = tmp_path / "model.safetensors"
    with atomic_write(path):
        (mine,) = tmp_path.glob(".ae-*.tmp")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = mine.with_name(mine.name.replace(str(os.getpid()), str(dead.pid)))
    others = [mine, mine.with_name(".ae-0.tmp"), mine.with_name(f".ae-00000000-{dead.pid}.tmp")]
    for file in (left, *others):
        file.touch()
    with only_writer([path]):
        assert not left.exists()
        assert all(file.exists() for file in others)
        assert len(list(tmp_path.glob(".ae-*.lock"))) == 1
    assert list(tmp_path.glob(".ae-*.lock")) == []


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    path, link = tmp_path / "model.safetensors", tmp_path / "link.safetensors"
    link.symlink_to(path)
    message = f"{link} is being written by process {os.getpid()}; wait for it to end"
    other, log = tmp_path / "other.safetensors", tmp_path / "log.csv"
    with only_writer([path, log]):
        for paths in ([link], [other, link]):
            with pytest.raises(UsageError, match=message), only_writer(paths):
                pass
        with pytest.raises(UsageError, match="log.csv is being written"), only_writer([other, log]):
            pass
        with only_writer([other]):
            pass
    with only_writer([link]):
        pass
    assert not list(tmp_path.glob(".ae-*"))


def test_a_misspelt_file_is_recognised_by_its_name_and_its_stem(tmp_path):
    for name in ("latents.csv", "ae.safetensors", "ae.resume.safetensors", "ae.csv", "12.jpg"):
        (tmp_path / name).touch()
    meant = {
        "latent.csv": "latents.csv",
        "latents.parquet": "latents.csv",
        "ae.safetensor": "ae.safetensors",
        "flowers.safetensors": None,  # only its ending is like those of others
        "nothing": None,
        "13.jpg": None,  # another number is another file
        "12.jpeg": "12.jpg",
    }
    for given, name in meant.items():
        expected = "look elsewhere" if name is None else f"did you mean {tmp_path / name}?"
        assert suggest_near(tmp_path / given, "look elsewhere") == expected
    here = tmp_path.name
    assert suggest_near(tmp_path.with_name(f"x{here}") / "sub" / "a.csv", "look elsewhere") == (
        f"did you mean {tmp_path}?"
    ), "the folder is misspelt"
    for path in (tmp_path / "missing" / "latents.csv", Path("a\0b"), Path()):
        assert suggest_near(path, "look elsewhere") == "look elsewhere"


def test_a_path_with_spaces_that_was_not_quoted_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my holiday photos").mkdir()
    assert find_unquoted(["--data", "my", "holiday", "photos"]) == Path("my holiday photos")
    assert find_unquoted(["my", "photos"]) is None
    assert find_unquoted(["my holiday photos"]) is None, "this one was quoted"
    assert find_unquoted(["x" * 300] * 3000) is None
