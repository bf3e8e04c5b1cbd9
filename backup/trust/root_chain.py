"""Whom a repository trusts: the chain of root records, read from the vault and checked.

- A record counts when the owner signed it and it names the SHA-256 of the last one that counted.
  What does not count is passed over and reported: so junk in a slot neither stops a reader nor
  keeps the owner from signing the next, and a hole hides nothing silently.
- An owner's key that the caller knows from elsewhere (a host's file, a custodian's file) must
  match.
- A record of a later format stops whoever cannot read it, but only if the owner signed it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from backup.errors import BackupError, Damaged, FormatUnknown, NotFound, StoreUnavailable
from backup.format.object_names import (
    MAX_ROOT_RECORD_BYTES,
    ROOTS,
    next_number,
    number_in,
    root_name,
)
from backup.format.record_link import Link
from backup.format.root_record import RootRecord, root_from_bytes
from backup.format.signature import ROOT_CONTEXT, check_signature, check_stop_sign, format_of
from backup.stores import Stat, Store
from backup.stores.parallel_reads import read_ahead


@dataclass(frozen=True, kw_only=True, slots=True)
class RootChain:
    """The root records that count; `problems` are (object, what is wrong with it)."""

    roots: tuple[RootRecord, ...]  # in their order; the last is in force
    links: tuple[Link, ...]  # the same, as other records name them
    taken: frozenset[int]  # the numbers in use, junk included
    problems: tuple[tuple[str, str], ...]
    unlinked: tuple[str, ...] = ()  # records that the owner signed and that no longer fit: rollback

    @property
    def next_number(self) -> int:
        """What the next record takes: the lowest free number behind all that the owner signed."""
        signed = (
            number for name in self.unlinked if (number := number_in(name, ROOTS)) is not None
        )
        return next_number(ROOTS, max([self.links[-1].number, *signed]), self.taken)

    @property
    def root(self) -> RootRecord:
        """The newest record."""
        return self.roots[-1]

    def removed(self, writer: str) -> datetime | None:
        """When the owner ended all trust in a writer; None while one of its grants holds."""
        ended = None
        for root in reversed(self.roots):
            grants = [one for one in root.writers if one.id == writer]
            if not grants or any(one.trusted_through is None for one in grants):
                break
            ended = root.created
        return ended


def load_root_chain(vault: Store, *, owner: bytes | None = None) -> RootChain:
    """Read and check the root records; `NotFound` when there are none, `Damaged` when none hold.

    `FormatUnknown` when the owner signed one of a later format.
    """
    roots: list[RootRecord] = []
    links: list[Link] = []
    problems: list[tuple[str, str]] = []
    unlinked: list[str] = []
    taken: set[int] = set()
    for stat, read in read_ahead(vault, vault.list(ROOTS), MAX_ROOT_RECORD_BYTES, _is_numbered):
        number = number_in(stat.name, ROOTS)
        if number is None:
            problems.append((stat.name, f"{stat.name} is not named as a root record is"))
            continue
        taken.add(number)
        known = roots[0].owner if roots else owner
        try:
            data = read()
            _refuse_later_format(data, known, stat.name, vault.where)
            if roots:
                # The signature first: what a stranger put is not even parsed.
                check_signature(ROOT_CONTEXT, data, roots[0].owner, stat.name)
            record = root_from_bytes(data, stat.name)
        except (FormatUnknown, StoreUnavailable):
            # Who cannot read the newest rules must not act by older ones.
            raise
        except BackupError as error:
            problems.append((stat.name, str(error)))
            continue
        problem = _misplaced(record, number, roots, links, known)
        if problem is not None:
            problems.append((stat.name, problem))
            if (record.owner, record.number) == (known, number):
                unlinked.append(stat.name)
            continue
        roots.append(record)
        links.append(Link(number=number, sha256=hashlib.sha256(data).hexdigest()))
    if not roots and not problems:
        raise NotFound(
            f"there is no repository in {vault.where}: see that its disk, share or bucket is there,"
            " and that the place that is named is the right one"
        )
    if not roots:
        problem = problems[0][1].removesuffix("; verify the repository")
        raise Damaged(
            f"the root record is not valid: {problem}. See that the place that is named is this"
            " repository's, and the identity, if one is; if they are, take the record from a copy"
        )
    return RootChain(
        roots=tuple(roots),
        links=tuple(links),
        taken=frozenset(taken),
        problems=tuple(problems),
        unlinked=tuple(unlinked),
    )


def _is_numbered(stat: Stat) -> bool:
    return number_in(stat.name, ROOTS) is not None


def _refuse_later_format(data: bytes, owner: bytes | None, name: str, where: str) -> None:
    number = format_of(data)
    if number is None:
        return
    if owner is not None:
        check_stop_sign("root", number, data, owner, name)
    raise FormatUnknown(
        f"the repository in {where} goes on in a later format: {name} has format {number}; use a "
        "newer version of this program"
    )


def _misplaced(
    record: RootRecord,
    number: int,
    before: list[RootRecord],
    links: list[Link],
    owner: bytes | None,
) -> str | None:
    name = root_name(number)
    if record.number != number:
        return f"{name} holds root record {record.number}: it was moved"
    if owner is not None and record.owner != owner:
        return f"{name} was signed by another owner than the one that is known here"
    if before and record.repository != before[0].repository:
        return f"{name} is of another repository"
    previous = None if record.previous is None else record.previous.hex()
    if previous != (links[-1].sha256 if links else None):
        return f"{name} does not follow the record before it: one is missing, was moved or changed"
    return None
