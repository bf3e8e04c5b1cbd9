"""Attestations of work: signed, valid for days, verified, withdrawn.

An attestation is a statement of an enrolled person (with a passphrase or passkey) that some work
was done, for example a training.

Rules
- An attestation names its subject, the person, the day of the work, the last day of its validity,
  and its evidence: the SHA-256 of a file, or a web address. The file itself is not stored.
- The person signs the attestation. It is stored as an event of the audit chain, a list of events in
  which each event contains the hash of the event before it. No later event changes it.
- An attestation is accepted only if the audit chain confirms two events: the attestation, and the
  enrolment of the person with the public key. An attestation that was forged or changed in the
  database is reported.
- A later attestation replaces an earlier attestation of the same subject. A withdrawal ends all
  earlier attestations of the subject.
- An attestation is only a claim of its person: no report shows it as a measured result.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from standfast.config.value_types import web_address
from standfast.errors import Damaged, StandfastError, UsageError
from standfast.ledger.people.people_changes import Signer
from standfast.local_time import day
from standfast.records import JsonObject, canonical, timestamp
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation

VALID_DAYS = 365  # the same period as for the test of a plan (see `recency_checks`)

_SUBJECT = "attestations"
_ADDED, _WITHDRAWN = "attestation.added", "attestation.withdrawn"
_CONTEXT = b"standfast attestation v1\n"


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """One attestation, with the person that signed it."""

    subject: str
    person: str
    done_on: date
    valid_until: date  # the last day of validity
    evidence: str  # "sha256:…" or a web address
    signed_at: datetime
    is_withdrawn: bool = False

    def is_valid(self, today: date) -> bool:
        """Return whether the attestation is valid today."""
        return not self.is_withdrawn and today <= self.valid_until

    def as_json(self, today: date) -> JsonObject:
        """Return the JSON form."""
        return {
            "subject": self.subject,
            "person": self.person,
            "done_on": self.done_on.isoformat(),
            "valid_until": self.valid_until.isoformat(),
            "evidence": self.evidence,
            "signed_at": timestamp(self.signed_at),
            "is_withdrawn": self.is_withdrawn,
            "is_valid": self.is_valid(today),
        }


@dataclass(frozen=True, kw_only=True)
class Attestations:
    """Attestations with a valid signature, and events without."""

    valid: tuple[Attestation, ...]  # newest first, including expired and withdrawn attestations
    problems: tuple[str, ...]  # events that were rejected, with the reason


def attest(
    installation: Installation,
    subject: str,
    signer: Signer,
    *,
    file: Path | None = None,
    url: str | None = None,
    done_on: date | None = None,
    valid_days: int = VALID_DAYS,
) -> Attestation:
    """Record and return an attestation of work on `done_on`, by default today.

    Raise UsageError for a day in the future.
    """
    refuse_unknown_subject(installation, subject)
    today = today_of(installation)
    done_on = done_on or today
    if done_on > today:
        raise UsageError(f"day {done_on}: it is in the future. Attest work when it is done.")
    statement: JsonObject = {
        "subject": subject,
        "person": signer.name,
        "done_on": done_on.isoformat(),
        "valid_until": (done_on + timedelta(days=valid_days)).isoformat(),
        "evidence": _evidence(file, url),
    }
    _record(installation, _ADDED, statement, signer)
    return attestations(installation).valid[0]


def withdraw(installation: Installation, subject: str, signer: Signer) -> None:
    """End all attestations of a subject; raise UsageError if there is none."""
    refuse_unknown_subject(installation, subject)
    if not any(
        found.subject == subject and not found.is_withdrawn
        for found in attestations(installation).valid
    ):
        raise UsageError(f"attestation of {subject}: there is none. Nothing to withdraw.")
    _record(installation, _WITHDRAWN, {"subject": subject, "person": signer.name}, signer)


def attestations(installation: Installation) -> Attestations:
    """Verify all attestations; return them, newest first."""
    key_of = cache(installation.ledger.people.verified_key)
    found: list[Attestation] = []
    withdrawn: set[str] = set()
    events, forged = installation.ledger.audit.sealed_timeline(_SUBJECT)
    problems = [f"event {sequence}: forged or changed in the database" for sequence in forged]
    for event in reversed(events):
        statement = {key: str(value) for key, value in event.detail.items() if key != "signature"}
        try:
            _verify(statement, str(event.detail["signature"]), key_of(statement["person"]))
        except Damaged as error:
            problems.append(f"event {event.sequence}, {statement['subject']}: {error}")
            continue
        if event.action == _WITHDRAWN:
            withdrawn.add(statement["subject"])
            continue
        found.append(
            Attestation(
                subject=statement["subject"],
                person=statement["person"],
                done_on=date.fromisoformat(statement["done_on"]),
                valid_until=date.fromisoformat(statement["valid_until"]),
                evidence=statement["evidence"],
                signed_at=event.at,
                is_withdrawn=statement["subject"] in withdrawn,
            )
        )
    return Attestations(valid=tuple(found), problems=tuple(problems))


def current_attestations(installation: Installation) -> dict[str, Attestation]:
    """Return the newest attestation of each subject, even if it has expired."""
    newest: dict[str, Attestation] = {}
    for found in attestations(installation).valid:
        if not found.is_withdrawn:
            newest.setdefault(found.subject, found)
    return newest


def refuse_unknown_subject(installation: Installation, subject: str) -> None:
    """Raise UsageError for a subject that is neither built in nor configured."""
    known = installation.config.continuity.all_subjects
    if subject not in known:
        raise UsageError(
            f"subject {subject!r}: unknown; {known_names_hint(subject, known)}. Add your own "
            "subject to continuity.subjects."
        )


def today_of(installation: Installation) -> date:
    """Return today's date in the organisation's time zone."""
    return day(installation.clock(), installation.config.organisation.time_zone)


def _evidence(file: Path | None, url: str | None) -> str:
    if file is not None and url is None:
        return f"sha256:{_digest(file)}"
    if url is None or file is not None:
        raise UsageError("evidence: exactly one is needed. Give a file or a web address.")
    try:
        return web_address(url)
    except ValueError as error:
        raise UsageError(f"evidence: {error}.") from None


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StandfastError(f"{file}: {error.strerror}. Name a file that you can read.") from error


def _record(installation: Installation, action: str, statement: JsonObject, signer: Signer) -> None:
    signature = signer.key.sign(_CONTEXT + canonical(statement)).hex()
    _verify(statement, signature, installation.ledger.people.verified_key(signer.name))
    detail = {**statement, "signature": signature}
    replace(installation, actor=signer.name).record_event(_SUBJECT, action, detail)


def _verify(statement: JsonObject, signature: str, public_key: str) -> None:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), _CONTEXT + canonical(statement))
    except (ValueError, InvalidSignature):
        raise Damaged(
            f"signature of {statement['person']!r}: not valid. Run `standfast audit verify`."
        ) from None
