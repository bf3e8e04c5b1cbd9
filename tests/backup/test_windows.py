"""Files larger than a window, compressible and incompressible in turn."""

import random
from pathlib import Path

import pytest

from tests.backup.site import Site

MIB = 1024 * 1024


def text(size: int) -> bytes:
    """Return lines that compress and are all different."""
    lines = random.Random(size)
    rows = (f"INSERT INTO calls VALUES ({n}, '{lines.getrandbits(64):x}', 'an agent took it');\n"
            for n in range(size // 50))  # fmt: skip
    return "".join(rows).encode()[:size]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("name", ["dump.sql", "media.wav"])
@pytest.mark.parametrize(
    "content",
    [
        text(12 * MIB),
        noise(12 * MIB),
        text(9 * MIB) + noise(4 * MIB) + text(5 * MIB),
        noise(3 * MIB) + bytes(9 * MIB) + text(3 * MIB),
        b"".join(noise(300_000 + n) + text(300_000 + n) for n in range(20)),
    ],
    ids=["text", "noise", "text, noise, text", "noise, zeros, text", "in turn"],
)
def test_file_of_many_windows_is_restored(
    site: Site, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).write_bytes(content)
    (tmp_path / "tree" / "small").write_bytes(text(20_000))
    assert site.back_up(tmp_path / "tree").complete
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert (tmp_path / "out" / "files" / name).read_bytes() == content
    # The next day, half of the content is known.
    (tmp_path / "tree" / name).write_bytes(content[: len(content) // 2] + text(2 * MIB))
    site.clock.forward(hours=24)
    assert site.back_up(tmp_path / "tree").complete
    assert site.restore("latest", tmp_path / "second").problems == ()
    restored = (tmp_path / "second" / "files" / name).read_bytes()
    assert restored == content[: len(content) // 2] + text(2 * MIB)


def test_dump_chunks_have_frames_small_files_share(site: Site, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "crm.sql").write_bytes(text(3 * MIB))
    for number in range(5):
        (tmp_path / "tree" / f"note-{number}").write_bytes(text(20_000 + number))
    site.back_up(tmp_path / "tree")
    repository = site.repository()
    entries = {
        entry.path: entry.blobs
        for entry in repository.entries(repository.resolve("latest"))
        if entry.kind == "file"
    }
    chunks = entries.pop(b"files/crm.sql")[:-1]  # the last may be small
    assert len(chunks) > 20
    assert {ref.inner for ref in chunks} == {0}
    assert len({(ref.pack, ref.offset) for ref in chunks}) == len(chunks)
    notes = [ref for blobs in entries.values() for ref in blobs]
    assert len(notes) == 5
    assert len({(ref.pack, ref.offset) for ref in notes}) == 1
