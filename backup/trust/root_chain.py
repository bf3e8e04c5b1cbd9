"""Root chain: the root records, read from the vault and verified.

- A root record is a numbered list of trusted hosts and keys, signed by the owner (the person with
  the offline signing key). It is in the chain if it names the SHA-256 of the previous root record
  of the chain. The last record of the chain is in force.
- Other records are skipped and reported. So an invalid object (junk) under the name of a record
  neither stops a reader nor prevents the owner from signing the next record. If a record of the
  chain is missing, the later records are not in the chain, and are reported.
- If the caller knows the owner's public key from a key file, only records with this key are
  accepted.
- A record in a later format, from a newer version of this program, raises an error if the owner
  signed it or the owner's key is unknown.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from backup.errors import BackupError, Damaged, FormatUnknown, NotFound, StoreUnavailable
from backup.format.object_names import (
    MAX_ROOT_RECORD_BYTES,
    ROOTS,
    next_number,
    parse_number,
    root_name,
)
from backup.format.record_link import Link
from backup.format.root_record import RootRecord, root_from_bytes
from backup.format.signature import (
    ROOT_CONTEXT,
    check_later_signature,
    check_signature,
    claimed_later_format,
)
from backup.stores import Stat, Store
from backup.stores.parallel_reads import read_ahead


@dataclass(frozen=True, kw_only=True, slots=True)
class RootChain:
    """The chain of root records."""

    roots: tuple[RootRecord, ...]  # in order; the last record is in force
    links: tuple[Link, ...]  # number and hash of each record of `roots`
    taken: frozenset[int]  # numbers of all objects, including junk
    problems: tuple[tuple[str, str], ...]  # (object, problem)
    # Names of records that the owner signed, but that are not in the chain, for example because the
    # vault was rolled back and an earlier record is missing.
    unlinked: tuple[str, ...] = ()

    @property
    def next_number(self) -> int:
        """Return the lowest unused number after all signed records."""
        signed = (
            number for name in self.unlinked if (number := parse_number(name, ROOTS)) is not None
        )
        return next_number(ROOTS, max([self.links[-1].number, *signed]), self.taken)

    @property
    def root(self) -> RootRecord:
        """Return the root record in force."""
        return self.roots[-1]

    def removal_time(self, writer: str) -> datetime | None:
        """Return the time at which the owner removed a backup host, or None."""
        ended = None
        for root in reversed(self.roots):
            grants = [grant for grant in root.writers if grant.id == writer]
            if not grants or any(grant.trusted_through is None for grant in grants):
                break
            ended = root.created
        return ended


def load_root_chain(vault: Store, *, owner: bytes | None = None) -> RootChain:
    """Read and verify the root records.

    Raise `NotFound` if the vault has no root record, `Damaged` if no root record is valid, and
    `FormatUnknown` for a record of a later format.
    """
    roots: list[RootRecord] = []
    links: list[Link] = []
    problems: list[tuple[str, str]] = []
    unlinked: list[str] = []
    taken: set[int] = set()
    for stat, read in read_ahead(vault, vault.list(ROOTS), MAX_ROOT_RECORD_BYTES, _is_numbered):
        number = parse_number(stat.name, ROOTS)
        if number is None:
            problems.append((stat.name, f"{stat.name} is not a valid name of a root record"))
            continue
        taken.add(number)
        known = roots[0].owner if roots else owner
        try:
            data = read()
            _refuse_later_format(data, known, stat.name, vault.where)
            if roots:
                # Check the signature first, so that no object of a stranger reaches the parser.
                check_signature(ROOT_CONTEXT, data, roots[0].owner, stat.name)
            record = root_from_bytes(data, stat.name)
        except (FormatUnknown, StoreUnavailable):
            # Do not continue with an older root record: it may trust keys that the newest record
            # revokes.
            raise
        except BackupError as error:
            problems.append((stat.name, str(error)))
            continue
        problem = _check_chain(record, number, roots, links, known)
        if problem is not None:
            problems.append((stat.name, problem))
            if (record.owner, record.number) == (known, number):
                unlinked.append(stat.name)
            continue
        roots.append(record)
        links.append(Link(number=number, sha256=hashlib.sha256(data).hexdigest()))
    if not roots and not problems:
        raise NotFound(
            f"{vault.where}: there is no repository. Check that its disk, share or bucket is"
            " available, and that the name is right"
        )
    if not roots:
        problem = problems[0][1].removesuffix(". Verify the vault")
        raise Damaged(
            f"root record: not valid ({problem}). Check that the store, and the identity if "
            "there is one, belong to this repository; if so, restore the record from a copy"
        )
    return RootChain(
        roots=tuple(roots),
        links=tuple(links),
        taken=frozenset(taken),
        problems=tuple(problems),
        unlinked=tuple(unlinked),
    )


def _is_numbered(stat: Stat) -> bool:
    return parse_number(stat.name, ROOTS) is not None


def _refuse_later_format(data: bytes, owner: bytes | None, name: str, where: str) -> None:
    number = claimed_later_format(data)
    if number is None:
        return
    if owner is not None:
        check_later_signature("root", number, data, owner, name)
    raise FormatUnknown(
        f"{name}: it has format {number}, so the repository in {where} continues in a later"
        " format. Use a newer version of this program"
    )


def _check_chain(
    record: RootRecord,
    number: int,
    previous_roots: list[RootRecord],
    links: list[Link],
    owner: bytes | None,
) -> str | None:
    name = root_name(number)
    if record.number != number:
        return f"{name} contains root record {record.number}: it was moved"
    if owner is not None and record.owner != owner:
        return f"{name} was signed by another owner than the known one"
    if previous_roots and record.repository != previous_roots[0].repository:
        return f"{name} belongs to another repository"
    previous = None if record.previous is None else record.previous.hex()
    if previous != (links[-1].sha256 if links else None):
        return f"{name} does not follow the record before it: one is missing, was moved or changed"
    return None
