"""Files and folders that appear whole or not at all, and the paths where they cannot."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mindvideo import files
from mindvideo.errors import UserError
from mindvideo.files import abandoned_folders, atomic_folder, check_new_file, write_text, write_together


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_path_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "textfile").write_text("kept")
    (tmp_path / "somefolder").mkdir()
    for path in ("textfile/x.json", "textfile/below/x.json", "somefolder"):
        with pytest.raises(UserError, match=r"cannot be written \(\w[^\n]*\)$"):
            write_text(tmp_path / path, "new")
    assert names_below(tmp_path) == ["somefolder", "textfile"]


def test_a_full_disk_stays_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who write results of hours answer it in their own way."""

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "sync_file", no_room)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "x.json", "new")
    assert names_below(tmp_path) == []


def test_files_that_belong_together_come_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(UserError, match="cannot be written"):
        write_together({tmp_path / "a": "new", tmp_path / "a" / "b": "new"})
    assert (tmp_path / "a").read_text() == "old" and names_below(tmp_path) == ["a"]
    write_together({tmp_path / "a": "new", tmp_path / "b": "new"})
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"


def test_outputs_are_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given.json"
    given.write_text("kept")
    (tmp_path / "link.json").symlink_to(given)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "somefolder").mkdir()
    check_new_file(tmp_path / "new/deep/x.json", overwrite=False, inputs=[given, None])
    check_new_file(given, overwrite=True)
    for path, reason in (
        (tmp_path / "somefolder", "is a folder"),
        (given / "x.json", "given.json is not a folder"),
        (tmp_path / "gone/x.json", "gone is not a folder"),
        (given, "is an input"),
        (tmp_path / "link.json", "is an input"),
        (Path("/dev/null"), "is not a regular file"),
    ):
        with pytest.raises(UserError, match=reason):
            check_new_file(path, overwrite=True, inputs=[given, None, tmp_path / "missing"])
    with pytest.raises(UserError, match="exists already; give another output, or --overwrite"):
        check_new_file(given, overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="no permission to write in"):
        check_new_file(tmp_path / "x.json", overwrite=True)


def test_a_folder_takes_the_place_of_another_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "set"
    for content in ("first", "second"):
        with atomic_folder(target) as folder:
            (folder / content).write_text(content)
            assert abandoned_folders(target) == [folder.parent] and abandoned_folders(tmp_path / "se") == []
        assert names_below(tmp_path) == ["set", f"set/{content}"]
    for stop in (KeyboardInterrupt, ValueError):
        with pytest.raises(stop), atomic_folder(target) as folder:
            (folder / "half").write_text("third")
            raise stop
        assert names_below(tmp_path) == ["set", "set/second"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = tmp_path / "set", os.rename
    target.mkdir()
    (target / "old").write_text("kept")

    def refuse_the_new(source: Path, destination: Path) -> None:
        if Path(source).name == "new":
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", refuse_the_new)
    with pytest.raises(UserError, match="set cannot be written"), atomic_folder(target) as folder:
        (folder / "new").write_text("new")
    assert names_below(tmp_path) == ["set", "set/old"]
