"""The private keys of domains, as the owner makes them and wraps them to the custodians.

- A domain has a key pair in each generation.  Its private key exists in clear only in the memory of
  the deed that makes it, and of whoever restores.
- A new key record gets the next number; the ones before it lie there until they are superseded for
  good, and no longer count.
- Generations need not follow each other without a gap: one whose making was cut off is passed over.
"""

from collections.abc import Sequence

import pyrage

from backup.format.object_names import key_name, keys_of, next_number, number_in
from backup.format.root_record import DomainGrant, KeyRecord, RootRecord, key_to_bytes
from backup.ownership.custodian_public_key import Custodian, named_in, wrap
from backup.ownership.operation_plan import Put
from backup.ownership.owner_session import OwnerSession
from backup.stores import Store
from backup.trust.key_files import read_key_record


def active_domains(root: RootRecord) -> tuple[DomainGrant, ...]:
    """Every generation of every domain that is not erased, in order."""
    return tuple(
        sorted(
            (one for one in root.domains if one.erased is None),
            key=lambda one: (one.id, one.generation),
        )
    )


def key_of(office: OwnerSession, root: RootRecord, domain: DomainGrant) -> KeyRecord:
    """The key record that counts for a generation of a domain."""
    return read_key_record(office.key_store(), root, domain)


def custodians_of(record: KeyRecord) -> tuple[Custodian, ...]:
    """Who can open a key record."""
    return named_in(record.custodians, key_name(record.domain, record.generation, record.number))


def numbers_in_use(keys: Store, domain: str, generation: int) -> list[int]:
    """The numbers of the key records that lie there, whatever they hold."""
    prefix = keys_of(domain, generation)
    found = (number_in(stat.name, prefix) for stat in keys.list(prefix))
    return sorted(number for number in found if number is not None)


def free_generation(office: OwnerSession, root: RootRecord, domain: str) -> int:
    """The next generation of a domain: the lowest above all that are granted where nothing lies."""
    granted = [one.generation for one in root.domains if one.id == domain]
    prefix = f"k/{domain}/"
    lying = {
        number
        for stat in office.key_store().list(prefix)
        if (number := number_in(stat.name.rpartition("/")[0], prefix)) is not None
    }
    return next_number(prefix, max(granted, default=-1), lying)


def new_key(
    office: OwnerSession, domain: str, generation: int, custodians: Sequence[Custodian]
) -> tuple[DomainGrant, Put]:
    """A new private key for a generation of a domain, wrapped to the custodians."""
    private = pyrage.x25519.Identity.generate()
    recipient = str(private.to_public())
    numbers = numbers_in_use(office.key_store(), domain, generation)
    record = KeyRecord(
        repository=office.owner.repository,
        domain=domain,
        generation=generation,
        number=next_number(keys_of(domain, generation), -1, numbers),
        recipient=recipient,
        custodians=tuple(one.text for one in custodians),
        wrapped=wrap(str(private).encode(), custodians),
    )
    return DomainGrant(id=domain, generation=generation, recipient=recipient), put_key(
        office, record
    )


def put_key(office: OwnerSession, record: KeyRecord) -> Put:
    """The step that puts a key record."""
    return Put(
        where="keys",
        name=key_name(record.domain, record.generation, record.number),
        data=key_to_bytes(record, office.owner.key),
    )
