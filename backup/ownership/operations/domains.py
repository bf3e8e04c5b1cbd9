"""Owner operations on domains: add a domain, add a key generation.

A domain is a group of backup sets that share one key. A generation is one key pair of a domain.

An operation puts two records, signed by the owner (the person with the offline signing key): a root
record, the list of public keys to which hosts encrypt, and a key record, which contains the
encrypted private key. The key record is put first. Otherwise a crash could leave a root record that
names a key without a key record. Hosts would encrypt to this key, and nobody could restore.

- The private key exists unencrypted only in memory: in operations of the owner that create it or
  encrypt it again, and in a restore.
- A key record contains a private key, encrypted to the custodians (the people that can decrypt
  backups). A new key record has a higher number than all earlier key records of its generation, and
  is used instead of them. The earlier records remain in the key store (the folder of the key
  records) until an operation removes them.
- Generation numbers can have gaps, because a number that an interrupted operation used is not used
  again.
"""

from collections.abc import Sequence

import pyrage

from backup.errors import UsageError
from backup.format.object_names import key_name, key_prefix, next_number, parse_number
from backup.format.root_record import DomainGrant, KeyRecord, RootRecord, key_to_bytes
from backup.ownership.custodian_public_key import Custodian, parse_custodians, wrap
from backup.ownership.operation_plan import OperationResult, Plan, Put
from backup.ownership.owner_session import OwnerSession, check_name, known_domain, next_root
from backup.stores import Store
from backup.trust.key_files import read_key_record
from backup.trust.root_chain import RootChain


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


def add_domain(
    session: OwnerSession, *, name: str, custodians: Sequence[Custodian] = ()
) -> OperationResult:
    """Add an erasure domain.

    Without `custodians`, the new domain gets the custodians of the other domains. Raise
    `UsageError` if the other domains have different custodians.
    """
    check_name("domain", name)
    request = {"domain": name, "custodians": ", ".join(custodian.text for custodian in custodians)}

    def make_plan(trust: RootChain) -> Plan:
        known = trust.root.domain(name)
        if known is not None:
            problem = (
                "it was erased, and its name cannot be reused" if known.erased else "it exists"
            )
            raise UsageError(f"domain {name}: {problem}. Choose another name.")
        key_custodians = tuple(custodians) or _common_custodians(session, trust.root)
        result, steps = _grant_new_key(session, trust, name, key_custodians)
        return Plan(operation="add-domain", request=request, result=result, steps=steps)

    return session.run("add-domain", request, make_plan)


def new_generation(session: OwnerSession, *, domain: str) -> OperationResult:
    """Create a new key for a domain's future backups, for the same custodians."""
    request = {"domain": domain}

    def make_plan(trust: RootChain) -> Plan:
        newest = known_domain(trust.root, domain)
        if newest.erased is not None:
            raise UsageError(
                f"domain {domain}: it is erased and gets no new key. Choose another domain."
            )
        key_custodians = record_custodians(current_key_record(session, trust.root, newest))
        result, steps = _grant_new_key(session, trust, domain, key_custodians)
        return Plan(operation="new-generation", request=request, result=result, steps=steps)

    return session.run("new-generation", request, make_plan)


def _grant_new_key(
    session: OwnerSession, trust: RootChain, domain: str, key_custodians: Sequence[Custodian]
) -> tuple[OperationResult, tuple[Put, Put]]:
    """Return the result, and the steps that put key record and root record."""
    generation = free_generation(session, trust.root, domain)
    grant, put_key = new_key(session, domain, generation, key_custodians)
    record, put = next_root(session, trust, session.now(), domains=(*trust.root.domains, grant))
    result = {
        "domain": domain,
        "generation": generation,
        "custodians": [custodian.text for custodian in key_custodians],
        "root": record.number,
    }
    return result, (put_key, put)


def _common_custodians(session: OwnerSession, root: RootRecord) -> tuple[Custodian, ...]:
    # Generations are in order, so the dictionary keeps the newest generation of each domain.
    newest = {grant.id: grant for grant in active_domains(root)}
    by_domain = {
        name: record_custodians(current_key_record(session, root, grant))
        for name, grant in newest.items()
    }
    keys = {
        frozenset(custodian.recipient for custodian in key_custodians)
        for key_custodians in by_domain.values()
    }
    if len(keys) != 1:
        raise UsageError(
            "custodians: they differ between the domains, or no domain has a custodian. Name "
            "the custodians of the new domain with --recipient."
        )
    return next(iter(by_domain.values()))
