import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfast.errors import UsageError
from standfast.evidence.manifest import Item, Kind, Manifest, written_path
from standfast.evidence.review.indicator_search import (
    SearchedFile,
    read_indicators,
    scan,
    searched_files,
)
from standfast.evidence.review.indicator_timeline import (
    LONGEST_LINE,
    MOST_ENTRIES,
    review,
    too_short,
    wanted_of,
)

NO_HASH = "0" * 64


def frozen(folder: Path, **files: bytes) -> Path:
    """Write copies as in a sealed folder."""
    (folder / "files").mkdir(parents=True)
    for name, content in files.items():
        (folder / "files" / name).write_bytes(content)
    return folder


def sealed(source: str, folder: Path) -> tuple[Path, Manifest]:
    """Return a folder with the manifest of a seal made now."""
    items = []
    for place in sorted((folder / "files").iterdir()):
        path, path_bytes = written_path(place.name)
        content = place.read_bytes()
        items.append(
            Item(
                path=path,
                path_bytes=path_bytes,
                kind=Kind.FILE,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    return folder, Manifest(
        incident="2026-014",
        source=source,
        token="t",
        collector="dana",
        reason="takeover",
        host="desk-1",
        version="0",
        started="",
        ended="",
        paths=(),
        exclude=(),
        excluded=0,
        items=tuple(items),
    )


def test_lines_of_several_sources_are_sorted_by_time(tmp_path: Path) -> None:
    web = frozen(
        tmp_path / "web",
        access=b'10.0.0.7 - - [25/Nov/2026:04:14:30 +0200] "GET /agent01 HTTP/1.1"\n'
        b'10.0.0.8 - - [25/Nov/2026:02:00:00 +0000] "GET / HTTP/1.1"\n',
    )
    phone = frozen(
        tmp_path / "phone",
        signin=b"2026-11-25T02:15:00.5Z agent01 signed in\nagent01 without a time\n"
        b"2026-11-25 02:13:00 agent01 tried\n2026-99-99 10:00:00 agent01 nonsense\n",
    )
    found = review([sealed("web", web), sealed("phone", phone)], wanted_of([], ["agents:agent01"]))
    assert [(entry.at, entry.source, entry.line) for entry in found.in_order()] == [
        ("2026-11-25T02:13:00.000000Z", "phone", 3),
        ("2026-11-25T02:14:30.000000Z", "web", 1),
        ("2026-11-25T02:15:00.500000Z", "phone", 1),
        ("", "phone", 2),
        ("", "phone", 4),
    ]
    assert [entry.is_zone_assumed for entry in found.in_order()[:2]] == [True, False]
    assert (found.files, found.unread, found.left_out) == (2, 0, 0)


def test_quoted_line_is_masked_even_when_cut(tmp_path: Path) -> None:
    line = b"agent01 alice@example.net 123-45-6789".ljust(LONGEST_LINE - 14) + b"4111111111111111\n"
    folder = frozen(tmp_path, log=line)
    (entry,) = review([sealed("s", folder)], read_indicators(["text:agent01"])).entries
    assert entry.text.split() == ["agent01", "a***@example.net", "***-**-****", "*" * 12 + "111"]


def test_each_kind_of_indicator_is_found(tmp_path: Path) -> None:
    folder = frozen(
        tmp_path,
        note=b"pay to wallet-4711 now",
        windows="run wallet-4711".encode("utf-16-le"),
        evil=b"bytes",
        good=b"wallet-471",
    )
    wanted = read_indicators(["text:wallet-4711", "path:ev?l", f"sha256:{NO_HASH}"])
    found = scan(folder / "files", wanted, most_finds=100)
    assert {(find.indicator, find.path) for find in found.finds} == {
        ("text:wallet-4711", "note"),
        ("text:wallet-4711", "windows"),
        ("path:ev?l", "evil"),
    }


def test_a_hash_of_a_whole_file_is_found(tmp_path: Path) -> None:
    folder = frozen(tmp_path, empty=b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    found = scan(folder / "files", read_indicators([f"sha256:{empty}"]), most_finds=10)
    assert [find.path for find in found.finds] == ["empty"]


def test_a_text_across_two_pieces_is_found(tmp_path: Path) -> None:
    folder = frozen(tmp_path, big=b"x" * (1024 * 1024 - 3) + b"needle" + b"y" * 100)
    found = scan(folder / "files", read_indicators(["text:needle"]), most_finds=10)
    assert [find.indicator for find in found.finds] == ["text:needle"]


def test_links_and_pipes_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"needle")
    folder = frozen(tmp_path / "it")
    (folder / "files" / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "files" / "pipe")
    found = scan(folder / "files", read_indicators(["text:needle", "path:link"]), most_finds=10)
    assert [find.indicator for find in found.finds] == ["path:link"]
    assert found.unread == 0


def test_timeline_is_bounded_and_counts_the_rest(tmp_path: Path) -> None:
    folder = frozen(tmp_path, log=b"needle\n" * (MOST_ENTRIES + 7))
    found = review([sealed("s", folder)], read_indicators(["text:needle"]))
    assert len(found.entries) == MOST_ENTRIES
    assert found.left_out == 7


def test_every_file_is_searched_after_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many folders may have the same ransom note."""
    monkeypatch.setattr("standfast.evidence.review.indicator_timeline.MOST_ENTRIES", 3)
    folder = frozen(tmp_path, **{str(number): b"needle\n" for number in range(10)})
    found = review([sealed("s", folder)], read_indicators(["text:needle"]))
    assert (len(found.entries), found.left_out, found.files) == (3, 7, 10)


def test_match_outside_lines_counts_for_the_file(tmp_path: Path) -> None:
    folder = frozen(tmp_path, log=b"agent01 signed in\n" + "wallet-4711".encode("utf-16-le"))
    found = review([sealed("s", folder)], read_indicators(["text:agent01", "text:wallet-4711"]))
    assert [(entry.indicator, entry.line) for entry in found.entries] == [
        ("text:agent01", 1),
        ("text:wallet-4711", 0),
    ]


def test_line_number_survives_a_very_long_line(
    tmp_path: Path,
) -> None:
    folder = frozen(tmp_path, log=b"x" * 200_000 + b"\nneedle\n")
    found = review([sealed("s", folder)], read_indicators(["text:needle"]))
    assert [entry.line for entry in found.entries] == [2]


def test_short_names_are_counted_and_not_searched() -> None:
    accounts = ["agents:lena", "agents:bob", "crm:bob", "agents:bob"]
    assert wanted_of([], accounts).texts == ("lena",)
    assert too_short(accounts) == 2
    with pytest.raises(UsageError, match="the frozen copies for them by hand"):
        wanted_of([], accounts[1:])


def test_what_is_named_twice_is_looked_for_once(tmp_path: Path) -> None:
    folder = frozen(tmp_path, log=b"agent01 signed in\n")
    wanted = wanted_of(["text:agent01", "path:log", "path:log"], ["agents:agent01"])
    found = review([sealed("s", folder)], wanted)
    assert [entry.indicator for entry in found.entries] == ["text:agent01", "path:log"]


def test_log_with_undecodable_name_is_searched(tmp_path: Path) -> None:
    folder = frozen(tmp_path)
    names = [b"\xff.log", rb"\xff.log"]  # shown alike
    for name in names:
        (folder / "files" / os.fsdecode(name)).write_bytes(b"agent01 signed in\n")
    found = review([sealed("s", folder)], read_indicators(["text:agent01"]))
    assert [(entry.path, entry.line) for entry in found.entries] == [(r"\xff.log", 1)] * 2


@pytest.mark.parametrize("looked_for", ["text:agent01", "path:*", "sha256:" + NO_HASH])
def test_altered_copies_are_named_and_excluded(tmp_path: Path, looked_for: str) -> None:
    line = b"agent01 signed in\n"
    folder = frozen(tmp_path, whole=line, longer=line, gone=line, moved=line)
    evidence = sealed("phone", folder)
    (folder / "files/longer").write_bytes(line * 2)
    (folder / "files/gone").unlink()
    (folder / "files/moved").rename(folder / "files/added")
    (folder / "files/moved").symlink_to("whole")
    found = review([evidence], read_indicators([looked_for]))
    assert found.altered == [
        "phone: added is not in the manifest",
        "phone: longer is not what was sealed",
        "phone: moved is not what was sealed",
        "phone: gone is gone",
    ]
    assert {entry.path for entry in found.entries} <= {"whole"}


@pytest.mark.parametrize("looked_for", ["text:agent01", "sha256:" + NO_HASH])
def test_equal_length_alteration_is_found_by_hash(tmp_path: Path, looked_for: str) -> None:
    folder = frozen(tmp_path, log=b"agent01 signed in\n", other=b"agent02 signed in\n")
    evidence = sealed("phone", folder)
    (folder / "files/log").write_bytes(b"agent07 signed in\n")
    (folder / "files/other").write_bytes(b"agent01 signed in\n")
    found = review([evidence], read_indicators([looked_for]))
    assert found.altered == [f"phone: {name} is not what was sealed" for name in ("log", "other")]
    assert found.entries == []


def test_copy_changed_during_the_search_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = frozen(tmp_path, log=b"agent01 signed in\n")
    evidence = sealed("phone", folder)

    def change_after(*args: Any) -> Iterator[SearchedFile]:
        for file in searched_files(*args):
            file.path.write_bytes(b"agent01 signed on\n")
            yield file

    monkeypatch.setattr("standfast.evidence.review.indicator_timeline.searched_files", change_after)
    found = review([evidence], read_indicators(["text:agent01"]))
    assert (found.altered, found.entries) == (["phone: log is not what was sealed"], [])


def test_copy_removed_during_the_search_is_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = frozen(tmp_path, log=b"agent01 signed in\n", other=b"agent01 signed in\n")
    evidence = sealed("phone", folder)

    def remove_after(*args: Any) -> Iterator[SearchedFile]:
        for file in searched_files(*args):
            if file.shown == "log":
                file.path.unlink()
            yield file

    monkeypatch.setattr("standfast.evidence.review.indicator_timeline.searched_files", remove_after)
    found = review([evidence], read_indicators(["text:agent01"]))
    assert (found.unread, found.altered) == (1, ["phone: log is gone"])
    assert [entry.path for entry in found.entries] == ["other"]


@pytest.mark.parametrize(
    "given",
    [[], ["needle"], ["text:abc"], ["sha256:12"], ["yara:rule"], ["path:"], ["text:ok!!", ""]],
)
def test_what_is_no_indicator_is_named_by_number(given: list[str]) -> None:
    with pytest.raises(UsageError, match="indicator"):
        read_indicators(given)
