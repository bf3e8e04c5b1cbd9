"""Masking of the accounts of other records in a value."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.evidence.review import account_names
from standfast.evidence.review.account_names import AccountNames
from standfast.evidence.review.log_timeline import Event
from standfast.evidence.review.record_masking import account_forms, masking_with

mask = masking_with(Ed25519PrivateKey.generate(), "inc-2026-0001")


def event(account: str, result: str = "success") -> Event:
    return Event(
        at=0,
        log=0,
        line=1,
        is_zone_assumed=False,
        account=account,
        address="",
        action="",
        object="",
        result=result,
        device="",
        place="",
        text="",
        indicators=(),
        records=(),
        is_selected=True,
        is_cut=False,
    )


def names_of(*events: Event) -> AccountNames:
    names = AccountNames(["locked.person"])
    for each in events:
        names.add(each)
    return names


@pytest.mark.parametrize(
    "text",
    [
        "call passed to M.Keller.",
        "mail of m.keller@example.com",
        "GET /agents/m.keller?x=1",
        "path=%2Fm.keller",
        '{"to": "m.keller"}',
        "session of CORP\\m.keller",
        "by locked.person",
    ],
)
def test_other_account_is_masked(text: str) -> None:
    masked = names_of(event("m.keller@example.com"), event("bob")).masking(mask)(text, "bob")
    assert not any(name in masked.lower() for name in ("keller", "locked.person"))
    assert "account-" in masked


@pytest.mark.parametrize(
    "account",
    ["o'brien@example.com", "kim_ex.com#EXT#@t.example.com", "HOST7$", "CORP\\Ana Silva", "o''b"],
)
@pytest.mark.parametrize("text", ["to {}.", '"{}"', "x=%2F{}&y=1", "{}: o, kim and Ana called"])
def test_account_of_several_words_is_masked(account: str, text: str) -> None:
    masked = names_of(event(account), event("o'b")).masking(mask)
    pseudonym = mask(account, account)
    for form in account_forms(account):
        assert masked(text.format(form), "bob") == text.format(pseudonym)
    longer = text.format(f"{account}x")
    assert pseudonym not in masked(longer, "bob") or "@" in account


def test_account_has_one_pseudonym_everywhere() -> None:
    masked = names_of(event("m.keller@example.com")).masking(mask)
    own = masked("m.keller@example.com", "m.keller@example.com")
    assert masked("m.keller", "bob") == own == mask("m.keller@example.com", "m.keller@example.com")
    assert masked(masked("to m.keller", "bob"), "bob") == f"to {own}"


@pytest.mark.parametrize("result", ["failure", "401", "403"])
def test_failed_sign_in_names_no_account(result: str) -> None:
    masked = names_of(event("GET", result)).masking(mask)
    assert masked("GET /customers/7", "bob") == "GET /customers/7"


@pytest.mark.parametrize("text", ["bobby", "bob.b", "plumbob", "bob_b"])
def test_longer_word_is_not_an_account(text: str) -> None:
    assert names_of(event("bob")).masking(mask)(text, "") == text


def test_number_of_accounts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_names, "MOST_NAMES", 2)
    names = names_of(event("alice"), event("alice"))
    assert names.is_complete
    names.add(event("bob"))
    assert not names.is_complete
