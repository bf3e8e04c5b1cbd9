"""Erasure of a domain: the order, its attestations and its execution.

A domain is a group of backup sets that share one key and are erased together. Its backups are
erased by the removal of its key records, which contain the encrypted private keys.

1. The owner, the person with the offline signing key, signs an order. The order contains a
   challenge (an encrypted secret number) for every custodian, a person that can decrypt the backups
   of the domain.
2. Each custodian reads the order, decrypts the challenge in it and returns an attestation: the
   consent to the erasure, with the decrypted number as proof.
3. With all attestations, the owner executes the order. A new root record (the owner's signed list
   of hosts and keys) marks the domain as erased. Then its key records are removed from the key
   store and each reachable copy of it. Then the certificate is written.

Rules
- The root record is put first. Until it exists, nothing has changed. After that, no backup host
  uses the domain and no reader opens it. If a crash leaves key records, `verify` reports them, and
  a repeated erasure removes them.
- If the key records were removed first, a crash could leave backup hosts that encrypt to a key that
  nobody has. Nobody could then distinguish the erasure from a loss of the keys.
- Packs remain until their Object Lock ends. Without the private key, nobody can decrypt them.
- An order is valid for 30 days, and only while the domain has the keys that the order names and no
  new custodian.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from backup.errors import BackupError, NotFound, UsageError, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_time
from backup.format.object_names import MAX_KEY_RECORD_BYTES, key_prefix
from backup.format.record_link import Link, link_to_json
from backup.format.root_record import DomainGrant, RootRecord
from backup.ownership.custodian_public_key import Custodian
from backup.ownership.decryption_challenge import is_answered, new_challenge
from backup.ownership.erasure.erasure_certificate import (
    CERTIFICATE,
    Certificate,
    certificate_text,
    certificate_to_bytes,
)
from backup.ownership.erasure.erasure_order import (
    ORDER,
    Attestation,
    Order,
    check_line,
    order_to_bytes,
)
from backup.ownership.operation_plan import Create, Forget, OperationResult, Plan, Step
from backup.ownership.operations.domains import record_custodians
from backup.ownership.owner_session import OwnerSession, known_domain, next_root
from backup.stores.bounded_read import read_bounded
from backup.trust.key_files import parse_key_record
from backup.trust.root_chain import RootChain
from backup.trust.snapshot_slots import read_history

VALID_FOR = timedelta(days=30)
_FEWEST_PERSONS = 2


def order_erasure(session: OwnerSession, *, domain: str, ordered_by: str, reason: str) -> bytes:
    """Sign an order to erase a domain; the order itself erases nothing.

    Raise `UsageError` if the domain is already erased or a text is missing.
    """
    check_line("name of the person that orders the erasure", ordered_by)
    check_line("reason for the erasure", reason)
    trust = session.load_trust()
    generations = _generations(trust.root, domain)
    erased = generations[0].erased
    if erased is not None:
        raise UsageError(
            f"domain {domain}: it was erased on {erased:%Y-%m-%d}. Nothing is left to do."
        )
    moment = session.now()
    text = (
        f"I agree that domain {domain} of repository {session.owner.repository.hex()} is erased for"
        f" good: nobody will ever open what was backed up in it. Reason: {reason}."
        f" Ordered by {ordered_by} on {to_time(moment)}."
    )
    order = Order(
        repository=session.owner.repository,
        owner=session.owner.public,
        domain=domain,
        generations=tuple((grant.generation, grant.recipient) for grant in generations),
        ordered_by=ordered_by,
        ordered_at=moment,
        reason=reason,
        text=text,
        challenges=tuple(
            new_challenge(item, kind=ORDER, text=text, random=session.random)
            for item in _custodians_of_domain(session, trust.root, domain)
        ),
    )
    return order_to_bytes(order, session.owner.key)


def erase(
    session: OwnerSession, *, order: Order, attestations: Sequence[Attestation], certificate: Path
) -> OperationResult:
    """Execute an order irrevocably and write the certificate.

    The certificate is written as JSON and, in a second file, as text. Raise `UsageError` if an
    attestation is missing, if one person signed the order and all attestations, or if the domain
    has changed since the order.
    """
    path = certificate.absolute()
    request = {"order": order.sha256, "certificate": str(path)}

    def make_plan(trust: RootChain) -> Plan:
        if (order.repository, order.owner) != (session.owner.repository, session.owner.public):
            raise WrongKey(
                "order: it is of another repository or owner. Use an order of this repository."
            )
        given_attestations = _match_attestations(order, attestations)
        moment = session.now()
        erased = [item for item in trust.root.domains if item.id == order.domain]
        done = next((item.erased for item in erased if item.erased is not None), None)
        steps: list[Step] = []
        if done is None:
            _check_order_fits(session, trust.root, order, moment)
            root, put = next_root(
                session,
                trust,
                moment,
                domains=tuple(
                    replace(item, erased=moment) if item.id == order.domain else item
                    for item in trust.root.domains
                ),
            )
            link = Link(number=root.number, sha256=hashlib.sha256(put.data).hexdigest())
            steps.append(put)
        elif _remaining_key_records(session, order.domain):
            link, moment = trust.links[-1], done
        else:
            raise UsageError(
                f"domain {order.domain}: it was erased on {done:%Y-%m-%d}, and no key is left."
                " Nothing is left to do."
            )
        value = _certificate(session, trust, order, given_attestations, moment, link)
        text = certificate_text(value)
        steps += [
            Forget(prefix=_keys_of_domain(order.domain)),
            Create(path=path, data=certificate_to_bytes(value, session.owner.key)),
            Create(path=path.with_name(path.name + ".txt"), data=text.encode()),
        ]
        result = {
            "domain": order.domain,
            "erased_at": to_time(moment),
            "points": value["points"],
            "key_records": value["key_records"],
            "copies_to_destroy": value["copies_to_destroy"],
            "certificate": str(path),
            "certificate_text": str(path) + ".txt",
            "root": link.number,
        }
        return Plan(operation="erase", request=request, result=result, steps=tuple(steps))

    return session.run("erase", request, make_plan)


def _generations(root: RootRecord, domain: str) -> list[DomainGrant]:
    known_domain(root, domain)
    found = [item for item in root.domains if item.id == domain]
    return sorted(found, key=lambda item: item.generation)


def _keys_of_domain(domain: str) -> str:
    return f"k/{domain}/"


def _remaining_key_records(session: OwnerSession, domain: str) -> list[dict[str, str]]:
    keys = session.key_store()
    records = [
        stat.name
        for stat in keys.list(_keys_of_domain(domain))
        # A larger object is not a key record; it is removed, but not listed.
        if stat.size_bytes <= MAX_KEY_RECORD_BYTES
    ]
    return [
        {
            "name": name,
            "sha256": hashlib.sha256(read_bounded(keys, name, MAX_KEY_RECORD_BYTES)).hexdigest(),
        }
        for name in records
    ]


def _custodians_of_domain(
    session: OwnerSession, root: RootRecord, domain: str
) -> tuple[Custodian, ...]:
    """Return the custodians of every key record of the domain."""
    keys = session.key_store()
    by_key: dict[str, Custodian] = {}
    for grant in _generations(root, domain):
        for stat in keys.list(key_prefix(domain, grant.generation)):
            try:
                record = parse_key_record(
                    read_bounded(keys, stat.name, MAX_KEY_RECORD_BYTES), root, grant, stat.name
                )
            except BackupError:
                continue  # not a valid key record; the erasure removes it too
            by_key |= {item.recipient: item for item in record_custodians(record)}
    if not by_key:
        raise NotFound(
            f"domain {domain}: the key store has no key record of it, so nobody could attest."
            " Name the store that has the domain keys."
        )
    return tuple(by_key[recipient] for recipient in sorted(by_key))


def _match_attestations(order: Order, attestations: Sequence[Attestation]) -> list[Attestation]:
    """Return the attestation of each custodian in the order.

    Raise `UsageError` if an attestation is missing, or if one person signed the order and all
    attestations.
    """
    matched: list[Attestation] = []
    for item in order.challenges:
        answer = next(
            (
                attestation
                for attestation in attestations
                if attestation.order == order.sha256 and is_answered(item, attestation.nonce)
            ),
            None,
        )
        if answer is None:
            raise UsageError(
                f"custodian {item.custodian.title}: the attestation is missing; nothing was erased."
                " Get it first."
            )
        matched.append(answer)
    persons = {order.ordered_by.strip().casefold()}
    persons |= {item.attested_by.strip().casefold() for item in matched}
    if len(persons) < _FEWEST_PERSONS:
        raise UsageError(
            f"erasure: one person, {order.ordered_by}, signed the order and all attestations. At "
            "least two persons must take part."
        )
    return matched


def _check_order_fits(
    session: OwnerSession, root: RootRecord, order: Order, moment: datetime
) -> None:
    if not timedelta(0) <= moment - order.ordered_at <= VALID_FOR:
        raise UsageError(
            f"order: it is of {order.ordered_at:%Y-%m-%d} and valid for {VALID_FOR.days} days."
            " Order the erasure again."
        )
    generations = tuple(
        (item.generation, item.recipient) for item in _generations(root, order.domain)
    )
    challenged = {item.custodian.recipient for item in order.challenges}
    current = {item.recipient for item in _custodians_of_domain(session, root, order.domain)}
    if generations != order.generations or not current <= challenged:
        raise UsageError(
            f"domain {order.domain}: its generations or custodians changed since the order. Order"
            " the erasure again, so that every present custodian attests."
        )


def _certificate(
    session: OwnerSession,
    trust: RootChain,
    order: Order,
    attestations: Sequence[Attestation],
    moment: datetime,
    root: Link,
) -> Certificate:
    names = {item.sha256: item.custodian.text for item in order.challenges}
    return {
        "format": FORMAT,
        "kind": CERTIFICATE,
        "repository": order.repository.hex(),
        "owner": order.owner.hex(),
        "domain": order.domain,
        "generations": [[number, recipient] for number, recipient in order.generations],
        "reason": order.reason,
        "ordered_by": order.ordered_by,
        "ordered_at": to_time(order.ordered_at),
        "order": order.sha256,
        "attestations": [
            {
                "custodian": names[hashlib.sha256(item.nonce).hexdigest()],
                "attested_by": item.attested_by,
                "attested_at": to_time(item.attested_at),
                "nonce": item.nonce.hex(),
            }
            for item in attestations
        ],
        "erased_at": to_time(moment),
        "root": link_to_json(root),
        "key_records": _remaining_key_records(session, order.domain),
        "copies_to_destroy": [
            {"copy": item.name, "seen": to_time(item.seen)}
            for item in session.copies_away
            if any(key.partition("/")[0] == order.domain for key in item.keys)
        ]
        + [{"copy": name, "seen": "never"} for name in session.copies_unseen],
        "points": sum(
            slot.snapshot is not None and slot.snapshot.domain == order.domain
            for writer in trust.root.writer_ids
            for slot in read_history(session.vault, trust, writer)
        ),
    }
