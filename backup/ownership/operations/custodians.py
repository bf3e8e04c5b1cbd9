"""Owner operations on custodians: add a custodian, retire a custodian.

- A custodian is a person that can decrypt backups. A domain is a group of backup sets that share
  one key, and a generation is one key pair of a domain. A key record contains the private key of
  one generation, encrypted to the custodians.
- Both operations need the signing key of the owner and the identity (the private key) of a current
  custodian. The identity decrypts the keys of the domains, and the operation encrypts them again to
  other custodians.
- If a custodian is added, the key of every generation is encrypted again to all custodians, in a
  key record with a new number.
- If a custodian is retired, every domain gets a new generation with a key that this custodian
  cannot decrypt. The older keys are encrypted again to the remaining custodians. The key records
  that the retired custodian could open are removed.
- A key cannot be withdrawn. A retired custodian may have kept the key of an older generation, and
  can then decrypt the backups of this generation from any copy of the packs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyrage

from backup.errors import NotFound, UsageError, WrongKey
from backup.format.object_names import key_name, key_prefix, next_number
from backup.format.root_record import DomainGrant, KeyRecord, RootRecord
from backup.ownership.custodian_public_key import Custodian, wrap
from backup.ownership.operation_plan import Forget, OperationResult, Plan, Put, Step
from backup.ownership.operations.domains import (
    active_domains,
    current_key_record,
    free_generation,
    new_key,
    numbers_in_use,
    put_key,
    record_custodians,
)
from backup.ownership.owner_session import OwnerSession, next_root
from backup.trust.key_files import Identity, open_domains
from backup.trust.root_chain import RootChain


def add_custodian(
    session: OwnerSession, *, custodian: Custodian, identity: Identity
) -> OperationResult:
    """Add a custodian to every domain, for old and new recovery points.

    If a custodian with this public key exists, only change the custodian's name.
    """
    request = {"custodian": custodian.text}

    def make_plan(trust: RootChain) -> Plan:
        opened = _open_all_keys(session, trust.root, identity)
        steps: list[Step] = []
        for domain, record in _records(session, trust.root):
            holders = record_custodians(record)
            rest = tuple(item for item in holders if item.recipient != custodian.recipient)
            known = next((item for item in holders if item not in rest), None)
            if known is None or custodian.name not in ("", known.name):
                steps.append(_rewrap(session, record, (*rest, custodian), opened[domain]))
        if not steps:
            raise UsageError(
                f"custodian {custodian.title}: already a custodian of every domain. Nothing was"
                " changed."
            )
        result = {
            "custodian": custodian.text,
            "key_records": [step.name for step in steps if isinstance(step, Put)],
        }
        return Plan(operation="add-custodian", request=request, result=result, steps=tuple(steps))

    return session.run("add-custodian", request, make_plan)


def retire_custodian(session: OwnerSession, *, name: str, identity: Identity) -> OperationResult:
    """Retire a custodian: its key cannot open future backups.

    `name` is the custodian's public key, fingerprint or unique name. `identity` is the identity of
    a remaining custodian.
    """
    request = {"custodian": name}

    def make_plan(trust: RootChain) -> Plan:
        records = _records(session, trust.root)
        leaving = _find_custodian(
            name, [item for _, record in records for item in record_custodians(record)]
        )
        opened = _open_all_keys(session, trust.root, identity)
        stays = _stay_rule(leaving)
        _check_identity_stays(identity, stays)
        new_grants: list[DomainGrant] = []
        puts: list[Step] = []
        forgets: list[Step] = []
        generations: dict[str, int] = {}
        for domain, record in records:
            holders = record_custodians(record)
            rest = tuple(item for item in holders if stays(item))
            if not rest:
                raise UsageError(
                    f"custodian {leaving.title}: the only custodian of domain {domain[0]}. Add "
                    "another custodian first, or nobody could restore the domain."
                )
            if len(rest) < len(holders):
                put = _rewrap(session, record, rest, opened[domain])
                puts.append(put)
                forgets.append(_forget_superseded(session, record))
            newest = trust.root.domain(record.domain)
            if newest is not None and newest.generation == record.generation:
                generation = free_generation(session, trust.root, record.domain)
                grant, put = new_key(session, record.domain, generation, rest)
                new_grants.append(grant)
                puts.append(put)
                generations[record.domain] = generation
        root, put_root = next_root(
            session, trust, session.now(), domains=(*trust.root.domains, *new_grants)
        )
        result = {
            "custodian": leaving.text,
            "generations": generations,
            "key_records_removed": [
                key_prefix(*item)
                for item, record in records
                if not all(map(stays, record_custodians(record)))
            ],
            "copies_to_clean": [
                *(item.name for item in session.copies_away),
                *session.copies_unseen,
            ],
            "root": root.number,
        }
        return Plan(
            operation="retire-custodian",
            request=request,
            result=result,
            steps=(*puts, put_root, *forgets),
        )

    return session.run("retire-custodian", request, make_plan)


_Domain = tuple[str, int]


def _records(session: OwnerSession, root: RootRecord) -> list[tuple[_Domain, KeyRecord]]:
    return [
        ((item.id, item.generation), current_key_record(session, root, item))
        for item in active_domains(root)
    ]


def _open_all_keys(
    session: OwnerSession, root: RootRecord, identity: Identity
) -> dict[_Domain, pyrage.x25519.Identity]:
    opened = open_domains(root, session.key_store(), identity)
    missing = [
        f"{item.id}, generation {item.generation}"
        for item in active_domains(root)
        if (item.id, item.generation) not in opened
    ]
    if missing:
        raise WrongKey(
            f"identity: it does not open {missing[0]}, and every key is encrypted again in one "
            "ceremony. Use the identity of a custodian that opens every key."
        )
    return opened


def _rewrap(
    session: OwnerSession,
    record: KeyRecord,
    holders: Sequence[Custodian],
    key: pyrage.x25519.Identity,
) -> Put:
    numbers = numbers_in_use(session.key_store(), record.domain, record.generation)
    return put_key(
        session,
        replace(
            record,
            number=next_number(
                key_prefix(record.domain, record.generation), record.number, numbers
            ),
            custodians=tuple(item.text for item in holders),
            wrapped=wrap(str(key).encode(), holders),
        ),
    )


def _forget_superseded(session: OwnerSession, record: KeyRecord) -> Forget:
    numbers = numbers_in_use(session.key_store(), record.domain, record.generation)
    return Forget(
        prefix=key_prefix(record.domain, record.generation),
        names=tuple(key_name(record.domain, record.generation, number) for number in numbers),
    )


def _find_custodian(name: str, custodians: Sequence[Custodian]) -> Custodian:
    if not name.strip():  # an empty name would match a custodian without a name
        raise UsageError("custodian: none was given. Give a name or a public key.")
    matching = {
        item.recipient: item
        for item in custodians
        if name.strip() in (item.recipient, item.name, item.text, item.fingerprint)
    }
    if not matching:
        names = "; ".join(sorted({item.title for item in custodians}))
        raise NotFound(f"custodian {name!r}: unknown. Choose one of: {names}.")
    if len(matching) > 1:
        raise UsageError(
            f"custodian {name!r}: several custodians have this name. Give the public key."
        )
    return next(iter(matching.values()))


def _stay_rule(leaving: Custodian) -> Callable[[Custodian], bool]:
    return lambda item: item.recipient != leaving.recipient


def _check_identity_stays(identity: Identity, stays: Callable[[Custodian], bool]) -> None:
    """Raise `UsageError` if an identity belongs to the retired custodian."""
    # The public key of an X25519 identity can be computed. For other identities it cannot.
    public_keys = [
        str(key.to_public()) for key in identity.keys if isinstance(key, pyrage.x25519.Identity)
    ]
    if public_keys and not any(stays(Custodian(recipient=item)) for item in public_keys):
        raise UsageError(
            "identity: it belongs to the custodian that is being retired. Use the identity of "
            "a remaining custodian."
        )
