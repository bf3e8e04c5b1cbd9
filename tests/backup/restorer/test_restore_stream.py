"""One file of a point as a stream: complete and checked, or an error."""

from collections import deque
from pathlib import Path

import pytest

from backup.errors import Damaged, NotFound, UsageError
from tests.backup.site import Site, TamperedStore
from tests.backup.trees import KIB, noise, strange_tree


def stream(site: Site, path: bytes | str) -> bytes:
    repository = site.repository()
    pieces = list(repository.stream(repository.resolve("latest"), path))
    assert all(pieces), "no piece is empty"
    return b"".join(pieces)


def test_every_file_streams_as_it_was(site: Site, tmp_path: Path) -> None:
    source = strange_tree(tmp_path / "source")
    (source / "long").write_bytes(noise(9000 * KIB, 7))
    site.back_up(source)
    repository = site.repository()
    files = [e for e in repository.entries(repository.resolve("latest")) if e.kind == "file"]
    assert len(files) > 10
    for entry in files:
        expected = (
            source / entry.path.partition(b"/")[2].decode("utf8", "surrogateescape")
        ).read_bytes()
        assert stream(site, entry.path) == expected
        assert stream(site, entry.text) == expected


@pytest.mark.parametrize("path", ["files/absent", "", "zzz", "files/note.txt/x"])
def test_missing_path_is_reported_as_missing(site: Site, tmp_path: Path, path: str) -> None:
    site.back_up(strange_tree(tmp_path / "source"))
    with pytest.raises(NotFound, match="not in recovery point"):
        stream(site, path)


@pytest.mark.parametrize(
    "path", ["files", "files/calls", "files/calls/", "files/link", "files/fifo"]
)
def test_only_a_file_has_content(site: Site, tmp_path: Path, path: str) -> None:
    site.back_up(strange_tree(tmp_path / "source"))
    with pytest.raises(UsageError, match="Only a file"):
        stream(site, path)


def test_damaged_content_is_never_returned(tmp_path: Path, site: Site) -> None:
    source = tmp_path / "source"
    source.mkdir()
    whole = noise(40_000 * KIB, 3)
    (source / "call.wav").write_bytes(whole)
    site.back_up(source)
    vault = site.vault
    assert isinstance(vault, TamperedStore)
    packs = sorted(vault.names("w/desk-1/p/"), key=lambda name: -vault.stat(name).size_bytes)
    data = bytearray(vault.get(packs[1]))
    data[len(data) // 2] ^= 1
    vault.replace(packs[1], bytes(data))
    repository = site.repository()
    given = bytearray()
    pieces = repository.stream(repository.resolve("latest"), "files/call.wav")
    with pytest.raises(Damaged, match="segment"):
        deque(map(given.extend, pieces), maxlen=0)
    assert whole.startswith(bytes(given))
    assert len(given) < len(whole)


def test_a_stream_may_be_left_early(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "call.wav").write_bytes(noise(40_000 * KIB, 3))
    site.back_up(source)
    repository = site.repository()
    pieces = repository.stream(repository.resolve("latest"), "files/call.wav")
    assert next(pieces)
    pieces.close()  # type: ignore[attr-defined]  # a generator
