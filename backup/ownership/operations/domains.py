"""The owner's deeds on domains: a new domain, and a new generation of a domain's key.

- The key record comes first: a root record that names a key which nobody can open would make
  backups that nobody can restore.
"""

from collections.abc import Sequence

from backup.errors import UsageError
from backup.format.root_record import RootRecord
from backup.ownership.custodian_public_key import Custodian
from backup.ownership.operation_plan import OperationResult, Plan, Put
from backup.ownership.operations.domain_keys import (
    active_domains,
    custodians_of,
    free_generation,
    key_of,
    new_key,
)
from backup.ownership.owner_session import OwnerSession, check_name, known_domain, next_root
from backup.trust.root_chain import RootChain


def add_domain(
    office: OwnerSession, *, name: str, custodians: Sequence[Custodian] = ()
) -> OperationResult:
    """Add an erasure domain; without custodians, those of the other domains hold its key.

    `UsageError` when those differ, so that none is guessed.
    """
    check_name("domain", name)
    request = {"domain": name, "custodians": ", ".join(one.text for one in custodians)}

    def make(trust: RootChain) -> Plan:
        known = trust.root.domain(name)
        if known is not None:
            was = "was erased, and its name is used up" if known.erased else "is there already"
            raise UsageError(f"domain {name} {was}; take another name")
        holders = tuple(custodians) or _custodians_of_all(office, trust.root)
        told, steps = _with_new_key(office, trust, name, holders)
        return Plan(deed="add-domain", request=request, told=told, steps=steps)

    return office.do("add-domain", request, make)


def new_generation(office: OwnerSession, *, domain: str) -> OperationResult:
    """Give a domain a new key for what is backed up from now on; the custodians stay."""
    request = {"domain": domain}

    def make(trust: RootChain) -> Plan:
        newest = known_domain(trust.root, domain)
        if newest.erased is not None:
            raise UsageError(f"domain {domain} is erased: it gets no new key")
        holders = custodians_of(key_of(office, trust.root, newest))
        told, steps = _with_new_key(office, trust, domain, holders)
        return Plan(deed="new-generation", request=request, told=told, steps=steps)

    return office.do("new-generation", request, make)


def _with_new_key(
    office: OwnerSession, trust: RootChain, domain: str, holders: Sequence[Custodian]
) -> tuple[OperationResult, tuple[Put, Put]]:
    """The root record that grants the next generation of a domain, and before it its key."""
    generation = free_generation(office, trust.root, domain)
    grant, put_key = new_key(office, domain, generation, holders)
    record, put = next_root(office, trust, office.now(), domains=(*trust.root.domains, grant))
    told = {
        "domain": domain,
        "generation": generation,
        "custodians": [one.text for one in holders],
        "root": record.number,
    }
    return told, (put_key, put)


def _custodians_of_all(office: OwnerSession, root: RootRecord) -> tuple[Custodian, ...]:
    newest = {one.id: one for one in active_domains(root)}  # the last of each is the highest
    found = {name: custodians_of(key_of(office, root, one)) for name, one in newest.items()}
    keys = {frozenset(one.recipient for one in holders) for holders in found.values()}
    if len(keys) != 1:
        raise UsageError(
            "the domains have different custodians, or there is none any more: name those of the"
            " new one with --recipient"
        )
    return next(iter(found.values()))
