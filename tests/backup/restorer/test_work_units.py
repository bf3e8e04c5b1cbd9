"""Restores of trees with frames shared across folders."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backup.format.manifest import BlobRef
from backup.format.object_names import pack_name
from backup.reader.blob_reader import BlobReader, FrameKey, Raw, frame_key
from backup.stores.directory import DirectoryStore
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import WRITER, Site, TamperedStore, new_site
from tests.backup.trees import KIB, describe

MOST_DECODES = 1.3  # average per frame
FOLDERS, FILES = 20, 24


@cache
def _prose() -> str:
    chance = random.Random(1)
    words = [chance.randbytes(3).hex() for _ in range(4000)]
    return " ".join(chance.choices(words, k=600_000))


def text(size: int, seed: int) -> str:
    """Return text that compresses as documents do."""
    begin = random.Random(seed).randrange(len(_prose()) - size)
    return f"{seed} {_prose()[begin : begin + size]}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make folders of small files; some are copies or near-copies of others."""
    top = tmp_path / "source"
    chance = random.Random(3)
    for folder in range(FOLDERS):
        (top / f"{folder:02}").mkdir(parents=True)
        for number in range(FILES):
            path = top / f"{folder:02}/{number:02}.doc"
            size = min(240 * KIB, int(chance.lognormvariate(12.2, 0.6)))
            path.write_text(text(size, FILES * folder + number))
            if folder and number % 2 == 0:
                other = top / f"{chance.randrange(folder):02}/{number + 1:02}.doc"
                path.write_bytes(other.read_bytes() + (b"" if number % 10 else b"edited"))
    return top


@contextmanager
def decodes() -> Iterator[Counter[FrameKey]]:
    """Count how often this process decodes each frame."""
    found: Counter[FrameKey] = Counter()
    real = BlobReader.decode_frame

    def decode_frame(self: BlobReader, ref: BlobRef, packed: Any) -> Raw:
        found[frame_key(ref)] += 1
        return real(self, ref, packed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobReader, "decode_frame", decode_frame)
        yield found


def change_everywhere(source: Path, round_number: int) -> None:
    for number, folder in enumerate(sorted(source.iterdir())):
        (folder / f"{round_number:02}.doc").write_text(
            text(4 * KIB, 10_000 + FOLDERS * round_number + number)
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_copies_cost_no_second_decode(tmp_path: Path, source: Path, workers: int) -> None:
    site = new_site(tmp_path / "site", MemoryStore())
    site.back_up(source)
    with decodes() as frames:
        result = site.restore("latest", tmp_path / "out", workers=workers)
    assert result.problems == ()
    assert frames.total() <= MOST_DECODES * len(frames)
    assert describe(tmp_path / "out/files") == describe(source)


def test_scattered_backups_cost_no_second_decode(tmp_path: Path, source: Path) -> None:
    site = new_site(tmp_path / "site", MemoryStore())
    for round_number in range(6):
        change_everywhere(source, round_number)
        site.back_up(source)
    with decodes() as frames:
        result = site.restore("latest", tmp_path / "out", workers=1)
    assert result.problems == ()
    assert frames.total() <= MOST_DECODES * len(frames)
    assert describe(tmp_path / "out/files") == describe(source)


def test_renamed_folders_cost_no_second_decode(tmp_path: Path, source: Path) -> None:
    site = new_site(tmp_path / "site", MemoryStore())
    site.back_up(source)
    for folder in range(0, FOLDERS, 3):
        (source / f"{folder:02}").rename(source / f"z{FOLDERS - folder:02}")
    site.back_up(source)
    with decodes() as frames:
        result = site.restore("latest", tmp_path / "out", workers=1)
    assert result.problems == ()
    assert frames.total() <= MOST_DECODES * len(frames)
    assert describe(tmp_path / "out/files") == describe(source)


def test_early_files_keep_modes_and_hard_links(tmp_path: Path, source: Path) -> None:
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    for number, folder in enumerate(sorted(source.iterdir())):
        os.link(folder / "10.doc", folder / "zz-link.doc")
        for name in range(9):
            (folder / f"1{name}-link").symlink_to("10.doc")
        os.setxattr(folder / "20.doc", "user.case", b"42")
        (folder / "22.doc").chmod(0o440)
        folder.chmod(0o555 if number % 2 else 0o2770)
    site.back_up(source)
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        result = site.restore("latest", out, workers=workers)
        assert result.problems == ()
        assert result.files == FOLDERS * (FILES + 1)
        assert describe(out / "files") == describe(source)


def test_selected_copies_are_restored_alone(tmp_path: Path, source: Path) -> None:
    site = new_site(tmp_path / "site", MemoryStore())
    site.back_up(source)
    result = site.restore("latest", tmp_path / "out", "files/**/?0.doc", "files/19")
    assert result.problems == ()
    for folder in source.iterdir():
        if folder.name != "19":
            for path in folder.glob("?[!0].doc"):
                path.unlink()
    files = {path.relative_to(source): path.read_bytes() for path in source.rglob("*.doc")}
    out = tmp_path / "out/files"
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*.doc")} == files
    assert result.files == len(files)


def test_lost_frame_costs_all_its_files(tmp_path: Path, source: Path) -> None:
    vault = TamperedStore()
    site = new_site(tmp_path / "site", vault)
    site.back_up(source)
    change_everywhere(source, 1)
    site.back_up(source)
    repository = site.repository()
    lost_pack = next(
        entry.blobs[0].pack
        for entry in repository.entries(repository.resolve("latest"))
        if entry.path == b"files/00/01.doc"
    )
    content = pack_name(WRITER, lost_pack.hex())
    data = bytearray(vault.get(content))
    data[8000] ^= 1  # the first segment contains file content
    vault.replace(content, bytes(data))
    result = site.restore("latest", tmp_path / "out")
    lost = {problem.path for problem in result.problems if problem.is_damage}
    assert lost == {f"files/{folder:02}/01.doc" for folder in range(FOLDERS)}
    for path in lost:
        (source / path.removeprefix("files/")).unlink()
    files = {path.relative_to(source): path.read_bytes() for path in source.rglob("*.doc")}
    out = tmp_path / "out/files"
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*.doc")} == files


def test_one_content_in_many_folders_is_restored(tmp_path: Path, site: Site) -> None:
    source = tmp_path / "source"
    for folder in range(12):
        (source / f"{folder:02}").mkdir(parents=True)
        for number in range(12):
            (source / f"{folder:02}/{number:02}").write_text("the same everywhere")
        (source / f"{folder:02}/own").write_text(text(2000 * KIB, folder))
    site.back_up(source)
    result = site.restore("latest", tmp_path / "out", workers=2)
    assert result.problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
