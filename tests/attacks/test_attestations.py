"""An attacker writes the ledger's database to attest work for a person.

They have their own key, but no key of the ledger and no passphrase. Their rows do not count and are
reported; the person's attestations still count.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.errors import Damaged
from standfast.ledger.people.people_changes import Signer
from standfast.ledger.schema.tables import audit_event, person
from standfast.usecases.continuity.attestations import (
    attest,
    attestations,
    current_attestations,
    withdraw,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.health import recency_checks
from standfast.usecases.health.check_results import Verdict
from tests.ledger.intruder import Intruder, Row
from tests.ledger.ledger_files import Place
from tests.usecases.installations import enrol_people, furnish, installation_at, signer

URL = "https://wiki.example.com/training"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_at(furnish(tmp_path)) as opened:
        enrol_people(opened)
        attest(opened, "training", signer("dana"), url=URL)
        yield opened


@pytest.fixture
def intruder(installation: Installation, tmp_path: Path) -> Iterator[Intruder]:
    config = installation.config
    place = Place(
        url=f"sqlite:///{tmp_path / 'ledger.db'}",
        keys=config.ledger.keys,
        witness=config.ledger.witness,
    )
    found = Intruder(place)
    yield found
    found.close()


def attestation_events(intruder: Intruder) -> list[Row]:
    return [row for row in intruder.rows(audit_event) if row["subject"] == "attestations"]


def refused(installation: Installation) -> int:
    """Return how many attestations are named, in the readiness too."""
    checks = list(recency_checks.practice(installation))
    named = [check for check in checks if check.part == recency_checks.ATTESTATIONS]
    assert all(check.verdict is Verdict.FAIL and check.is_damage for check in named)
    assert len(named) == len(attestations(installation).problems)
    return len(named)


def test_replaced_key_attests_nothing(installation: Installation, intruder: Intruder) -> None:
    forger = Signer(name="dana", key=Ed25519PrivateKey.generate())
    (dana, *_) = intruder.rows(person)
    intruder.set(person, dana, public_key=forger.key.public_key().public_bytes_raw().hex())
    with pytest.raises(Damaged):
        attest(installation, "malware", forger, url=URL)
    assert current_attestations(installation) == {}
    assert refused(installation) == 1


def test_changed_event_does_not_count(installation: Installation, intruder: Intruder) -> None:
    (event,) = attestation_events(intruder)
    later = {**json.loads(event["detail"]), "valid_until": "2099-01-01"}
    intruder.set(audit_event, event, detail=json.dumps(later))
    assert current_attestations(installation) == {}
    assert refused(installation) == 1


def test_withdrawn_attestation_is_not_repeated(
    installation: Installation, intruder: Intruder
) -> None:
    (event,) = attestation_events(intruder)
    withdraw(installation, "training", signer("dana"))
    newest = intruder.rows(audit_event)[-1]
    again = {"sequence": newest["sequence"] + 1, "previous": newest["hash"]}
    intruder.add(audit_event, {**event, **again})
    assert current_attestations(installation) == {}
    assert refused(installation) >= 1
