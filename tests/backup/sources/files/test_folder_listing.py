"""Folders of very many names: sorted on the disk, walked like any other."""

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup.sources.files import folder_listing
from backup.sources.files.files_source import FilesSource
from backup.sources.files.folder_listing import LargeFolderListing
from tests.backup.site import Site
from tests.backup.trees import describe

a_name = st.binary(min_size=1, max_size=6).map(lambda name: name.replace(b"\0", b"\n"))


@settings(deadline=None)
@given(st.dictionaries(a_name, st.booleans(), max_size=60), st.data())
def test_names_are_returned_in_order(names: dict[bytes, bool], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_listing, "INSERTED_NAMES", 7)
        patch.setattr(folder_listing, "BLOCK_NAMES", 4)
        many = LargeFolderListing(names.items(), Path(tempfile.gettempdir()))
        expected = sorted(names)
        assert len(many) == len(expected)
        for number, name in enumerate(expected):
            assert many[number] == name
            assert (name in many.files) is names[name]
        begin = data.draw(st.integers(0, len(names)))
        end = data.draw(st.integers(0, len(names) + 3))
        assert many[begin:end] == expected[begin:end]
        with pytest.raises(IndexError):
            many[len(names)]


@pytest.mark.parametrize("exclude", [[], ["*3"]], ids=["all", "some left out"])
def test_large_folder_is_restored_from_every_backup(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclude: list[str]
) -> None:
    monkeypatch.setattr(folder_listing, "MANY_NAMES", 50)
    monkeypatch.setattr(folder_listing, "LARGE_FOLDER_BYTES", 0)  # scan also without a worker
    monkeypatch.setattr(folder_listing, "LARGE_FOLDER_BYTES", 1)
    monkeypatch.setattr(folder_listing, "INSERTED_NAMES", 30)
    monkeypatch.setattr(folder_listing, "BLOCK_NAMES", 16)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(400):
        (source / f"call {number * 7919 % 400}").write_text(f"ticket {number}\n")
    (source / "call 200 folder").mkdir()
    for number in range(60):
        (source / "call 200 folder" / f"\n{number}").write_text(f"inside {number}")
    (source / "call 201 link").symlink_to("call 200")
    os.mkfifo(source / "call 202 fifo")
    for round_number in range(3):
        result = site.back_up(FilesSource("files", source, exclude))
        assert result.complete
        assert result.files_unchanged == (
            0 if not round_number else result.files - (round_number == 2)
        )
        out = tmp_path / f"out-{round_number}"
        assert site.restore("latest", out).problems == ()
        restored = describe(out / "files")
        if exclude:
            assert len(restored) == 463 - 40 - 6
        else:
            assert restored == describe(source)
        if round_number == 1:
            (source / "call 222").write_text("called again")


def test_folder_unsortable_on_full_disk_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        if str(path).endswith(".names"):
            raise sqlite3.OperationalError("database or disk is full")
        connected: sqlite3.Connection = real(path, **options)
        return connected

    monkeypatch.setattr(folder_listing, "MANY_NAMES", 50)
    monkeypatch.setattr(folder_listing, "LARGE_FOLDER_BYTES", 0)  # scan also without a worker
    monkeypatch.setattr(sqlite3, "connect", connect)
    source = tmp_path / "source"
    (source / "many").mkdir(parents=True)
    (source / "note").write_text("beside it")
    for number in range(60):
        (source / f"many/{number}").write_text("inside")
    result = site.back_up(source)
    assert (result.complete, result.files) == (False, 1)
    lacks = "database or disk is full for its names, which are sorted next to the upload cache"
    assert [(one.path, one.reason) for one in result.unread] == [
        ("files/many", f"cannot be read: {lacks}")
    ]
