"""The roster: who may do what in a repository, read from its records without any key.

- Everything here is public: names, public keys, numbers, dates.
- What cannot be read is told in `problems`; the rest is shown all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from backup.errors import BackupError, NotFound
from backup.format.object_names import FORMATS, READERS, copy_in, number_in, snapshots_of
from backup.format.root_record import DomainGrant, RootRecord
from backup.ownership.bundled_reader import bundled_files
from backup.ownership.custodian_public_key import Custodian, readable
from backup.stores import Store
from backup.trust.key_files import read_key_record
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import read_listed


@dataclass(frozen=True, kw_only=True, slots=True)
class Newest:
    """A writer's newest recovery point."""

    sequence: int
    time: datetime
    set_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterWriter:
    """A backup host in one epoch."""

    id: str
    epoch: int
    key: bytes
    domains: tuple[str, ...]
    trusted_through: int | None
    newest: Newest | None  # of the writer, whichever epoch wrote it


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterGeneration:
    """One generation of a domain, and who can open it."""

    number: int
    recipient: str
    custodians: tuple[Custodian, ...]  # none where the key record cannot be read


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterDomain:
    """An erasure domain."""

    id: str
    erased: datetime | None
    generations: tuple[RosterGeneration, ...]

    @property
    def custodians(self) -> tuple[Custodian, ...]:
        """Who can open what is written now."""
        return self.generations[-1].custodians


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterKeeper:
    """Who frees what is no longer needed."""

    key: bytes
    trusted_through: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Roster:
    """A repository's people and machines at one moment."""

    repository: bytes
    owner: bytes
    created: datetime
    root_number: int
    root_created: datetime
    writers: tuple[RosterWriter, ...]
    domains: tuple[RosterDomain, ...]
    keepers: tuple[RosterKeeper, ...]
    keep_number: int | None  # the newest keep record that counts
    documents: tuple[str, ...]  # the copies of FORMAT.md and break_glass.py in the vault, by name
    lacks_documents: bool  # the vault has not those of this version
    problems: tuple[str, ...]

    @property
    def custodians(self) -> tuple[Custodian, ...]:
        """Everyone who can open what is written now, each once."""
        found = {one.recipient: one for domain in self.domains for one in domain.custodians}
        return tuple(sorted(found.values(), key=lambda one: (one.name, one.recipient)))


def read_roster(vault: Store, keys: Store | None, *, owner: bytes | None = None) -> Roster:
    """Read who may do what; `NotFound` when there is no repository, `Damaged` without a root."""
    trust = load_root_chain(vault, owner=owner)
    problems = [problem for _, problem in trust.problems]
    keeps = load_retention_log(vault, trust)
    problems += [problem for _, problem in keeps.problems]
    root = trust.root
    documents = tuple(
        stat.name
        for prefix in (FORMATS, READERS)
        for stat in vault.list(prefix)
        if copy_in(stat.name) is not None
    )
    return Roster(
        repository=root.repository,
        owner=root.owner,
        created=trust.roots[0].created,
        root_number=root.number,
        root_created=root.created,
        writers=tuple(_writers(vault, trust)),
        domains=tuple(_domains(root, keys, problems)),
        keepers=tuple(
            RosterKeeper(key=one.key, trusted_through=one.trusted_through) for one in root.keepers
        ),
        keep_number=None if keeps.head is None else keeps.head.number,
        documents=documents,
        lacks_documents=not set(bundled_files()) <= set(documents),
        problems=tuple(problems),
    )


def _writers(vault: Store, trust: RootChain) -> Iterator[RosterWriter]:
    newest = {name: _newest(vault, trust, name) for name in trust.root.writer_ids}
    for one in sorted(trust.root.writers, key=lambda one: (one.id, one.epoch)):
        yield RosterWriter(
            id=one.id,
            epoch=one.epoch,
            key=one.key,
            domains=one.domains,
            trusted_through=one.trusted_through,
            newest=newest[one.id],
        )


def _newest(vault: Store, trust: RootChain, writer: str) -> Newest | None:
    prefix = snapshots_of(writer)
    stats = [stat for stat in vault.list(prefix) if number_in(stat.name, prefix) is not None]
    for stat in reversed(stats):
        snapshot = read_listed(vault, trust, writer, stat).snapshot
        if snapshot is not None:
            return Newest(
                sequence=snapshot.sequence, time=snapshot.time, set_name=snapshot.set_name
            )
    return None


def _domains(root: RootRecord, keys: Store | None, problems: list[str]) -> Iterator[RosterDomain]:
    for name in root.domain_ids:
        grants = sorted(
            (one for one in root.domains if one.id == name), key=lambda one: one.generation
        )
        yield RosterDomain(
            id=name,
            erased=grants[-1].erased,
            generations=tuple(
                RosterGeneration(
                    number=one.generation,
                    recipient=one.recipient,
                    custodians=_custodians(root, one, keys, problems),
                )
                for one in grants
            ),
        )


def _custodians(
    root: RootRecord, domain: DomainGrant, keys: Store | None, problems: list[str]
) -> tuple[Custodian, ...]:
    if keys is None or domain.erased is not None:
        return ()
    try:
        record = read_key_record(keys, root, domain)
    except NotFound:
        problems.append(
            f"the key store has no key of domain {domain.id}, generation {domain.generation}"
        )
        return ()
    except BackupError as error:
        problems.append(str(error))
        return ()
    return tuple(readable(text) for text in record.custodians)
