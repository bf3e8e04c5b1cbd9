"""Quarterly challenge of the custodians: presence and validity of keys."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from backup.errors import Damaged, UsageError, WrongKey
from backup.ownership.custodian_challenge import (
    answer_challenge,
    check_answer,
    make_challenge,
    read_answers,
)
from backup.ownership.custodian_public_key import Custodian
from backup.ownership.decryption_challenge import challenges_to_json
from backup.ownership.erasure.domain_erasure import order_erasure
from backup.ownership.erasure.erasure_order import read_order
from backup.ownership.operations.custodians import add_custodian
from backup.ownership.operations.domains import add_domain, new_generation
from backup.ownership.owner_documents import owner_document
from backup.trust.root_chain import load_root_chain
from tests.backup.owner_site import OwnedSite, new_person, owned_site
from tests.backup.site import DOMAIN

LEE, LEES = new_person("Lee")


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    site = owned_site(tmp_path / "site")
    add_custodian(site.office, custodian=LEE, identity=site.identity)
    new_generation(site.office, domain=DOMAIN)
    return site


def challenge(site: OwnedSite) -> tuple[bytes, tuple[Custodian, ...]]:
    return make_challenge(
        load_root_chain(site.vault), site.keys, now=site.clock(), random=os.urandom
    )


def test_right_answer_names_the_opened_domains(owned: OwnedSite) -> None:
    data, people = challenge(owned)
    assert LEE in people
    assert len(people) == 2
    given, _ = answer_challenge(data, LEES, now=owned.clock(), where="challenge.json")
    (answer,) = read_answers(given, "answer.json")
    assert answer.custodian == LEE
    assert answer.opens == ((DOMAIN, 0), (DOMAIN, 1))
    assert answer.lacks == ()
    check_answer(data, answer, "challenge.json")
    assert b"AGE-SECRET-KEY" not in given + data


def test_unopenable_domain_is_reported(owned: OwnedSite) -> None:
    add_domain(owned.office, name="hr", custodians=[new_person("Kim")[0]])
    data, people = challenge(owned)
    assert len(people) == 3
    _, (answer,) = answer_challenge(data, LEES, now=owned.clock(), where="challenge.json")
    assert answer.lacks == (("hr", 0),)


def test_answer_to_other_challenge_is_refused(owned: OwnedSite) -> None:
    first, _ = challenge(owned)
    second, _ = challenge(owned)
    _, (answer,) = answer_challenge(second, LEES, now=owned.clock(), where="c")
    with pytest.raises(UsageError, match="does not fit"):
        check_answer(first, answer, "c")
    other = new_person("Kim")[0]
    with pytest.raises(UsageError, match="Kim"):
        check_answer(second, replace(answer, custodian=other), "c")


def test_a_stranger_answers_nothing(owned: OwnedSite, tmp_path: Path) -> None:
    data, _ = challenge(owned)
    with pytest.raises(WrongKey, match="encrypted to this identity"):
        answer_challenge(data, new_person("Kim")[1], now=owned.clock(), where="c")
    other = owned_site(tmp_path / "other")
    with pytest.raises(WrongKey, match="another repository"):
        answer_challenge(data, other.identity, now=owned.clock(), where="c")


def test_challenge_is_no_consent_to_erasure(owned: OwnedSite) -> None:
    """A sealed part of an order opens only as part of an order."""
    order = read_order(
        order_erasure(owned.office, domain=DOMAIN, ordered_by="Eve", reason="none"), "order"
    )
    bait = owner_document(
        "custodian-challenge",
        repository=order.repository.hex(),
        owner=order.owner.hex(),
        created="2026-01-01T00:00:00.000000Z",
        text=order.text,
        challenges=challenges_to_json(order.challenges),
        keys=[],
    )
    with pytest.raises(Damaged, match="of another document"):
        answer_challenge(bait, LEES, now=owned.clock(), where="bait")


@pytest.mark.parametrize("content", [b"", b"{}", b"junk", b'{"format":1,"kind":"order"}\n'])
def test_invalid_document_is_named(owned: OwnedSite, content: bytes) -> None:
    with pytest.raises(WrongKey, match="Name the right file"):
        answer_challenge(content, LEES, now=owned.clock(), where="x.json")
    with pytest.raises(WrongKey, match="Name the right file"):
        read_answers(content, "x.json")
