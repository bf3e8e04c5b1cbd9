"""Letters to print: one a page, address in the window, private."""

import csv
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.senders import Message
from standfast.adapters.senders.letters import LettersSender, mark_of
from standfast.config.sections.senders import LettersSenderConfig
from standfast.errors import Unavailable
from standfast.records import EffectState
from tests.adapters.senders.sender_context import context
from tests.adapters.settings import settings_of

NOW = datetime(2026, 11, 1, 3, 0, tzinfo=UTC)
ADA = "Ada Lovelace\n12 St James's Square\nLondon SW1Y 4JH"


def letter(number: int = 1, **changes: str) -> Message:
    fields: dict[str, Any] = {
        "token": f"{number:032x}",
        "address": ADA,
        "subject": f"About your data, {number}",
        "text": f"Hello {number}\n",
        "html": f"<html><head></head><body style='x'><p>Hello {number}</p></body></html>",
        "language": "en",
    }
    return Message(**{**fields, **changes})


def sender_at(
    folder: Path, *, organisation: Mapping[str, str] | None = None, **options: Any
) -> LettersSender:
    settings = settings_of(
        LettersSenderConfig,
        folder=folder,
        **{"return_address": ("1 Example Street", "London N1 9GU"), **options},
    )
    return LettersSender("post", settings, context(lambda: NOW, **organisation or {}))


class _Page(HTMLParser):
    """The letters of a page: their ids, languages and texts, and every tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.letters: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "section":
            self.letters.append(dict(attrs))
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


def page_in(folder: Path) -> _Page:
    (file,) = folder.glob("*.html")
    return _Page(file.read_text())


def test_batch_is_one_private_file(tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    sender = sender_at(folder)
    results = sender.send([letter(1), letter(2, address="Bo\nWeg 1\n28195 Bremen", language="de")])
    assert {(one.state, one.only_a_person_can_tell) for one in results} == {
        (EffectState.UNKNOWN, True)
    }
    page = page_in(folder)
    assert [(one["id"], one["lang"]) for one in page.letters] == [
        (f"letter-{1:032x}", "en"),
        (f"letter-{2:032x}", "de"),
    ]
    for words in ("Ada Lovelace", "12 St James's Square", "London SW1Y 4JH", "Hello 1"):
        assert words in page.texts[0]
        assert words not in page.texts[1]
    assert "About your data, 1" in page.texts[0]
    assert mark_of(f"{1:032x}") in page.texts[0]
    assert "Example & Sons · 1 Example Street · London N1 9GU" in page.texts[0]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("language", "date"),
    [
        ("en", "1 November 2026"),
        ("de", "1. November 2026"),
        ("es", "1 de noviembre de 2026"),
        ("fr", "1er novembre 2026"),
    ],
)
def test_a_letter_is_dated_in_its_readers_language(
    tmp_path: Path, language: str, date: str
) -> None:
    sender_at(tmp_path).send([letter(language=language)])
    assert date in page_in(tmp_path).texts[0]


@pytest.mark.parametrize(
    ("zone", "date"), [("America/New_York", "31 October 2026"), ("Asia/Tokyo", "1 November 2026")]
)
def test_letter_has_the_senders_date(tmp_path: Path, zone: str, date: str) -> None:
    sender_at(tmp_path, organisation={"time_zone": zone}).send([letter()])
    assert date in page_in(tmp_path).texts[0]


@pytest.mark.parametrize(
    ("paper", "window", "says"),
    [
        ("a4", "left", ("size: A4", "left: 0mm")),
        ("letter", "right", ("size: letter", "left: 85mm")),
    ],
)
def test_each_letter_has_own_page_and_address(
    tmp_path: Path, paper: str, window: str, says: tuple[str, str]
) -> None:
    sender_at(tmp_path, paper=paper, window=window).send([letter(1), letter(2)])
    (file,) = tmp_path.glob("*.html")
    style = file.read_text().partition("</style>")[0]
    assert all(each in style for each in says)
    assert "break-before: page" in style
    assert "http" not in style.replace("http-equiv", "")


def test_no_value_breaks_out_of_its_letter(tmp_path: Path) -> None:
    hostile = '<script>x</script></section><section id="letter-evil">'
    name = f"{hostile}\n=cmd()\n1 Road"
    sender_at(tmp_path).send([letter(1, address=name, subject=hostile), letter(2)])
    page = page_in(tmp_path)
    assert [one["id"] for one in page.letters] == [f"letter-{n:032x}" for n in (1, 2)]
    assert "script" not in page.tags
    assert hostile in page.texts[0]
    assert "Example & Sons1 Example Street" in page.texts[0]
    (addresses,) = tmp_path.glob("*.csv")
    with addresses.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert (rows[0]["line_1"], rows[0]["line_2"]) == (hostile, "'=cmd()")
    assert rows[1]["mark"] == mark_of(f"{2:032x}")


def test_letter_has_the_direction_of_its_language(tmp_path: Path) -> None:
    sender_at(tmp_path).send([letter(language="ar")])
    (page,) = tmp_path.rglob("*.html")
    assert 'lang="ar" dir="rtl"' in page.read_text()


def test_a_text_and_a_sender_are_no_html(tmp_path: Path) -> None:
    hostile = "</title><script>x</script></section>"
    sender = sender_at(tmp_path, organisation={"name": hostile}, return_address=(hostile,))
    sender.send([letter(1, html="", text=f"{hostile}\nin two lines\n"), letter(2)])
    page = page_in(tmp_path)
    assert len(page.letters) == 2
    assert "script" not in page.tags
    assert f"{hostile}\nin two lines" in page.texts[0]
    assert f"{hostile} · {hostile}" in page.texts[0]
    (file,) = tmp_path.glob("*.html")
    # The policy blocks every load, whatever the content.
    assert "default-src 'none'" in file.read_text()


@pytest.mark.parametrize(
    "line",
    ["=cmd()", "+1", "-1", "@SUM(A1)", "\uff1dcmd()", "\uff0b1", "\uff20SUM(A1)", "\ufe66cmd()"],
)
@pytest.mark.parametrize("space", ["", " ", "\u00a0", "\u3000", " \u00a0 "])
def test_address_list_contains_no_formula(tmp_path: Path, space: str, line: str) -> None:
    sender_at(tmp_path).send([letter(1, address=f"Ada\n{space}{line}\n1 = Road")])
    (addresses,) = tmp_path.glob("*.csv")
    with addresses.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["line_1"], row["line_2"], row["line_3"]) == ("Ada", f"'{space}{line}", "1 = Road")


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "Ada", "", "Ada\n\nLondon", "Ada\nLon\x00don", "\n".join("abcdefgh")],
)
def test_invalid_postal_address_gets_no_letter(tmp_path: Path, address: str) -> None:
    results = sender_at(tmp_path).send([letter(1, address=address), letter(2)])
    assert [one.state for one in results] == [EffectState.REFUSED, EffectState.UNKNOWN]
    assert address not in results[0].reason or not address
    assert len(page_in(tmp_path).letters) == 1


def test_written_letter_may_have_been_posted(tmp_path: Path) -> None:
    sender = sender_at(tmp_path)
    assert sender.find([f"{1:032x}"]) == [False]
    sender.send([letter(1)])
    assert sender.find([f"{1:032x}", f"{2:032x}"]) == [None, False]


def test_rewritten_batch_is_the_same_file(tmp_path: Path) -> None:
    sender = sender_at(tmp_path)
    sender.send([letter(1), letter(2)])
    before = sorted(tmp_path.iterdir())
    sender.send([letter(1), letter(2)])
    assert sorted(tmp_path.iterdir()) == before


def test_two_batches_are_two_files(tmp_path: Path) -> None:
    sender = sender_at(tmp_path)
    sender.send([letter(1)])
    sender.send([letter(2)])
    assert len(list(tmp_path.glob("*.csv"))) == len(list(tmp_path.glob("*.html"))) == 2
    assert sender.find([f"{1:032x}", f"{2:032x}"]) == [None, None]


def test_unwritable_folder_is_retryable(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("a file is in the way")
    (result,) = sender_at(tmp_path / "letters").send([letter()])
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds
    assert "cannot be written" in result.reason


def test_reaching_checks_the_folder_without_writing(tmp_path: Path) -> None:
    sender_at(tmp_path / "new/letters").reach()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="cannot be written"):
        sender_at(tmp_path / "file/letters").reach()
