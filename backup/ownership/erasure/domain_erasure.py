"""Erasing a domain: two persons at least, and what is left is a certificate.

1. The owner signs an order; it holds a challenge for every custodian of the domain (see `attest`).
2. Each custodian opens his with the order before him, and gives an attestation back.
3. With all of them the owner carries it out: a root record says that the domain is erased, then its
   key records go from the key store and each known copy of it, then the certificate is written.

- The root record comes first.  Until it is there nothing has happened; from then on no writer
  builds on the domain and no reader opens it, and if the keys are still there `verify` says so and
  doing it again completes it.  The other way round, a crash would leave backups going on under a
  key that nobody has, and nobody could tell the erasure from a loss.
- Packs stay until their locks end; without the private key they are noise.
- An order holds for 30 days, and only while the domain has the same generations and custodians.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from backup.errors import BackupError, NotFound, UsageError, WrongKey
from backup.format import FORMAT
from backup.format.canonical_json import to_time
from backup.format.object_names import MAX_KEY_RECORD_BYTES, keys_of
from backup.format.record_link import Link, link_to_json
from backup.format.root_record import DomainGrant, RootRecord
from backup.ownership.attestation import challenge, is_answered
from backup.ownership.custodian_public_key import Custodian
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
from backup.ownership.operations.domain_keys import custodians_of
from backup.ownership.owner_session import OwnerSession, known_domain, next_root
from backup.stores.bounded_read import read_bounded
from backup.trust.key_files import parse_key_record
from backup.trust.root_chain import RootChain
from backup.trust.snapshot_history import read_history

VALID_FOR = timedelta(days=30)
_FEWEST_PERSONS = 2


def order_erasure(office: OwnerSession, *, domain: str, ordered_by: str, reason: str) -> bytes:
    """Sign an order to erase a domain; nothing is changed by it.

    `UsageError` when the domain is erased already or a text is missing.
    """
    check_line("who orders it", ordered_by)
    check_line("the reason", reason)
    trust = office.standing()
    generations = _generations(trust.root, domain)
    erased = generations[0].erased
    if erased is not None:
        raise UsageError(f"domain {domain} was erased on {erased:%Y-%m-%d}; nothing is left to do")
    moment = office.now()
    text = (
        f"I agree that domain {domain} of repository {office.owner.repository.hex()} is erased for"
        f" good: nobody will ever open what was backed up in it. Reason: {reason}."
        f" Ordered by {ordered_by} on {to_time(moment)}."
    )
    order = Order(
        repository=office.owner.repository,
        owner=office.owner.public,
        domain=domain,
        generations=tuple((one.generation, one.recipient) for one in generations),
        ordered_by=ordered_by,
        ordered_at=moment,
        reason=reason,
        text=text,
        challenges=tuple(
            challenge(one, kind=ORDER, text=text, random=office.random)
            for one in _holders(office, trust.root, domain)
        ),
    )
    return order_to_bytes(order, office.owner.key)


def erase(
    office: OwnerSession, *, order: Order, attestations: Sequence[Attestation], certificate: Path
) -> OperationResult:
    """Carry an order out, for good; the certificate is written as JSON, and beside it as text.

    `UsageError` while a custodian's attestation is missing, when only one person stands behind it
    all, or when the order no longer fits the repository.
    """
    path = certificate.absolute()
    request = {"order": order.sha256, "certificate": str(path)}

    def make(trust: RootChain) -> Plan:
        if (order.repository, order.owner) != (office.owner.repository, office.owner.public):
            raise WrongKey("this order is of another repository or owner")
        attested = _attested(order, attestations)
        moment = office.now()
        erased = [one for one in trust.root.domains if one.id == order.domain]
        done = next((one.erased for one in erased if one.erased is not None), None)
        steps: list[Step] = []
        if done is None:
            _check_that_it_fits(office, trust.root, order, moment)
            root, put = next_root(
                office,
                trust,
                moment,
                domains=tuple(
                    replace(one, erased=moment) if one.id == order.domain else one
                    for one in trust.root.domains
                ),
            )
            link = Link(number=root.number, sha256=hashlib.sha256(put.data).hexdigest())
            steps.append(put)
        elif _key_records(office, order.domain):
            link, moment = trust.links[-1], done
        else:
            raise UsageError(
                f"domain {order.domain} was erased on {done:%Y-%m-%d}, and no key of it is there"
            )
        value = _certificate(office, trust, order, attested, moment, link)
        text = certificate_text(value)
        steps += [
            Forget(prefix=_keys_of_domain(order.domain)),
            Create(path=path, data=certificate_to_bytes(value, office.owner.key)),
            Create(path=path.with_name(path.name + ".txt"), data=text.encode()),
        ]
        told = {
            "domain": order.domain,
            "erased_at": to_time(moment),
            "points": value["points"],
            "key_records": value["key_records"],
            "copies_to_destroy": value["copies_to_destroy"],
            "certificate": str(path),
            "certificate_text": str(path) + ".txt",
            "root": link.number,
        }
        return Plan(deed="erase", request=request, told=told, steps=tuple(steps))

    return office.do("erase", request, make)


def _generations(root: RootRecord, domain: str) -> list[DomainGrant]:
    known_domain(root, domain)
    found = [one for one in root.domains if one.id == domain]
    return sorted(found, key=lambda one: one.generation)


def _keys_of_domain(domain: str) -> str:
    return f"k/{domain}/"


def _key_records(office: OwnerSession, domain: str) -> list[dict[str, str]]:
    keys = office.key_store()
    records = [
        stat.name
        for stat in keys.list(_keys_of_domain(domain))
        if stat.size_bytes
        <= MAX_KEY_RECORD_BYTES  # what is larger is none of ours: it goes with the others
    ]
    return [
        {
            "name": name,
            "sha256": hashlib.sha256(read_bounded(keys, name, MAX_KEY_RECORD_BYTES)).hexdigest(),
        }
        for name in records
    ]


def _holders(office: OwnerSession, root: RootRecord, domain: str) -> tuple[Custodian, ...]:
    """Everyone who can open any key record of the domain that lies in the key store."""
    keys = office.key_store()
    found: dict[str, Custodian] = {}
    for grant in _generations(root, domain):
        for stat in keys.list(keys_of(domain, grant.generation)):
            try:
                record = parse_key_record(
                    read_bounded(keys, stat.name, MAX_KEY_RECORD_BYTES), root, grant, stat.name
                )
            except BackupError:
                continue  # no record of ours: it goes with the others
            found |= {one.recipient: one for one in custodians_of(record)}
    if not found:
        raise NotFound(
            f"there is no key record of domain {domain} in the key store, so nobody could attest:"
            " name the store that holds the domain keys"
        )
    return tuple(found[recipient] for recipient in sorted(found))


def _attested(order: Order, attestations: Sequence[Attestation]) -> list[Attestation]:
    """One attestation for each custodian; `UsageError` names who is missing."""
    given: list[Attestation] = []
    for one in order.challenges:
        answer = next(
            (
                attestation
                for attestation in attestations
                if attestation.order == order.sha256 and is_answered(one, attestation.nonce)
            ),
            None,
        )
        if answer is None:
            raise UsageError(
                f"the attestation of custodian {one.custodian.title} is missing: nothing was erased"
            )
        given.append(answer)
    persons = {order.ordered_by.strip().casefold()}
    persons |= {one.attested_by.strip().casefold() for one in given}
    if len(persons) < _FEWEST_PERSONS:
        raise UsageError(
            f"only {order.ordered_by} stands behind the order and its attestations:"
            " an erasure takes two persons at least"
        )
    return given


def _check_that_it_fits(
    office: OwnerSession, root: RootRecord, order: Order, moment: datetime
) -> None:
    if not timedelta(0) <= moment - order.ordered_at <= VALID_FOR:
        raise UsageError(
            f"the order is of {order.ordered_at:%Y-%m-%d} and holds for {VALID_FOR.days} days:"
            " order it again"
        )
    there = tuple((one.generation, one.recipient) for one in _generations(root, order.domain))
    asked = {one.custodian.recipient for one in order.challenges}
    now = {one.recipient for one in _holders(office, root, order.domain)}
    if there != order.generations or not now <= asked:
        raise UsageError(
            f"domain {order.domain} has other generations or custodians than when this was ordered:"
            " order it again, so that everyone attests who is one now"
        )


def _certificate(
    office: OwnerSession,
    trust: RootChain,
    order: Order,
    attested: Sequence[Attestation],
    moment: datetime,
    root: Link,
) -> Certificate:
    names = {one.sha256: one.custodian.text for one in order.challenges}
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
                "custodian": names[hashlib.sha256(one.nonce).hexdigest()],
                "attested_by": one.attested_by,
                "attested_at": to_time(one.attested_at),
                "nonce": one.nonce.hex(),
            }
            for one in attested
        ],
        "erased_at": to_time(moment),
        "root": link_to_json(root),
        "key_records": _key_records(office, order.domain),
        "copies_to_destroy": [
            {"copy": one.name, "seen": to_time(one.seen)}
            for one in office.copies_away
            if any(key.partition("/")[0] == order.domain for key in one.keys)
        ]
        + [{"copy": name, "seen": "never"} for name in office.copies_unseen],
        "points": sum(
            slot.snapshot is not None and slot.snapshot.domain == order.domain
            for writer in trust.root.writer_ids
            for slot in read_history(office.vault, trust, writer)
        ),
    }
