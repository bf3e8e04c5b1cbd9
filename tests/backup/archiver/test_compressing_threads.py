"""Priority of the compression threads."""

import os
import sys
import threading
from pathlib import Path

import pytest

from backup.archiver import backup_run, pack_writer
from backup.format.frame import Effort, to_frame
from tests.backup.site import Site
from tests.backup.trees import describe


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has its own niceness")
def test_compression_threads_have_lower_priority(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"{number}.txt").write_text(f"a note of one page, number {number}\n" * 3000)
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    seen: set[int] = set()

    def noted(raw: bytes | memoryview, effort: Effort) -> tuple[bytes, bytes | memoryview]:
        seen.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return to_frame(raw, effort)

    monkeypatch.setattr(pack_writer, "to_frame", noted)
    assert site.back_up(source).complete
    assert seen == {min(usual + backup_run._NICENESS, 19)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == usual
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_refused_priority_changes_nothing_else(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "note.txt").write_text("a note of one page\n" * 3000)

    def refuse(_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", refuse)
    assert site.back_up(source).complete
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
