"""Pages: safe with any text, self-contained, readable at any size."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import Environment

from standfast.errors import StandfastError, UsageError
from standfast.records import EffectState, Mode, Proof, StepState
from standfast.reports.html_page import MOST_ROWS, incident_page, installation_page, write_page
from standfast.reports.report_records import (
    AccountLine,
    ChainLine,
    EventLine,
    InstallationReport,
    NotNotified,
    OpenIncident,
)
from standfast.reports.report_sentences import step_state_words
from tests.reports.build import (
    OPENED,
    Page,
    at,
    drill,
    empty,
    full,
    heading,
    measure,
    notice,
    step,
)

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>body{display:none}",
    "</title></head><iframe src=//example.com>",
    "<!-- ",
    "]]><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% for x in y %}",
    "&lt;b&gt; & <b>",
    "`</code><b>`",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_people_wrote_never_becomes_markup(text: str) -> None:
    plain, hostile = Page(incident_page(full())), Page(incident_page(full(text)))
    assert [tag for tag, _ in hostile.tags if tag != "code"] == [
        tag for tag, _ in plain.tags if tag != "code"
    ]
    assert {name for _, attributes in hostile.tags for name in attributes} == {
        name for _, attributes in plain.tags for name in attributes
    }
    if "`" not in text:
        assert " ".join(text.split()) in hostile.text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_place_page_is_as_safe(text: str) -> None:
    def page(name: str) -> Page:
        report = full(name)
        incident = OpenIncident(
            incident=name,
            title=name,
            mode=Mode.LIVE,
            opened_at=OPENED,
            is_open=True,
            next_step=name,
        )
        return Page(
            installation_page(
                InstallationReport(
                    heading=report.heading,
                    incidents=(incident,),
                    drills=report.drills,
                    backups=report.backups,
                    chain=report.chain,
                )
            )
        )

    assert page(text).names() - {"code"} == page("plain").names() - {"code"}


def test_control_characters_are_shown_as_replaced() -> None:
    page = incident_page(full("a\x1b[31mb\u202egnp.exe\u2028\x07"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2028\u2029]", page)
    assert "a\ufffd[31mb\ufffdgnp.exe" in page


def test_names_of_every_alphabet_stay_as_they_are() -> None:
    for name in ("Ελένη Νικολάου", "علی‌رضا", "山田 太郎", "Łukasz Wiśniewski", "👩‍💻"):
        assert name in Page(incident_page(full(name))).text


def test_nothing_is_loaded_from_outside() -> None:
    html = incident_page(full())
    page = Page(html)
    assert page.names().isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    attributes = {name for _, found in page.tags for name in found}
    assert attributes.isdisjoint({"src", "href", "style", "srcset", "action"})
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_a_screen_reader_finds_headings_captions_and_labels() -> None:
    page = Page(incident_page(full()))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption") > 5
    assert all("scope" in found for tag, found in page.tags if tag == "th")
    drawings = [found for tag, found in page.tags if tag == "svg"]
    assert all("aria-label" in found or "aria-hidden" in found for found in drawings)
    labelled = {found["aria-labelledby"] for tag, found in page.tags if tag == "section"}
    assert labelled == {found["id"] for _, found in page.tags if "id" in found}


def test_waiting_for_time_is_not_waiting_for_people() -> None:
    assert "waits for a person or a time" in Page(incident_page(full())).text


def test_an_incident_in_which_nothing_happened_yet_renders() -> None:
    text = Page(incident_page(empty())).text
    assert "No step has started." in text
    assert "No person has decided" in text


def test_huge_incident_shows_first_rows_and_count() -> None:
    many = 30_000
    report = empty(
        steps=(step(counts={EffectState.DONE: many}),),
        accounts=tuple(
            AccountLine(who=f"agents{n}:a***", lock=EffectState.DONE, proof=Proof.READ_BACK)
            for n in range(many)
        ),
        notices=(
            notice(
                by_language={"en": {EffectState.FAILED: many}},
                not_notified=tuple(
                    NotNotified(who=f"a***@{n}.example.net", state=EffectState.FAILED, reason="no")
                    for n in range(many)
                ),
            ),
        ),
        events=tuple(EventLine(at=at(n), actor="dana", action="looked") for n in range(many)),
    )
    html = incident_page(report)
    assert len(html) < 150_000
    text = Page(html).text
    assert html.count(".example.net") == MOST_ROWS
    assert text.count(f"{many - MOST_ROWS:,} more ") == 3
    assert "All 30,000 accounts were locked" in text


def test_accounts_that_look_alike_are_one_line() -> None:
    alike = AccountLine(who="agents:a***", lock=EffectState.DONE)
    other = AccountLine(who="agents:a***", lock=EffectState.FAILED, reason="no")
    html = incident_page(empty(accounts=(*([alike] * 39), other)))
    assert html.count("agents:a***") == 2
    assert '<td class="number">39</td>' in html


@pytest.mark.parametrize("state", list(EffectState))
def test_every_effect_state_has_number_and_bar(state: EffectState) -> None:
    word = {"submitting": "under way", "planned": "not started"}.get(state.value, state.value)
    report = empty(
        steps=(step(counts={state: 7}),),
        notices=(notice(by_language={"en": {state: 7}}),),
        accounts=(AccountLine(who="agents:a***", lock=state),),
    )
    page = Page(incident_page(report))
    assert f"7 {word}" in page.text
    kinds = [found.get("class") for tag, found in page.tags if tag == "rect"]
    assert f"bar {state.value}" in kinds


@pytest.mark.parametrize("state", [*StepState, None])
def test_every_state_of_a_step_is_shown(state: StepState | None) -> None:
    page = Page(incident_page(empty(steps=(step(state=state),))))
    assert step_state_words(state) in page.text
    assert step_state_words(None) == "not reached"


@pytest.mark.parametrize("mode", list(Mode))
def test_an_incident_says_whether_anything_live_was_reached(mode: Mode) -> None:
    text = Page(incident_page(empty(mode=mode))).text
    assert ("no live system was reached" in text) is (mode is not Mode.LIVE)


def test_damaged_record_is_reported_first() -> None:
    broken = ChainLine(
        events=3, rows=3, heads=1, witnessed=0, signed_to=0, head="", findings=("event 2: changed",)
    )
    text = Page(incident_page(empty(chain=broken))).text
    assert "Do not trust this page" in text
    assert "event 2: changed" in text
    assert "Whole:" not in text


def test_a_promise_that_was_missed_is_marked() -> None:
    slow = measure(rto=at(7200) - OPENED)
    text = Page(incident_page(empty(drills=(drill(measures=(slow,)),)))).text
    assert "missed" in text
    assert "2 h, missed" in text


def test_exceeded_mtpd_is_marked() -> None:
    slow = measure(rto=at(7200) - OPENED)
    for is_beyond in (True, False):
        measures = (replace(slow, is_beyond_mtpd=is_beyond),)
        text = Page(incident_page(empty(drills=(drill(measures=measures),)))).text
        assert ("missed, beyond the MTPD" in text) == is_beyond


def test_unusable_drill_has_no_measure() -> None:
    report = empty(drills=(drill(measures=(measure(rto=None),)),))
    text = Page(incident_page(report)).text
    assert "never usable" in text
    assert "RTO missed" in text
    assert "was usable (RTO) never" in text


def test_times_use_the_zone_of_the_organisation() -> None:
    text = Page(incident_page(empty())).text
    assert "25 November 2026 at 03:13:00 CET" in text


def test_page_template_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = incident_page(full())
    monkeypatch.delattr(Environment, "compile")
    assert incident_page(full()) == before


def test_an_empty_place_says_what_it_lacks() -> None:
    text = Page(installation_page(InstallationReport(heading=heading()))).text
    assert "No incident has been opened." in text
    assert "No restore drill has run yet." in text
    assert "No backup has run yet." in text


def test_page_is_private_and_replaces_the_last(tmp_path: Path) -> None:
    out = tmp_path / "pages" / "result.html"
    write_page("<!doctype html>\nfirst", out)
    write_page("<!doctype html>\nsecond", out)
    assert out.read_text() == "<!doctype html>\nsecond"
    assert out.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in out.parent.iterdir()] == ["result.html"]


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("<!doctype html>\n<html>", "SQLite format 3\0"),
        ("<!doctype html>\n<html>", '<svg xmlns="http://www.w3.org/2000/svg">'),
        ('<svg xmlns="http://www.w3.org/2000/svg">', "[organisation]\n"),
        ("BEGIN:VCALENDAR\r\n", "BEGIN"),
    ],
)
def test_page_replaces_no_foreign_file(written: str, there: str, tmp_path: Path) -> None:
    out = tmp_path / "there"
    out.write_text(there)
    with pytest.raises(UsageError, match="another kind of file"):
        write_page(written, out)
    assert out.read_text() == there
    assert list(tmp_path.iterdir()) == [out]
    out.write_text("")
    write_page(written, out)
    assert out.read_bytes() == written.encode()


def test_unwritable_page_fails_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(StandfastError, match="cannot be written"):
        write_page("text", tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_page_is_written_into_an_existing_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_page("a page", pipe)
        assert os.read(reading, 100) == b"a page"
    finally:
        os.close(reading)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
