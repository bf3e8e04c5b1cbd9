"""Private keys of domains: creation and encryption to the custodians.

- A domain is a group of backup sets that share one key. It has a new key pair in each generation.
  The private key exists unencrypted only in memory: in operations of the owner that create it or
  encrypt it again, and in a restore.
- A key record contains a private key, encrypted to the custodians (the people that can decrypt
  backups). A new key record has a higher number than all earlier key records of its generation, and
  replaces them. The earlier records remain in the key store until an operation removes them.
- Generation numbers may have gaps, because the number of an interrupted operation is skipped.
"""

from collections.abc import Sequence

import pyrage

from backup.format.object_names import key_name, key_prefix, next_number, parse_number
from backup.format.root_record import DomainGrant, KeyRecord, RootRecord, key_to_bytes
from backup.ownership.custodian_public_key import Custodian, parse_custodians, wrap
from backup.ownership.operation_plan import Put
from backup.ownership.owner_session import OwnerSession
from backup.stores import Store
from backup.trust.key_files import read_key_record


def active_domains(root: RootRecord) -> tuple[DomainGrant, ...]:
    """Return every generation of every domain that is not erased, in order."""
    return tuple(
        sorted(
            (grant for grant in root.domains if grant.erased is None),
            key=lambda grant: (grant.id, grant.generation),
        )
    )


def current_key_record(session: OwnerSession, root: RootRecord, domain: DomainGrant) -> KeyRecord:
    """Return the key record that is in force for a generation."""
    return read_key_record(session.key_store(), root, domain)


def record_custodians(record: KeyRecord) -> tuple[Custodian, ...]:
    """Return the custodians that can open a key record."""
    return parse_custodians(
        record.custodians, key_name(record.domain, record.generation, record.number)
    )


def numbers_in_use(keys: Store, domain: str, generation: int) -> list[int]:
    """Return the numbers of all stored key records, valid or not."""
    prefix = key_prefix(domain, generation)
    found = (parse_number(stat.name, prefix) for stat in keys.list(prefix))
    return sorted(number for number in found if number is not None)


def free_generation(session: OwnerSession, root: RootRecord, domain: str) -> int:
    """Return the next unused generation number of a domain.

    The number is higher than all generations in the root record (the owner's list of keys), and no
    object in the key store has it.
    """
    granted = [grant.generation for grant in root.domains if grant.id == domain]
    prefix = f"k/{domain}/"
    used = {
        number
        for stat in session.key_store().list(prefix)
        if (number := parse_number(stat.name.rpartition("/")[0], prefix)) is not None
    }
    return next_number(prefix, max(granted, default=-1), used)


def new_key(
    session: OwnerSession, domain: str, generation: int, custodians: Sequence[Custodian]
) -> tuple[DomainGrant, Put]:
    """Create a key pair; return its grant, and the step that puts its record.

    The grant is the entry for the root record.
    """
    private = pyrage.x25519.Identity.generate()
    recipient = str(private.to_public())
    numbers = numbers_in_use(session.key_store(), domain, generation)
    record = KeyRecord(
        repository=session.owner.repository,
        domain=domain,
        generation=generation,
        number=next_number(key_prefix(domain, generation), -1, numbers),
        recipient=recipient,
        custodians=tuple(custodian.text for custodian in custodians),
        wrapped=wrap(str(private).encode(), custodians),
    )
    return DomainGrant(id=domain, generation=generation, recipient=recipient), put_key(
        session, record
    )


def put_key(session: OwnerSession, record: KeyRecord) -> Put:
    """Return the step that puts a key record."""
    return Put(
        where="keys",
        name=key_name(record.domain, record.generation, record.number),
        data=key_to_bytes(record, session.owner.key),
    )
