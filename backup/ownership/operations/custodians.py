"""The owner's deeds on custodians: one more, and one less.

- Both take an attended custodian's identity: only that opens the keys which are wrapped anew.
- One more: every generation's key is wrapped again to all, under a new number.
- One less: every domain gets a new generation with a new key, which the one who leaves never had;
  the older keys are wrapped again without them, and then the records that they could open go.
- Nobody unlearns a key: who opened an older generation once may have kept it, and with it reads
  what was backed up until then, wherever they still get at the packs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyrage

from backup.errors import NotFound, UsageError, WrongKey
from backup.format.object_names import key_name, keys_of, next_number
from backup.format.root_record import DomainGrant, KeyRecord, RootRecord
from backup.ownership.custodian_public_key import Custodian, wrap
from backup.ownership.operation_plan import Forget, OperationResult, Plan, Put, Step
from backup.ownership.operations.domain_keys import (
    active_domains,
    custodians_of,
    free_generation,
    key_of,
    new_key,
    numbers_in_use,
    put_key,
)
from backup.ownership.owner_session import OwnerSession, next_root
from backup.trust.key_files import Identity, open_domains
from backup.trust.root_chain import RootChain


def add_custodian(
    office: OwnerSession, *, custodian: Custodian, identity: Identity
) -> OperationResult:
    """Let one more custodian open every domain, old points and new; or give one another name."""
    request = {"custodian": custodian.text}

    def make(trust: RootChain) -> Plan:
        opened = _opened(office, trust.root, identity)
        steps: list[Step] = []
        for domain, record in _records(office, trust.root):
            holders = custodians_of(record)
            rest = tuple(one for one in holders if one.recipient != custodian.recipient)
            known = next((one for one in holders if one not in rest), None)
            if known is None or custodian.name not in ("", known.name):
                steps.append(_wrapped_again(office, record, (*rest, custodian), opened[domain]))
        if not steps:
            raise UsageError(
                f"{custodian.title} is a custodian of every domain already; nothing was changed"
            )
        told = {
            "custodian": custodian.text,
            "key_records": [step.name for step in steps if isinstance(step, Put)],
        }
        return Plan(deed="add-custodian", request=request, told=told, steps=tuple(steps))

    return office.do("add-custodian", request, make)


def retire_custodian(office: OwnerSession, *, which: str, identity: Identity) -> OperationResult:
    """Let a custodian open nothing of what is backed up from now on.

    `which` is their public key, or their name where only one has it.  `identity` is that of one who
    stays.
    """
    request = {"custodian": which}

    def make(trust: RootChain) -> Plan:
        records = _records(office, trust.root)
        leaving = _find(which, [one for _, record in records for one in custodians_of(record)])
        opened = _opened(office, trust.root, identity)
        stays = _stays(leaving)
        _check_who_stays(identity, stays)
        new_grants: list[DomainGrant] = []
        puts: list[Step] = []
        forgets: list[Step] = []
        generations: dict[str, int] = {}
        for domain, record in records:
            holders = custodians_of(record)
            rest = tuple(one for one in holders if stays(one))
            if not rest:
                raise UsageError(
                    f"{leaving.title} is the only custodian of domain {domain[0]}: add another one"
                    " first, or nobody could restore it"
                )
            if len(rest) < len(holders):
                put = _wrapped_again(office, record, rest, opened[domain])
                puts.append(put)
                forgets.append(_superseded(office, record))
            newest = trust.root.domain(record.domain)
            if newest is not None and newest.generation == record.generation:
                generation = free_generation(office, trust.root, record.domain)
                grant, put = new_key(office, record.domain, generation, rest)
                new_grants.append(grant)
                puts.append(put)
                generations[record.domain] = generation
        root, put_root = next_root(
            office, trust, office.now(), domains=(*trust.root.domains, *new_grants)
        )
        told = {
            "custodian": leaving.text,
            "generations": generations,
            "key_records_removed": [
                keys_of(*one)
                for one, record in records
                if not all(map(stays, custodians_of(record)))
            ],
            "copies_to_clean": [
                *(one.name for one in office.copies_away),
                *office.copies_unseen,
            ],
            "root": root.number,
        }
        return Plan(
            deed="retire-custodian",
            request=request,
            told=told,
            steps=(*puts, put_root, *forgets),
        )

    return office.do("retire-custodian", request, make)


_Domain = tuple[str, int]


def _records(office: OwnerSession, root: RootRecord) -> list[tuple[_Domain, KeyRecord]]:
    return [((one.id, one.generation), key_of(office, root, one)) for one in active_domains(root)]


def _opened(
    office: OwnerSession, root: RootRecord, identity: Identity
) -> dict[_Domain, pyrage.x25519.Identity]:
    opened = open_domains(root, office.key_store(), identity)
    missing = [
        f"{one.id}, generation {one.generation}"
        for one in active_domains(root)
        if (one.id, one.generation) not in opened
    ]
    if missing:
        raise WrongKey(
            f"this identity does not open {missing[0]}: every key is wrapped again in one ceremony,"
            " so take the identity of a custodian who opens them all"
        )
    return opened


def _wrapped_again(
    office: OwnerSession,
    record: KeyRecord,
    holders: Sequence[Custodian],
    key: pyrage.x25519.Identity,
) -> Put:
    numbers = numbers_in_use(office.key_store(), record.domain, record.generation)
    return put_key(
        office,
        replace(
            record,
            number=next_number(keys_of(record.domain, record.generation), record.number, numbers),
            custodians=tuple(one.text for one in holders),
            wrapped=wrap(str(key).encode(), holders),
        ),
    )


def _superseded(office: OwnerSession, record: KeyRecord) -> Forget:
    numbers = numbers_in_use(office.key_store(), record.domain, record.generation)
    return Forget(
        prefix=keys_of(record.domain, record.generation),
        names=tuple(key_name(record.domain, record.generation, number) for number in numbers),
    )


def _find(which: str, there: Sequence[Custodian]) -> Custodian:
    if not which.strip():  # it would fit whoever has no name
        raise UsageError("say which custodian, by name or public key")
    found = {
        one.recipient: one
        for one in there
        if which.strip() in (one.recipient, one.name, one.text, one.fingerprint)
    }
    if not found:
        names = "; ".join(sorted({one.title for one in there}))
        raise NotFound(f"there is no custodian {which!r}; there are: {names}")
    if len(found) > 1:
        raise UsageError(f"several custodians are called {which!r}: name one by the public key")
    return next(iter(found.values()))


def _stays(leaving: Custodian) -> Callable[[Custodian], bool]:
    return lambda one: one.recipient != leaving.recipient


def _check_who_stays(identity: Identity, stays: Callable[[Custodian], bool]) -> None:
    """The identity in use must not be the one that leaves, or nobody who stays was there."""
    # age does not say to whom something is wrapped; an X25519 identity says who it is itself.
    own = [str(key.to_public()) for key in identity.keys if isinstance(key, pyrage.x25519.Identity)]
    if own and not any(stays(Custodian(recipient=one)) for one in own):
        raise UsageError(
            "this is the identity of the custodian who leaves: take that of one who stays"
        )
