"""Roster: all roles of a repository, read from its records without a key.

- The roles are writers (backup hosts), custodians (people that can decrypt backups), keepers
  (machines that may expire backups) and the owner (the person with the offline signing key). The
  owner's signed root record lists writers and keepers. The key records, which contain the encrypted
  private keys, list custodians.
- All values are public: names, public keys, numbers and dates.
- Records that cannot be read are listed in `problems`; the other records are returned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from backup.errors import BackupError, NotFound
from backup.format.object_names import (
    FORMATS,
    READERS,
    bundled_sha256,
    parse_number,
    snapshot_prefix,
)
from backup.format.root_record import DomainGrant, RootRecord
from backup.ownership.bundled_reader import bundled_files
from backup.ownership.custodian_public_key import Custodian, custodian_for_display
from backup.stores import Store
from backup.trust.key_files import read_key_record
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_slots import read_listed


@dataclass(frozen=True, kw_only=True, slots=True)
class Newest:
    """A writer's newest recovery point."""

    sequence: int
    time: datetime
    set_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterWriter:
    """A writer in one epoch, the period of one of its signing keys."""

    id: str
    epoch: int
    key: bytes
    domains: tuple[str, ...]
    trusted_through: int | None  # last trusted sequence number; None: no limit
    newest: Newest | None  # the writer's newest recovery point, of any epoch


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterGeneration:
    """One key pair of a domain, and the custodians that have its private key."""

    number: int
    recipient: str
    custodians: tuple[Custodian, ...]  # empty if the stored key cannot be read


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterDomain:
    """An erasure domain: backup sets that share one key, erased together."""

    id: str
    erased: datetime | None
    generations: tuple[RosterGeneration, ...]

    @property
    def custodians(self) -> tuple[Custodian, ...]:
        """Return the custodians that can open new backups."""
        return self.generations[-1].custodians


@dataclass(frozen=True, kw_only=True, slots=True)
class RosterKeeper:
    """A keeper, which signs lists of expired recovery points (keep records)."""

    key: bytes
    trusted_through: int | None  # number of its last trusted keep record; None: no limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Roster:
    """A repository's roles at one moment."""

    repository: bytes
    owner: bytes
    created: datetime
    root_number: int
    root_created: datetime
    writers: tuple[RosterWriter, ...]
    domains: tuple[RosterDomain, ...]
    keepers: tuple[RosterKeeper, ...]
    keep_number: int | None  # number of the newest valid keep record
    documents: tuple[str, ...]  # object names of the copies of FORMAT.md and break_glass.py
    lacks_documents: bool  # the vault lacks those of this version
    problems: tuple[str, ...]

    @property
    def custodians(self) -> tuple[Custodian, ...]:
        """Return the custodians that can open new backups, each once."""
        by_key = {
            custodian.recipient: custodian
            for domain in self.domains
            for custodian in domain.custodians
        }
        return tuple(
            sorted(by_key.values(), key=lambda custodian: (custodian.name, custodian.recipient))
        )


def read_roster(vault: Store, keys: Store | None, *, owner: bytes | None = None) -> Roster:
    """Read the roles of a repository.

    `vault` is the folder or bucket with the encrypted backups. Raise `NotFound` if it has no
    repository, or `Damaged` if no root record is valid.
    """
    trust = load_root_chain(vault, owner=owner)
    problems = [problem for _, problem in trust.problems]
    log = load_retention_log(vault, trust)
    problems += [problem for _, problem in log.problems]
    root = trust.root
    documents = tuple(
        stat.name
        for prefix in (FORMATS, READERS)
        for stat in vault.list(prefix)
        if bundled_sha256(stat.name) is not None
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
            RosterKeeper(key=grant.key, trusted_through=grant.trusted_through)
            for grant in root.keepers
        ),
        keep_number=None if log.head is None else log.head.number,
        documents=documents,
        lacks_documents=not set(bundled_files()) <= set(documents),
        problems=tuple(problems),
    )


def _writers(vault: Store, trust: RootChain) -> Iterator[RosterWriter]:
    newest = {name: _newest(vault, trust, name) for name in trust.root.writer_ids}
    for grant in sorted(trust.root.writers, key=lambda grant: (grant.id, grant.epoch)):
        yield RosterWriter(
            id=grant.id,
            epoch=grant.epoch,
            key=grant.key,
            domains=grant.domains,
            trusted_through=grant.trusted_through,
            newest=newest[grant.id],
        )


def _newest(vault: Store, trust: RootChain, writer: str) -> Newest | None:
    prefix = snapshot_prefix(writer)
    stats = [stat for stat in vault.list(prefix) if parse_number(stat.name, prefix) is not None]
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
            (grant for grant in root.domains if grant.id == name),
            key=lambda grant: grant.generation,
        )
        yield RosterDomain(
            id=name,
            erased=grants[-1].erased,
            generations=tuple(
                RosterGeneration(
                    number=grant.generation,
                    recipient=grant.recipient,
                    custodians=_custodians(root, grant, keys, problems),
                )
                for grant in grants
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
            f"key store: it has no key of domain {domain.id}, generation {domain.generation}"
        )
        return ()
    except BackupError as error:
        problems.append(str(error))
        return ()
    return tuple(custodian_for_display(text) for text in record.custodians)
