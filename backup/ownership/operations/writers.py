"""The owner's deeds on writers: a new backup host, a new epoch after a compromise, an end.

- A new epoch has a new signing key and a new id key, so nothing that the old host claimed to have
  stored is built on: everything is sent anew.
- An old writer is believed through one sequence.  Its grant stays: its points up to there restore.
- The host's file is made before the root record: a record that names a key which nobody has would
  stop the backups.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import NotFound, UsageError
from backup.format.canonical_json import to_time
from backup.format.root_record import RootRecord, WriterGrant
from backup.ownership.operation_plan import Create, OperationResult, Plan
from backup.ownership.owner_session import OwnerSession, check_name, known_domain, next_root
from backup.records import Head
from backup.trust.key_files import HOST_FILE, Host
from backup.trust.root_chain import RootChain
from backup.trust.snapshot_history import read_history


def add_writer(office: OwnerSession, *, name: str, domain: str, host_dir: Path) -> OperationResult:
    """Let a new backup host write for a domain; its keys go into `host_dir`."""
    check_name("writer", name)
    request = {"writer": name, "domain": domain, "host": str(host_dir.absolute())}

    def make(trust: RootChain) -> Plan:
        if any(writer.id == name for writer in trust.root.writers):
            raise UsageError(
                f"there is a writer {name} already: take another name, or begin a new epoch of it"
            )
        _check_domain(trust.root, domain)
        public, create = _host(office, writer=name, epoch=0, domain=domain, host_dir=host_dir)
        grant = WriterGrant(id=name, epoch=0, key=public, domains=(domain,), trusted_through=None)
        record, put = next_root(office, trust, office.now(), writers=(*trust.root.writers, grant))
        told = {
            "writer": name,
            "epoch": 0,
            "domain": domain,
            "key": public.hex(),
            "host_file": str(create.path),
            "root": record.number,
        }
        return Plan(deed="add-writer", request=request, told=told, steps=(create, put))

    return office.do("add-writer", request, make)


def new_epoch(
    office: OwnerSession, *, writer: str, trusted_through: int, host_dir: Path
) -> OperationResult:
    """Give a writer new keys, and believe its old ones only through a sequence (0: nothing).

    What is no longer believed is told by name.  `NotFound` when there is no such writer or
    sequence.
    """
    request = {
        "writer": writer,
        "trusted_through": str(trusted_through),
        "host": str(host_dir.absolute()),
    }

    def make(trust: RootChain) -> Plan:
        old = _newest_epoch(trust.root, writer)
        domain = old.domains[0]
        _check_domain(trust.root, domain)
        sha256, doubted = _last_believed(office, trust, writer, trusted_through)
        public, create = _host(
            office, writer=writer, epoch=old.epoch + 1, domain=domain, host_dir=host_dir
        )
        grant = WriterGrant(
            id=writer, epoch=old.epoch + 1, key=public, domains=old.domains, trusted_through=None
        )
        record, put = next_root(
            office,
            trust,
            office.now(),
            writers=(*_ended(trust.root, writer, trusted_through, sha256), grant),
        )
        told = {
            "writer": writer,
            "epoch": grant.epoch,
            "domain": domain,
            "key": public.hex(),
            "host_file": str(create.path),
            "trusted_through": trusted_through,
            "no_longer_believed": doubted,
            "root": record.number,
        }
        return Plan(deed="new-epoch", request=request, told=told, steps=(create, put))

    return office.do("new-epoch", request, make)


def remove_writer(office: OwnerSession, *, writer: str, trusted_through: int) -> OperationResult:
    """Let a writer write no more; its points through a sequence stay restorable."""
    request = {"writer": writer, "trusted_through": str(trusted_through)}

    def make(trust: RootChain) -> Plan:
        old = _newest_epoch(trust.root, writer)
        if old.trusted_through is not None:
            raise UsageError(f"writer {writer} was removed before; nothing was changed")
        sha256, doubted = _last_believed(office, trust, writer, trusted_through)
        record, put = next_root(
            office, trust, office.now(), writers=_ended(trust.root, writer, trusted_through, sha256)
        )
        told = {
            "writer": writer,
            "epoch": old.epoch,
            "trusted_through": trusted_through,
            "no_longer_believed": doubted,
            "root": record.number,
        }
        return Plan(deed="remove-writer", request=request, told=told, steps=(put,))

    return office.do("remove-writer", request, make)


def witnessed_head(office: OwnerSession, writer: str, witness: Iterable[Head]) -> int:
    """The newest sequence of a writer that a witness saw and the vault still holds unchanged.

    `NotFound` when the witness knows none; it is said then what to name instead.
    """
    heads = {head.sequence: head.sha256 for head in witness if head.writer == writer}
    slots = read_history(office.vault, office.standing(), writer)
    found = [slot.sequence for slot in slots if heads.get(slot.sequence) == slot.sha256]
    if found:
        return max(found)
    raise NotFound(
        f"the witness has seen no snapshot of writer {writer} that the vault still holds; say with"
        " --trusted-through which one is the last to believe (0: none)"
    )


def _newest_epoch(root: RootRecord, writer: str) -> WriterGrant:
    found = [one for one in root.writers if one.id == writer]
    if not found:
        there = ", ".join(root.writer_ids)
        raise NotFound(f"there is no writer {writer}; there are: {there}")
    return max(found, key=lambda one: one.epoch)


def _check_domain(root: RootRecord, domain: str) -> None:
    if known_domain(root, domain).erased is not None:
        raise UsageError(f"domain {domain} is erased: nobody writes for it any more; name another")


def _ended(
    root: RootRecord, writer: str, trusted_through: int, sha256: str | None
) -> tuple[WriterGrant, ...]:
    """The grants with every epoch of a writer believed through a snapshot, or an earlier one."""
    return tuple(
        replace(one, trusted_through=trusted_through, trusted_sha256=sha256)
        if one.id == writer
        and (one.trusted_through is None or one.trusted_through > trusted_through)
        else one
        for one in root.writers
    )


def _last_believed(
    office: OwnerSession, trust: RootChain, writer: str, trusted_through: int
) -> tuple[str | None, list[dict[str, str]]]:
    """The hash of the last snapshot to believe, and what comes after it."""
    last: str | None = None
    newest = 0
    after: list[dict[str, str]] = []
    # One at a time: a host that was taken over may have signed more than fits into memory.
    for slot in read_history(office.vault, trust, writer):
        if (snapshot := slot.snapshot) is None:
            continue
        newest = slot.sequence
        if slot.sequence == trusted_through:
            last = slot.sha256
        elif slot.sequence > trusted_through:
            after.append(
                {
                    "point": f"{snapshot.writer}/{slot.sequence:010d}",
                    "set": snapshot.set_name,
                    "time": to_time(snapshot.time),
                }
            )
    if trusted_through and last is None:
        raise NotFound(
            f"there is no valid snapshot {trusted_through} of writer {writer}; the newest is"
            f" {newest}. 0 means that none is believed"
        )
    return last, after


def _host(
    office: OwnerSession, *, writer: str, epoch: int, domain: str, host_dir: Path
) -> tuple[bytes, Create]:
    """A host's new keys: the public one for the root record, and the step that makes its file."""
    signing_seed, id_key = office.random(32), office.random(32)
    path = host_dir.absolute() / HOST_FILE
    if host_dir.exists() and not (host_dir.is_dir() and not any(host_dir.iterdir())):
        raise UsageError(
            f"{host_dir} is no empty folder: the host's keys go into a folder of their own, that is"
            " carried away; name a new or empty one with --host-dir"
        )
    host = Host(
        repository=office.owner.repository,
        owner=office.owner.public,
        writer=writer,
        epoch=epoch,
        domain=domain,
        signing_key=Ed25519PrivateKey.from_private_bytes(signing_seed),
        id_key=id_key,
    )
    return host.public_key, Create(path=path, data=host.to_bytes())
