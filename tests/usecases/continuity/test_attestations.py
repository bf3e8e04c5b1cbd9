"""Attestations: signed statements, their validity, and their withdrawal."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.usecases.continuity.attestations import (
    attest,
    attestations,
    current_attestations,
    withdraw,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.people.enrolment import person_signer
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

TODAY = date(2026, 12, 1)
URL = "https://wiki.example.com/training"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    config_file = furnish(tmp_path)
    with config_file.open("a") as file:
        file.write('\n[continuity.subjects]\ndevice-review = "Devices are reviewed"\n')
    now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    with installation_at(config_file, clock=lambda: now) as opened:
        enrol_people(opened)
        yield opened


def test_attestation_keeps_the_digest_of_its_file(
    installation: Installation, tmp_path: Path
) -> None:
    proof = tmp_path / "attendance.pdf"
    proof.write_bytes(b"all were there")
    dana = person_signer(installation, "dana", PASSPHRASES["dana"])
    made = attest(installation, "training", dana, file=proof, done_on=date(2026, 11, 2))
    assert made.evidence == f"sha256:{hashlib.sha256(b'all were there').hexdigest()}"
    assert (made.person, made.done_on) == ("dana", date(2026, 11, 2))
    assert made.valid_until == date(2027, 11, 2)
    assert attestations(installation).valid == (made,)
    (event,) = installation.ledger.timeline("attestations")
    assert event.actor == "dana"


def test_later_attestation_replaces_an_earlier_one(installation: Installation) -> None:
    dana, lee = (person_signer(installation, name, PASSPHRASES[name]) for name in ("dana", "lee"))
    attest(installation, "device-review", dana, url=URL)
    newer = attest(installation, "device-review", lee, url=URL, valid_days=90)
    assert current_attestations(installation) == {"device-review": newer}
    assert newer.is_valid(TODAY + timedelta(days=90))
    assert not newer.is_valid(TODAY + timedelta(days=91))


def test_withdrawal_ends_every_attestation_of_subject(installation: Installation) -> None:
    dana = person_signer(installation, "dana", PASSPHRASES["dana"])
    with pytest.raises(UsageError):
        withdraw(installation, "training", dana)
    attest(installation, "training", dana, url=URL)
    attest(installation, "malware", dana, url=URL)
    withdraw(installation, "training", dana)
    assert [*current_attestations(installation)] == ["malware"]
    assert [made.is_withdrawn for made in attestations(installation).valid] == [False, True]
    again = attest(installation, "training", dana, url=URL)
    assert current_attestations(installation)["training"] == again


def test_invalid_attestation_is_refused(installation: Installation, tmp_path: Path) -> None:
    dana = person_signer(installation, "dana", PASSPHRASES["dana"])
    with pytest.raises(UsageError):
        attest(installation, "trainnig", dana, url=URL)
    with pytest.raises(UsageError):
        attest(installation, "training", dana)
    with pytest.raises(UsageError):
        attest(installation, "training", dana, url=f"{URL}?token=secret")
    with pytest.raises(UsageError):
        attest(installation, "training", dana, url=URL, done_on=TODAY + timedelta(days=1))
    with pytest.raises(StandfastError):
        attest(installation, "training", dana, file=tmp_path / "missing")
    with pytest.raises(ApprovalRefused):
        person_signer(installation, "dana", "another passphrase")
    assert attestations(installation).valid == ()
