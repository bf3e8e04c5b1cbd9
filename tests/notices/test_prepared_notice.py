import hashlib
import html
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from standfast.errors import Damaged, Refused
from standfast.notices.plain_text import is_one_line
from standfast.notices.prepared_notice import (
    LONGEST_VALUE,
    Piece,
    Prepared,
    PreparedParts,
    merkle_root,
    pick_language,
)

NAME, PLAN = Piece(text="name", is_slot=True), Piece(text="plan", is_slot=True)


def prepared() -> Prepared:
    parts = PreparedParts(
        subject=(Piece(text="For "), NAME),
        text=(Piece(text="Dear "), NAME, Piece(text=", your plan is "), PLAN, Piece(text=".\n")),
        html=(Piece(text="<body><p>"), NAME, PLAN, Piece(text="</p></body>")),
    )
    return Prepared(
        template="small", languages={"en": parts}, when_empty={"name": {"en": "customer"}}
    )


def fill(**slots: str) -> tuple[str, str, str]:
    filled = prepared().fill("en", {"plan": "Gold", **slots}, "token", address="a@customers.test")
    return filled.subject, filled.text, filled.html


def test_each_slot_gets_its_value() -> None:
    assert fill(name="Ana") == (
        "For Ana",
        "Dear Ana, your plan is Gold.\n",
        "<body><p><bdi>Ana</bdi><bdi>Gold</bdi></p></body>",
    )


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("Ana\r\nBcc: all@customers.test", "Ana Bcc: all@customers.test"),
        ("Ana\u2028Ben\x85Eva\x0bZoe", "Ana Ben Eva Zoe"),
        ("\u202eanA\u202c \u2066x\u2069 \u200fy", "anA x y"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", "softhyphen zerowidth mark"),
        ("{{ recipient.plan }}{% for a in b %}", "{{ recipient.plan }}{% for a in b %}"),
        ("-plan- %plan% ${plan} {plan}", "-plan- %plan% ${plan} {plan}"),
        ("<script>x</script>&amp;", "<script>x</script>&amp;"),
        ("half \ud800 pair", "half pair"),
        ("  spaces \t around ", "spaces around"),
        ("علی\u200cرضا", "علی\u200cرضا"),
    ],
)
def test_a_hostile_value_stays_one_line_of_text(hostile: str, shown: str) -> None:
    subject, text, marked_up = fill(name=hostile)
    assert subject == f"For {shown}"
    assert text == f"Dear {shown}, your plan is Gold.\n"
    assert marked_up == f"<body><p><bdi>{html.escape(shown)}</bdi><bdi>Gold</bdi></p></body>"


def test_encoded_word_in_a_subject_is_broken() -> None:
    subject, text, _ = fill(name="=?utf-8?q?=0D=0ABcc:?=")
    assert subject == "For = ?utf-8?q?=0D=0ABcc:?="
    assert text.startswith("Dear =?utf-8?q?=0D=0ABcc:?=,")


@pytest.mark.parametrize("size", [LONGEST_VALUE + 1, 10 * 1024 * 1024])
def test_too_long_value_names_its_slot(size: int) -> None:
    with pytest.raises(Refused, match="'name'") as caught:
        fill(name="x" * size)
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("empty", ["", "  ", "\u202e"])
def test_an_empty_value_takes_the_templates_words(empty: str) -> None:
    assert fill(name=empty)[0] == "For customer"


def test_an_empty_value_without_words_is_refused() -> None:
    with pytest.raises(Refused, match="'plan'"):
        fill(name="Ana", plan="")


def test_a_language_that_is_not_there_is_refused() -> None:
    with pytest.raises(Refused, match="'xx'"):
        prepared().fill("xx", {}, "token", address="a@customers.test")


def test_digest_covers_address_token_and_values() -> None:
    notice = prepared()
    same: dict[str, Any] = {
        "language": "en",
        "slots": {"name": "Ana", "plan": "Gold"},
        "token": "t",
    }
    leaf = notice.fill(**same, address="a@customers.test").digest
    assert leaf == notice.fill(**same, address="a@customers.test").digest
    others = [
        notice.fill("en", {"name": "Ana", "plan": "Gold"}, "t", address="b@customers.test"),
        notice.fill("en", {"name": "Ana", "plan": "Gold"}, "u", address="a@customers.test"),
        notice.fill("en", {"name": "Ann", "plan": "Gold"}, "t", address="a@customers.test"),
        notice.fill(
            "en", {"name": "Ana", "plan": "Gold", "unused": "x"}, "t", address="a@customers.test"
        ),
    ]
    assert len({leaf, *(other.digest for other in others)}) == 5


def test_a_notice_comes_back_from_json_unchanged() -> None:
    notice = prepared()
    assert Prepared.from_json(json.loads(json.dumps(notice.as_json()))) == notice
    assert notice.slots == {"name", "plan"}


def test_a_notice_changed_in_storage_is_damaged() -> None:
    written = json.dumps(prepared().as_json())
    for forged in (
        written.replace("Dear", "Deer"),
        written.replace('"slot"', '"text"', 1),
        written.replace('"languages"', '"language"'),
        written.replace('"small"', "5"),
        written.replace('"customer"', "[]"),
    ):
        assert forged != written
        with pytest.raises(Damaged):
            Prepared.from_json(json.loads(forged))


@given(name=st.text(max_size=150), plan=st.text(min_size=1, max_size=150))
def test_filling_never_mixes_values_nor_breaks_a_line(name: str, plan: str) -> None:
    assume(", your plan is " not in name)
    try:
        subject, text, marked_up = fill(name=name, plan=plan)
    except Refused:
        return
    shown = text.removeprefix("Dear ").partition(", your plan is ")[0]
    assert subject == f"For {shown}".replace("=?", "= ?")
    assert is_one_line(subject)
    assert text.startswith(f"Dear {shown}, your plan is ")
    assert text.count("\n") == 1
    cells = re.findall(r"<bdi>([^<>]*)</bdi>", marked_up)
    assert [len(cells), html.unescape(cells[0])] == [2, html.unescape(html.escape(shown))]
    assert marked_up.count("<") == 8


@pytest.mark.parametrize(
    ("wanted", "language", "is_warned"),
    [
        ("de", "de", False),
        ("DE", "de", False),
        ("de-AT", "de", False),
        ("de_AT", "de", False),
        ("pt", "pt-BR", True),
        ("pt-PT", "pt-BR", True),
        ("tr", "es", True),
        ("", "es", True),
        ("x\r\ny", "es", True),
    ],
)
def test_a_reader_gets_the_nearest_language(wanted: str, language: str, is_warned: bool) -> None:
    choice = pick_language(wanted, ["de", "en", "es", "pt-BR"], "es")
    assert choice.language == language
    assert bool(choice.warning) is is_warned
    assert is_one_line(choice.warning)


def test_missing_language_falls_back_to_english() -> None:
    assert pick_language("tr", ["fr", "en"], "es").language == "en"
    assert pick_language("tr", ["fr", "it"], "es").language == "fr"
    with pytest.raises(ValueError, match="without a language"):
        pick_language("tr", [], "es")


def rfc_6962_root(leaves: Sequence[bytes]) -> bytes:
    """The RFC's own recursive definition, 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = rfc_6962_root(leaves[:split]), rfc_6962_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("count", range(34))
def test_the_root_is_the_one_of_rfc_6962(count: int) -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(count)]
    assert merkle_root([leaf.hex() for leaf in leaves]) == rfc_6962_root(leaves).hex()


def test_root_depends_on_leaves_and_order() -> None:
    leaves = [hashlib.sha256(bytes([number])).hexdigest() for number in range(5)]
    roots = {merkle_root(leaves), merkle_root(leaves[::-1]), merkle_root([*leaves, leaves[-1]])}
    assert len(roots) == 3
