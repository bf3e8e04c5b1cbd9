"""Owner operations on domains: add a domain, add a key generation.

A domain is a group of backup sets that share one key. A generation is one key pair of a domain.

An operation puts two records, signed by the owner (the person with the offline signing key): a root
record, the list of public keys to which hosts encrypt, and a key record, which contains the
encrypted private key. The key record is put first. Otherwise a crash could leave a root record that
names a key without a key record. Hosts would encrypt to this key, and nobody could restore.
"""

from collections.abc import Sequence

from backup.errors import UsageError
from backup.format.root_record import RootRecord
from backup.ownership.custodian_public_key import Custodian
from backup.ownership.operation_plan import OperationResult, Plan, Put
from backup.ownership.operations.domain_keys import (
    active_domains,
    current_key_record,
    free_generation,
    new_key,
    record_custodians,
)
from backup.ownership.owner_session import OwnerSession, check_name, known_domain, next_root
from backup.trust.root_chain import RootChain


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
