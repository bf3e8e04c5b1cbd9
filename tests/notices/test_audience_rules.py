"""Rules that notify, hold, suppress or merge the rows of any source."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.adapters.audience_sources.files import read_suppressed, sqlite_suppressed
from standfast.adapters.audience_sources.scim import scim_audience
from standfast.errors import ConfigurationError
from standfast.notices.audience import Audience, gather
from standfast.notices.audience_rows import Rules, Suppression, check_columns
from standfast.notices.encrypted_spool import PAGE

TODAY = date(2026, 11, 25)


def gathered(*rows: Mapping[str, str], **more: Any) -> Audience:
    return gather(enumerate(rows, start=1), Rules(**{"why": "was open", "today": TODAY, **more}))


def test_person_with_two_addresses_is_notified_once() -> None:
    rows = [{"key": "7", "address": "ana@home.test"}, {"key": "7", "address": "ana@work.test"}]
    once, each = gathered(*rows), gathered(*rows, each_address=True)
    assert [one.address for one in once.recipients] == ["ana@home.test"]
    assert [(one.row_number, one.reason) for one in once.repeated] == [(2, "same person as row 1")]
    assert [one.address for one in each.recipients] == ["ana@home.test", "ana@work.test"]


def test_unusable_first_address_uses_the_second() -> None:
    rows = [{"key": "7", "address": "nonsense"}, {"key": "7", "address": "ana@work.test"}]
    found = gathered(*rows)
    assert [one.address for one in found.recipients] == ["ana@work.test"]
    assert [one.row_number for one in found.rejected] == [1]


def test_empty_keys_are_different_people() -> None:
    rows = [{"key": "", "address": f"{name}@x.test", "why": "rang twice"} for name in "ab"]
    found = gathered(*rows)
    assert [one.key for one in found.recipients] == ["a@x.test", "b@x.test"]
    assert {one.why for one in found.recipients} == {"rang twice"}, "and not the audience's"


@pytest.mark.parametrize(
    ("written", "language"),
    [("es_MX", "es-MX"), ("pt-br", "pt-br"), ("", "de"), ("Spanish", "de"), ("es;q=1", "de")],
)
def test_invalid_row_language_is_replaced(written: str, language: str) -> None:
    found = gathered({"address": "ana@x.test", "language": written}, language="de")
    assert [one.language for one in found.recipients] == [language]


def test_long_audience_equals_a_short_one() -> None:
    ana = {
        "key": "7",
        "address": "Ana@Home.test",
        "name": "Ana",
        "language": "es",
        "why": "rang twice",
        "plan": "Gold",
        "postal_1": "1 High Street",
    }
    kid = {**ana, "key": "8", "address": "kid@x.test", "is_minor": "1"}
    again = {"address": "ANA@home.test"}
    others = [{"address": f"c{number}@x.test"} for number in range(PAGE)]
    short, long = gathered(ana, kid, again), gathered(ana, kid, *others, again)
    assert long.recipients[0] == short.recipients[0]
    assert long.held == short.held
    assert short.held[0].slots == {"plan": "Gold", "postal_1": "1 High Street"}
    assert [one.reason for one in long.repeated] == ["same address as row 1"]
    assert long.rows == PAGE + 3


def test_row_without_a_reason_is_rejected() -> None:
    found = gathered({"address": "ana@home.test"}, {"address": "b@x.test", "why": "y"}, why="")
    assert [one.why for one in found.recipients] == ["y"]
    assert "reason" in found.rejected[0].reason


@pytest.mark.parametrize(
    ("flags", "held"),
    [
        ({"is_minor": "1"}, "a minor"),
        ({"is_minor": "True"}, "a minor"),
        ({"is_minor": "no"}, ""),
        ({"is_minor": "?"}, "perhaps a minor: column 'is_minor' says neither yes nor no"),
        ({"is_deceased": "yes", "is_minor": "yes"}, "has died"),
        ({"died_on": "2025-01-01"}, "has died"),
        ({"died_on": ""}, ""),
        ({"born_on": "2008-11-25"}, ""),
        ({"born_on": "2008-11-26"}, "a minor"),
        ({"born_on": "2008-11-26T00:00:00"}, "a minor"),
        ({"born_on": "26.11.1980"}, "perhaps a minor: column 'born_on' is not a date"),
    ],
)
def test_minors_and_whoever_died_wait_for_a_person(flags: dict[str, str], held: str) -> None:
    found = gathered({"address": "ana@home.test", **flags})
    assert [one.held for one in found.held] == ([held] if held else [])
    assert len(found.recipients) == (0 if held else 1)
    assert not (*found.recipients, *found.held)[0].slots


def test_leap_day_birthday_ends_on_first_march() -> None:
    row = {"address": "ana@home.test", "born_on": "2008-02-29"}
    assert gathered(row, today=date(2026, 2, 28)).held
    assert not gathered(row, today=date(2026, 3, 1)).held
    assert not gathered(row, today=date(2026, 2, 28), adult_years=17).held
    assert gathered(row, today=None).held, "of which day it is nothing is known"


def test_one_flagged_row_holds_the_person() -> None:
    found = gathered(
        {"key": "7", "address": "ana@home.test"},
        {"key": "7", "address": "ana@work.test", "is_minor": "x"},
    )
    assert not found.recipients
    assert [one.address for one in found.held] == ["ana@work.test"]
    assert [one.reason for one in found.repeated] == ["same person as row 2, held"]


def test_rejected_flagged_row_holds_the_person() -> None:
    flag = {"is_deceased": "yes"}
    untold: list[tuple[Mapping[str, str], dict[str, Any]]] = [
        ({"key": "7", "address": "", **flag}, {}),
        ({"key": "7", "address": "nonsense", "is_minor": "?"}, {}),
        ({"key": "7", "address": "ana@gone.test", **flag}, {"suppression": ["ana@gone.test"]}),
        ({"address": "ANA@home.test", **flag}, {"why": ""}),
    ]
    for row, rules in untold:
        never = Suppression(dict.fromkeys(rules.pop("suppression", ()), ""))
        ana: dict[str, str] = {"address": "ana@home.test", "why": "was open"}
        ana |= {"key": "7"} if "key" in row else {}
        work = {**ana, "address": "ana@work.test"}
        others = {"key": "8", "address": "ben@x.test", "why": "was open"}
        found = gathered(ana, row, work, others, suppression=never, **rules)
        told = [one.address for one in found.recipients]
        assert told == (["ben@x.test"] if "key" in row else ["ana@work.test", "ben@x.test"])
        assert [one.address for one in found.held] == ["ana@home.test"]
        assert found.held[0].held.startswith("a minor or has died: row 2 of the same person")
        assert found.rows == 4


def test_rejected_row_holds_a_letter_recipient() -> None:
    ada = {"name": "Ada", "postal_1": "1 High Street", "postal_2": "Leeds", "why": "was open"}
    dead = {**ada, "name": "ADA", "is_deceased": "yes", "why": ""}
    found = gathered(dead, ada, {**ada, "name": "Bo"}, why="")
    assert [one.name for one in found.recipients] == ["Bo"]
    assert [one.name for one in found.held] == ["Ada"]
    key = {"key": "Jose\u0301", "address": "", "is_minor": "1"}
    child = gathered(key, {"key": "Jos\u00e9", "address": "jose@x.test"})
    assert (list(child.recipients), [one.address for one in child.held]) == ([], ["jose@x.test"])


def test_flagged_row_itself_is_held() -> None:
    row = {"key": "7", "is_minor": "1"}
    found = gathered(
        {**row, "address": ""},
        {"key": "7", "address": "ana@a.test"},
        {**row, "address": "ana@b.test"},
        {"key": "9", "address": "ben@a.test"},
        {"key": "9", "address": "ben@b.test", "is_minor": "1"},
        {"key": "9", "address": "ben@c.test", "died_on": "2020-01-01"},
    )
    assert [one.address for one in found.held] == ["ana@a.test", "ben@b.test"]
    assert [one.row_number for one in found.repeated] == [3, 4, 6]


def test_distant_rows_of_a_person_are_merged() -> None:
    others = [{"address": f"c{number}@x.test"} for number in range(PAGE)]
    child = {"key": "7", "address": "kid@x.test", "is_minor": "1"}
    held = gathered(child, *others, {**child, "address": "kid@y.test"})
    assert [one.address for one in held.held] == ["kid@x.test"]
    assert [one.row_number for one in held.repeated] == [PAGE + 2]
    ana = {"key": "7", "address": "ana@x.test"}
    rows = (ana, *others, {**ana, "address": "ana@y.test"}, {**ana, "key": "8"})
    for each_address, addresses in ((True, ["ana@x.test", "ana@y.test"]), (False, ["ana@x.test"])):
        told = [one.address for one in gathered(*rows, each_address=each_address).recipients]
        assert [one for one in told if one.startswith("ana")] == addresses
    blank = {**child, "address": ""}
    gone = gathered(blank, *others, *([blank] * PAGE), ana)
    assert [one.address for one in gone.held] == ["ana@x.test"]


def test_parent_is_notified_and_child_held() -> None:
    found = gathered(
        {"key": "child", "address": "home@x.test", "is_minor": "1"},
        {"key": "parent", "address": "home@x.test"},
    )
    assert [one.key for one in found.recipients] == ["parent"]
    assert [one.key for one in found.held] == ["child"]


def test_suppressed_person_is_excluded_with_reason(tmp_path: Path) -> None:
    file = tmp_path / "never.csv"
    file.write_text("who,why\nANA@Home.test,court order\n42,\n")
    suppression = Suppression(read_suppressed(file))
    found = gathered(
        {"key": "7", "address": "Ana@HOME.test"},
        {"key": "42", "address": "ben@x.test"},
        {"key": "7", "address": "ana@work.test"},
        suppression=suppression,
    )
    assert [(one.row_number, one.reason) for one in found.suppressed] == [
        (1, "must not be notified: court order"),
        (2, "must not be notified: on the suppression list"),
    ]
    assert [one.address for one in found.recipients] == ["ana@work.test"]


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        (" 42", {"key": "42 "}),
        ("AB  12", {"key": "AB  12"}),
        ("AB\t12", {"key": "AB 12"}),
        ("Ana@home.test\u200b", {"key": "7"}),
        ("\u00a0Ana@home.test\n", {"key": "7"}),
        ("Jose\u0301 7", {"key": "Jos\u00e9 7"}),
        ("Jos\u00e9 7", {"key": "Jose\u0301 7"}),
        ("ana@HOME.test", {}),
    ],
)
def test_suppression_compares_canonical_spelling(entry: str, row: dict[str, str]) -> None:
    # Earlier entries of the list do not prevent the count.
    never = Suppression({"nobody@": "", "@": "", entry: "court\norder \udcf3"})
    found = gathered({**row, "address": "ana@home.test"}, suppression=never)
    assert [one.reason for one in found.suppressed] == ["must not be notified: court order"]


@pytest.mark.parametrize(
    ("entry", "unread"),
    [
        ("Ana <ana@home.test>", 0),
        ("López, Ana <ANA@Home.test>", 0),
        ('"Ana" <ana@home.test>;', 0),
        ("<mailto:ana@home.test>", 0),
        ("ben@x.test; ana@home.test", 0),
        ("ana@home.test (court order)", 0),
        ("'ana@home.test'", 0),
        ("'ana@home.test", 0),
        ("ana@home.test.", 0),
        ("Ana\n<ana@home.test>", 0),
        ("ben@nowhere, ana@home.test", 1),
    ],
)
def test_ambiguous_suppression_entry_excludes_all_matches(entry: str, unread: int) -> None:
    rows = [{"address": "ana@home.test"}, {"address": "zoe@home.test"}]
    found = gathered(*rows, suppression=Suppression({entry: "asked"}))
    assert [one.reason for one in found.suppressed] == ["must not be notified: asked"]
    assert [one.address for one in found.recipients] == ["zoe@home.test"]
    assert found.ineffective_entries == unread


def test_an_address_with_an_apostrophe_is_nobody_elses() -> None:
    rows = [{"address": f"{name}@x.test"} for name in ("o'neil", "neil", "'ana", "ana")]
    never = Suppression({"O'Neil <o'neil@x.test>": "", "'ana@x.test": ""})
    found = gathered(*rows, suppression=never)
    assert [one.address for one in found.recipients] == ["neil@x.test"]


def test_entries_that_can_mean_nobody_are_counted() -> None:
    never = Suppression(dict.fromkeys(("42", "Ana", "", "ana@", "a b@c d", "ben@x.test"), ""))
    without_keys = gathered({"address": "ana@x.test"}, {"address": "ben@x.test"}, suppression=never)
    assert (len(without_keys.suppressed), without_keys.ineffective_entries) == (1, 5)
    with_keys = gathered({"key": "7", "address": "ana@x.test"}, suppression=never)
    assert with_keys.ineffective_entries == 2, (
        "any other may be the key of somebody who is not here"
    )
    everybody = gathered({"key": "42", "address": "ana@x.test"}, suppression=never)
    assert (len(everybody.suppressed), everybody.ineffective_entries) == (1, 2)
    assert gathered({"address": "ana@x.test"}).ineffective_entries == 0


def test_suppression_list_counts_from_its_first_entry(tmp_path: Path) -> None:
    file = tmp_path / "never.csv"
    file.write_text("ana@home.test,court order\nben@home.test,\n")
    with pytest.raises(ConfigurationError, match="heading") as caught:
        read_suppressed(file)
    assert "ana" not in str(caught.value)
    for first in ("Ana <ana@home.test>", "\u00a0ana@home.test", "ben@home.test;ana@home.test"):
        file.write_text(f"{first},\nben@home.test,\n")
        with pytest.raises(ConfigurationError, match="heading"):
            read_suppressed(file)
    file.write_bytes(b"who,why\nana@home.test,petici\xf3n\njos\xe9@home.test,x\n")
    with pytest.raises(ConfigurationError, match=r"row 2 in .*never\.csv") as caught:
        read_suppressed(file)
    assert "home.test" not in str(caught.value)
    file.write_text("who,why\nana@home.test\n\n42\n,\n,,\n")
    assert read_suppressed(file) == {"ana@home.test": "", "42": ""}
    file.write_text("")
    assert read_suppressed(file) == {}


def test_binary_suppression_result_stops_the_audience(tmp_path: Path) -> None:
    crm = tmp_path / "crm.db"
    with closing(sqlite3.connect(crm)) as connection, connection:
        connection.execute("CREATE TABLE never (who, why)")
        rows = [("ana@home.test", None), (42, "asked"), (None, "x")]
        connection.executemany("INSERT INTO never VALUES (?, ?)", rows)
    found = sqlite_suppressed(crm, "SELECT who, why FROM never")
    assert found == {"ana@home.test": "", "42": "asked"}
    assert sqlite_suppressed(crm, "SELECT who FROM never") == {"ana@home.test": "", "42": ""}
    with closing(sqlite3.connect(crm)) as connection, connection:
        connection.execute("INSERT INTO never VALUES (?, '')", (b"ben@home.test",))
    with pytest.raises(ConfigurationError, match=r"row 4 .* is not UTF-8 text") as caught:
        sqlite_suppressed(crm, "SELECT who, why FROM never")
    assert "ben" not in str(caught.value)


@pytest.mark.parametrize("query", ["-- SELECT who FROM never", "/* nobody yet */", " ", ";"])
def test_empty_suppression_query_is_an_error(tmp_path: Path, query: str) -> None:
    crm = tmp_path / "crm.db"
    crm.touch()
    with pytest.raises(ConfigurationError, match="only a comment"):
        sqlite_suppressed(crm, query)
    assert sqlite_suppressed(crm, "SELECT 1 WHERE 0") == {}


def test_missing_suppression_list_empties_the_audience(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_suppressed(tmp_path / "gone.csv")


def test_scim_users_are_read_as_recipients() -> None:
    found = scim_audience(
        [
            {
                "id": "1",
                "userName": "ana",
                "displayName": "Ana",
                "preferredLanguage": "es-MX",
                "emails": [
                    {"value": "a@home.test"},
                    {"value": "a@work.test", "primary": True},
                    "not an object",
                ],
            },
            {"id": "2", "active": False, "emails": [{"value": "ben@work.test"}]},
            {"id": "3", "emails": "nobody", "name": {"givenName": 5}},
        ],
        Rules(why="works here"),
    )
    (ana,) = found.recipients
    assert (ana.key, ana.address, ana.name, ana.language) == ("1", "a@work.test", "Ana", "es-MX")
    assert [(one.row_number, one.reason) for one in found.rejected] == [
        (2, "the account is disabled in the directory"),
        (3, "there is no address"),
    ]


def test_disabled_accounts_are_notified_on_request() -> None:
    user = {"id": "2", "active": False, "locale": "es-MX"}
    mails = [{"value": "", "primary": True}, {"value": "ben@work.test"}]
    found = scim_audience(
        [{**user, "emails": mails, "name": {"givenName": "Ben", "familyName": "Li"}}],
        Rules(why="works here"),
        includes_disabled=True,
    )
    (ben,) = found.recipients
    assert (ben.address, ben.name, ben.language) == ("ben@work.test", "Ben Li", "es-MX")


_FLAGS = {("is_minor", "1"), ("is_minor", "?"), ("died_on", "2020-01-01")}
_ROWS = st.lists(
    st.fixed_dictionaries(
        {"address": st.sampled_from(["a@x.test", "A@x.test", "b@x.test", "c@x.test", "", "no"])},
        optional={
            "key": st.sampled_from(["1", "2", "3", ""]),
            "why": st.sampled_from(["", "open"]),
            "is_minor": st.sampled_from(["", "1", "0", "?"]),
            "died_on": st.sampled_from(["", "2020-01-01"]),
        },
    ),
    max_size=12,
)


@given(_ROWS, st.booleans(), st.sampled_from(["", "was open"]), st.sets(st.sampled_from("123")))
def test_every_row_is_counted_and_notified_once(
    rows: list[dict[str, str]], each_address: bool, why: str, never: set[str]
) -> None:
    suppression = Suppression(dict.fromkeys(never, ""))
    found = gathered(*rows, each_address=each_address, why=why, suppression=suppression)
    assert found.rows == len(rows)
    mailboxes = [one.address.casefold() for one in found.recipients]
    assert len(set(mailboxes)) == len(mailboxes)
    people = [one.key for one in found.recipients]
    assert each_address or len(set(people)) == len(people)
    assert not set(people) & {one.key for one in found.held}
    assert not {*people, *(one.key for one in found.held)} & never
    flags = {row.get("key") for row in rows if {*row.items()} & _FLAGS}
    assert not set(people) & flags
    assert all(one.why for one in (*found.recipients, *found.held))


def _postal(*rows: dict[str, str]) -> Audience:
    return gathered(*({"address": "", **row} for row in rows))


HIGH_STREET = {"name": "Ada", "postal_1": "1 High Street", "postal_2": "Leeds"}


def test_postal_address_alone_gets_a_letter() -> None:
    found = _postal(HIGH_STREET, {**HIGH_STREET, "address": "no address"})
    (ada,) = found.recipients
    assert (ada.address, ada.postal) == ("", ("Ada", "1 High Street", "Leeds"))
    assert [one.reason for one in found.repeated] == ["same address as row 1"]
    both = _postal({**HIGH_STREET, "address": "ada@example.net"})
    assert [one.address for one in both.recipients] == ["ada@example.net"]


def test_household_gets_one_letter_a_person() -> None:
    found = _postal(
        HIGH_STREET,
        {**HIGH_STREET, "name": "Bo"},
        {**HIGH_STREET, "name": "ADA", "postal_1": "1 high street"},
        {**HIGH_STREET, "name": "Ada L.", "key": "7"},
        {"address": "ada@example.net", "key": "7"},
    )
    assert [one.name for one in found.recipients] == ["Ada", "Bo", "Ada L."]
    assert [one.reason for one in found.repeated] == [
        "same address as row 1",
        "same person as row 4",
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({}, "there is no address"),
        ({"postal_1": " "}, "there is no address"),
        ({"postal_1": "Leeds"}, "there is no address, and the postal one is a single line"),
        ({**HIGH_STREET, "postal_2": "x" * 10_000_000}, "column 'postal_2' is longer than"),
    ],
)
def test_what_no_letter_would_reach_is_rejected(row: dict[str, str], why: str) -> None:
    found = _postal(row, HIGH_STREET)
    assert len(found.recipients) == 1
    assert [one.reason.startswith(why) for one in found.rejected] == [True]


def test_line_break_adds_no_postal_line() -> None:
    (one,) = _postal({**HIGH_STREET, "postal_1": "1 Road\nBo\u202eurk"}).recipients
    assert one.postal == ("Ada", "1 Road Bourk", "Leeds")


def test_an_audience_needs_one_of_the_two_addresses() -> None:
    check_columns(["postal_1", "postal_2", "name"])
    with pytest.raises(ConfigurationError, match="postal_1"):
        check_columns(["name"])
