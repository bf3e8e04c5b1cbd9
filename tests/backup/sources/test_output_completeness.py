"""Detection of the end marker of a complete output, in any pieces."""

import io
import tarfile

import pytest

from backup.sources.output_completeness import EndMarker, TarEndMarker, TextEndMarker

KIB = 1024


def tar(*, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive like that of a database, with files full of zeros."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as archive:
        for name, content in (
            ("base/1/1259", bytes(40 * KIB)),
            ("base/1/PG_VERSION", b"16\n"),
            ("base/1/empty", b""),
            ("pg_wal/" + "0" * 120, bytes(17 * KIB + 1)),
            ("global/pg_control", b"\x01" * 512 + bytes(7 * KIB)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        folder = tarfile.TarInfo("pg_notify")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return written.getvalue()


def seen(content: bytes, piece_bytes: int, ending: EndMarker) -> bool:
    for start in range(0, len(content), piece_bytes):
        ending.feed(memoryview(content[start : start + piece_bytes]))
    return ending.is_complete


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("piece_bytes", [1, 511, 512, 513, 50_000, 1 << 20])
def test_complete_tar_is_recognized_in_any_pieces(form: int, piece_bytes: int) -> None:
    assert seen(tar(form=form), piece_bytes, TarEndMarker())


def test_truncated_tar_is_never_complete() -> None:
    content = tar()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        end = max(member.offset_data + member.size for member in archive)
    end = -(-end // 512) * 512
    assert not content[end:].strip(b"\0"), "what follows the last member is empty"
    for cut in [*range(0, end, 97), *range(end, end + 1024)]:
        assert not seen(content[:cut], 4096, TarEndMarker()), cut
    assert seen(content[: end + 1024], 4096, TarEndMarker())


def test_tar_member_over_eight_gigabytes_is_skipped() -> None:
    """The octal digits cannot state the size; PostgreSQL uses GNU's form."""
    member = tarfile.TarInfo("base/1/16384")
    member.size = 9 * 1024**3
    ending = TarEndMarker()
    ending.feed(memoryview(member.tobuf(tarfile.GNU_FORMAT)))
    zeros = memoryview(bytes(64 * 1024 * KIB))
    for _ in range(9 * 1024**3 // len(zeros)):
        ending.feed(zeros)
    assert not ending.is_complete
    ending.feed(zeros[:1023])
    assert not ending.is_complete
    ending.feed(zeros[:1])
    assert ending.is_complete


@pytest.mark.parametrize("content", [b"", b"\x00" * 1023, b"\xff" * 4096, b"no tar at all" * 999])
def test_invalid_tar_has_no_end(content: bytes) -> None:
    assert not seen(content, 1000, TarEndMarker())


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096])
def test_text_dump_ends_with_its_last_line(piece_bytes: int) -> None:
    line = b"\n-- Dump completed"
    assert seen(b"x" * 5000 + line, piece_bytes, TextEndMarker(line))
    assert seen(b"x" * 5000 + line + b" on 2026-11-27\n", piece_bytes, TextEndMarker(line))
    assert not seen(b"x" * 5000 + line + b"x" * 2000, piece_bytes, TextEndMarker(line))
    assert not seen(b"x" * 5000 + line[:-1], piece_bytes, TextEndMarker(line))
