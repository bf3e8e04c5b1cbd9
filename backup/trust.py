"""Whom a repository trusts: the chain of root records, read from the vault and checked.

- Record n + 1 counts only when it names the SHA-256 of record n and the same owner signed both.
- Reading stops at the first record that does not fit; what was valid before it still counts, and
  the rest is reported.  So junk beside the chain stops nobody, and a hole hides nothing silently.
- An owner's key that the caller knows from elsewhere (a host's file, a custodian's file) must
  match.
"""

import hashlib
from dataclasses import dataclass

from backup.errors import BackupError, Damaged, FormatUnknown, NotFound
from backup.format.layout import KEEPS, ROOTS, number_in, root_name
from backup.format.root import RootRecord, root_from_bytes
from backup.format.snapshot import Link
from backup.stores import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """The root records in force; `problems` are (object, what is wrong with it)."""

    roots: tuple[RootRecord, ...]  # number 0, 1, 2, …
    links: tuple[Link, ...]  # the same, as other records name them
    problems: tuple[tuple[str, str], ...]

    @property
    def root(self) -> RootRecord:
        """The newest record."""
        return self.roots[-1]


def load_trust(vault: Store, *, owner: bytes | None = None) -> Trust:
    """Read and check the root records; `NotFound` when there are none, `Damaged` when none hold."""
    names = [stat.name for stat in vault.list(ROOTS)]
    if not names:
        raise NotFound("there is no repository in this store; create one, or look at another place")
    roots: list[RootRecord] = []
    links: list[Link] = []
    problems: list[tuple[str, str]] = []
    for name in names:
        number = number_in(name, ROOTS)
        if number is None:
            problems.append((name, f"{name} is not named as a root record is"))
            continue
        data = vault.get(name)
        try:
            record = root_from_bytes(data, name)
            _check_place(record, number, roots, links, owner)
        except FormatUnknown:
            # Who cannot read the newest rules must not act by older ones.
            raise
        except BackupError as error:
            problems.append((name, str(error)))
            break
        roots.append(record)
        links.append(Link(number=number, sha256=hashlib.sha256(data).hexdigest()))
    if not roots:
        raise Damaged(
            f"{root_name(0)} is not valid: {problems[0][1]}."
            " Take the root record from a copy of the repository"
        )
    return Trust(roots=tuple(roots), links=tuple(links), problems=tuple(problems))


def refuse_keep_records(vault: Store) -> None:
    """`FormatUnknown` when a keeper works here: format 0 would go on using what was freed."""
    if next(vault.list(KEEPS), None) is not None:
        raise FormatUnknown(
            "this repository has keep records, which this version cannot read;"
            " use a newer version of this program"
        )


def _check_place(
    record: RootRecord,
    number: int,
    before: list[RootRecord],
    links: list[Link],
    owner: bytes | None,
) -> None:
    name = root_name(number)
    if record.number != number or number != len(before):
        raise Damaged(f"{name} does not follow the record before it: one is missing or was moved")
    if owner is not None and record.owner != owner:
        raise Damaged(f"{name} was signed by another owner than the one that is known here")
    if not before:
        if record.previous is not None:
            raise Damaged(f"{name} names a record before the first")
        return
    if (record.repository, record.owner) != (before[0].repository, before[0].owner):
        raise Damaged(f"{name} is of another repository or owner")
    if record.previous is None or record.previous.hex() != links[-1].sha256:
        raise Damaged(f"{name} does not name the record before it")
