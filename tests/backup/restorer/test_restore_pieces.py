"""Large files, restored in pieces by all workers, with the usual safety."""

import errno
import fcntl
import os
import random
from pathlib import Path
from typing import Any

import pytest

from backup.records import Progress
from backup.restorer import direct_io, large_files, restore_run, worker
from backup.restorer.direct_io import DirectWriter
from backup.stores.directory import DirectoryStore
from tests.backup.site import Site, new_site
from tests.backup.trees import KIB, describe, noise

BLOCK = 4096


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_files, "SPLIT_BYTES", 1000 * KIB)
    monkeypatch.setattr(large_files, "PIECE_BYTES", 300 * KIB)
    # So that a worker also reports within a piece.
    monkeypatch.setattr(worker, "REPORT_SECONDS", 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "calls").mkdir(parents=True)
    chance = random.Random(7)
    words = [chance.randbytes(3).hex() for _ in range(900)]
    (top / "crm.sql").write_text(" ".join(chance.choices(words, k=700_000)))
    os.link(top / "crm.sql", top / "crm-again.sql")
    os.setxattr(top / "crm.sql", "user.case", b"42")
    (top / "crm.sql").chmod(0o440)
    (top / "calls/long.wav").write_bytes(noise(9001 * KIB + 17, 1))
    (top / "calls/short.wav").write_bytes(noise(700 * KIB, 2))
    (top / "note.txt").write_text("who called, and why")
    with (top / "disk.img").open("wb") as sparse:
        sparse.write(noise(500 * KIB, 3))
        sparse.seek(1000 * KIB)
        sparse.write(noise(700 * KIB, 4))
    (top / "calls").chmod(0o555)
    return top


@pytest.fixture
def stored(tmp_path: Path, source: Path) -> Site:
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    site.back_up(source)
    return site


@pytest.mark.parametrize("syncs", [True, False], ids=["synced", "through the cache"])
@pytest.mark.parametrize("workers", [1, 2])
def test_file_restored_in_pieces_is_equal(
    stored: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    workers: int, syncs: bool,
) -> None:  # fmt: skip
    handed_out = []

    def counted(*arguments: Any) -> Any:
        for piece in large_files.pieces_of(*arguments):
            handed_out.append(piece.start)
            yield piece

    monkeypatch.setattr(restore_run, "pieces_of", counted)
    result = stored.restore("latest", tmp_path / "out", workers=workers, syncs=syncs)
    assert result.problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    assert result.files == 6
    assert len(handed_out) > 10
    assert any(start % BLOCK for start in handed_out)


def test_damaged_piece_costs_only_its_file(stored: Site, source: Path, tmp_path: Path) -> None:
    expected = describe(source)
    largest = max((tmp_path / "vault").rglob("p/*/*"), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    with largest.open("r+b") as pack:
        pack.seek(3000 * KIB)
        pack.write(bytes(64 * KIB))
    result = stored.restore("latest", tmp_path / "out", workers=2)
    assert [problem.path for problem in result.problems] == ["files/calls/long.wav"]
    assert result.problems[0].is_damage
    del expected[b"calls/long.wav"]
    found = describe(tmp_path / "out/files")
    assert found == expected


@pytest.mark.parametrize("kind", ["second name", "symlink", "pipe", "pipe that is read", "gone"])
def test_replaced_unfinished_file_is_not_written(stored: Site, tmp_path: Path, kind: str) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("of somebody else")
    made = out / "files/crm-again.sql"
    readers = []

    def meddle(_: Progress) -> None:
        if made.exists() and made.stat().st_size == 0:
            made.unlink()
            if kind == "second name":
                made.hardlink_to(victim)
            elif kind == "symlink":
                made.symlink_to(victim)
            elif kind.startswith("pipe"):
                os.mkfifo(made)
                if kind == "pipe that is read":
                    readers.append(os.open(made, os.O_RDONLY | os.O_NONBLOCK))

    result = stored.restore("latest", out, workers=1, progress=meddle)
    assert "files/crm-again.sql" in [problem.path for problem in result.problems]
    assert victim.read_text() == "of somebody else"
    assert victim.stat().st_mode & 0o777 != 0o440
    for reader in readers:
        assert os.read(reader, 1) == b""
        os.close(reader)


@pytest.mark.parametrize("name", ["crm.sql", "crm-again.sql"])
@pytest.mark.parametrize("workers", [1, 2])
def test_single_selected_name_is_a_separate_file(
    stored: Site, source: Path, tmp_path: Path, workers: int, name: str
) -> None:
    files = tmp_path / "out/files"
    result = stored.restore("latest", tmp_path / "out", f"files/{name}", workers=workers)
    assert result.problems == ()
    assert [path.name for path in files.iterdir()] == [name]
    assert (files / name).read_bytes() == (source / name).read_bytes()
    assert (files / name).stat().st_nlink == 1


def test_target_without_hard_links_gets_both_contents(
    stored: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    result = stored.restore("latest", tmp_path / "out", workers=2)
    assert (result.problems, result.files) == ((), 6)
    for name in ("crm.sql", "crm-again.sql"):
        restored = tmp_path / "out/files" / name
        assert restored.read_bytes() == (source / name).read_bytes()
        assert restored.stat().st_nlink == 1


def test_restore_interrupted_in_pieces_resumes(stored: Site, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(progress: Progress) -> None:
        if progress.bytes_done > 4000 * KIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored.restore("latest", out, workers=1, progress=stop)
    result = stored.restore("latest", out, workers=2)
    assert (result.is_resumed, result.problems) == (True, ())
    assert describe(out / "files") == describe(source)


@pytest.mark.parametrize("how", ["direct", "not direct", "a part at a time"])
def test_pieces_are_written_only_to_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    real = os.pwrite

    def pwrite(descriptor: int, content: memoryview, start: int) -> int:
        """Write half of the blocks, as on a disk that is nearly full."""
        return real(descriptor, content[: max(1, len(content) // BLOCK // 2) * BLOCK], start)

    if how == "not direct":
        monkeypatch.setattr(fcntl, "fcntl", lambda *_: 0)
    elif how == "a part at a time":
        monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(direct_io, "BUFFER_BYTES", 4 * BLOCK)
    pen = DirectWriter()
    chance = random.Random(3)
    for number in range(60):
        length = chance.choice([1, BLOCK - 1, BLOCK, 3 * BLOCK + 5, 40_000])
        start = chance.choice([0, 1, BLOCK, 2 * BLOCK - 1, 9_999])
        before, content = bytes(60_000), noise(length, number)
        path = tmp_path / str(number)
        path.write_bytes(before)
        descriptor = os.open(path, os.O_WRONLY)
        pen.begin(descriptor, start)
        rest = memoryview(content)
        while rest:
            count = chance.randrange(1, 9000)
            pen.write(rest[:count])
            rest = rest[count:]
        pen.end()
        os.close(descriptor)
        assert path.read_bytes() == before[:start] + content + before[start + length :]


def test_file_system_without_direct_writes_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_direct = False

    def set_flags(_: int, command: int, flags: int = 0) -> int:
        nonlocal is_direct
        if command == fcntl.F_SETFL:
            is_direct = bool(flags & os.O_DIRECT)
        return 0

    def pwrite(descriptor: int, content: memoryview, start: int) -> int:
        if is_direct:
            raise OSError(errno.EINVAL, "not here")
        return real(descriptor, content, start)

    real = os.pwrite
    monkeypatch.setattr(fcntl, "fcntl", set_flags)
    monkeypatch.setattr(os, "pwrite", pwrite)
    content = noise(100_000, 1)
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    pen = DirectWriter()
    pen.begin(descriptor, 0)
    pen.write(content)
    pen.end()
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == content
