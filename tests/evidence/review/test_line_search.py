"""Search before parsing: the same records as when each line is parsed."""

import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.evidence.parsers.log_record import LONGEST_TEXT
from standfast.evidence.review.indicator_list import IndicatorList
from standfast.evidence.review.log_timeline import Event, Log, Marks, collect_events, merged_events
from standfast.evidence.review.sorted_runs import SortedRuns

SHA256 = "ab" * 32
VALUES = (
    "203.0.113.9", "2001:db8::7", "evil.example", "k.example", "xff.example", SHA256,
    "198.51.100.0/22", "fd00:1::/32",
)  # fmt: skip
AT = "2026-11-25T02:13:44Z"
# Text that is an indicator, resembles one, or is one only after the parser has read it.
PARTS = (
    *(value.partition("/")[0] for value in VALUES),
    "mail.EVIL.example:443", "evil.exam", "ple", "EV\u0130L.example", "\u212a.example",
    "198.51.103.255", "FD00:0001:0:0:0:0:0:1", SHA256.upper(), "\\xff.example",
    "\u00ff.example", "notevil.example", "\u00e9vil.example", "203.0.113.99",
    " ", "/", '"', "\\", ",", "user=", "\u20ac", "x" * 40,
)  # fmt: skip
TEXTS = st.builds(
    str.join, st.sampled_from(["", " ", "/"]), st.lists(st.sampled_from(PARTS), max_size=3)
)


def indicators(*values: str) -> IndicatorList:
    found = IndicatorList()
    for value in values:
        assert found.add(value)
    return found


def matches(folder: Path, log: bytes, wanted: IndicatorList, *, is_searched: bool) -> list[Event]:
    """Return the events with indicators."""
    marks = Marks(
        indicators=wanted.matches, line_search=wanted.line_search() if is_searched else None
    )
    frozen = Log(
        source="logs",
        path="/log",
        collected_at=datetime(2026, 11, 26, tzinfo=UTC),
        open=lambda: io.BytesIO(log),
    )
    runs = SortedRuns(folder)
    try:
        (tally,) = collect_events([frozen], marks, runs)
        assert tally.problem == ""
        return [event for event in merged_events(runs) if event.indicators]
    finally:
        runs.close()


def escaped(text: str, characters: Sequence[bool]) -> str:
    """Return a JSON string in which some characters are escaped."""
    return "".join(
        f"\\u{ord(letter):04X}" if is_escaped or letter in '"\\' else letter
        for letter, is_escaped in zip(text, characters, strict=False)
    )


@st.composite
def json_line(draw: st.DrawFn) -> bytes:
    text, address = draw(TEXTS), draw(st.sampled_from(PARTS))
    escapes = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    line = f'{{"time": "{AT}", "ip": {json.dumps(address)}, "note": "{escaped(text, escapes)}"}}'
    if draw(st.booleans()):  # as the message of an event of CloudWatch, escaped twice
        line = json.dumps({"timestamp": 5, "message": line, "ingestionTime": 5})
    pages = draw(st.integers(0, 2))
    return (f'{{"Records": [{", ".join([line] * pages)}]}}' if pages else line).encode()


def logs(lines: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    ends = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
    return st.lists(st.tuples(lines, ends).map(b"".join), max_size=20).map(b"".join)


TEXT_LINES = st.one_of(
    TEXTS.map(lambda text: f"{AT} {text}".encode()),
    TEXTS.map(lambda text: f"{AT} {text}".encode("utf-16-le")),
    TEXTS.map(lambda text: f"{AT} ".encode() + text.encode("latin-1", "replace")),
    TEXTS.map(lambda text: f'{text} - u [25/Nov/2026:02:13:44 +0000] "GET / x" 200 5'.encode()),
    TEXTS.map(str.encode),
    st.binary(max_size=40),
)
JSON_LINES = st.one_of(json_line(), st.just(b"{broken"), TEXTS.map(str.encode))


@settings(max_examples=40, deadline=None)
@given(st.one_of(logs(TEXT_LINES), logs(JSON_LINES)))
def test_search_finds_what_parsing_finds(log: bytes) -> None:
    wanted, folder = indicators(*VALUES), Path(gettempdir())
    for content in (log, b"\xff\xfe" + log.decode("utf-8", "replace").encode("utf-16-le")):
        expected = matches(folder, content, wanted, is_searched=False)
        assert matches(folder, content, wanted, is_searched=True) == expected


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (f"{AT} EVIL.Example".encode(), "evil.example"),
        (f"{AT} \u212a.example".encode(), "k.example"),  # the Kelvin sign is a K
        (f"{AT} \u00ff.example".encode("latin-1"), "xff.example"),
        (f"{AT} evil.example".encode("utf-16"), "evil.example"),
        (gzip.compress(f"{AT} evil.example".encode(), mtime=0), "evil.example"),
        (f"{AT} from FD00:1::7".encode(), "FD00:1::7"),
        (f'{{}}\n{{"at": "{AT}", "a": "\\u0065vil.example"}}'.encode(), "evil.example"),
        (f'{{}}\n{{"at": "{AT}", "a": "\\u212A.example"}}'.encode(), "k.example"),
        (f'[{{"at": "{AT}",\n"ip": "198.51.103.7"}}]'.encode(), "198.51.103.7"),
        (f"at,note\n{AT},evil.example".encode(), "evil.example"),
    ],
    ids=range(10),
)
def test_encoded_indicator_is_found(log: bytes, found: str, tmp_path: Path) -> None:
    (event,) = matches(tmp_path, log, indicators(*VALUES), is_searched=True)
    assert list(event.indicators) == [found]


@pytest.mark.parametrize("border", range(1, 80, 7))
def test_indicator_across_pieces_is_found(
    border: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standfast.evidence.parsers.line_reader.SEARCHED_BYTES", border)
    lines = [f"{AT} a", f"{AT} mail.evil.example", "", f"{AT} b", f"{AT} 203.0.113.9"]
    found = matches(tmp_path, "\n".join(lines).encode(), indicators(*VALUES), is_searched=True)
    assert [(event.line, *event.indicators) for event in found] == [
        (2, "evil.example"),
        (5, "203.0.113.9"),
    ]


@pytest.mark.parametrize(
    "rest", ["", "\n", "\r\n", "x\n", "xx\n", "x" * 200_000 + "\n"], ids=range(6)
)
def test_line_at_the_limit_is_cut_alike(
    rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standfast.evidence.parsers.line_reader.SEARCHED_BYTES", 10)
    begin = f"{AT} evil.example "
    line = begin + "x" * (LONGEST_TEXT - len(begin)) + rest
    # The second line begins with the last byte of a piece.
    log, wanted = f"12345678\n{line}{AT} evil.example\n".encode(), indicators(*VALUES)
    expected = matches(tmp_path, log, wanted, is_searched=False)
    assert matches(tmp_path, log, wanted, is_searched=True) == expected
    assert len(expected) == (2 if rest else 1)


def test_list_matching_any_line_has_no_search() -> None:
    assert indicators("evil.example", "::/8").line_search() is None
    assert indicators("0.0.0.0/4").line_search() is None
