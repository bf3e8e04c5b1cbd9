"""Owner operations on writers: add or remove a host, start an epoch.

- A writer is a backup host. An epoch is the period of one signing key of a writer; a new epoch
  follows a compromise of the host.
- A new epoch has a new signing key and a new id key, the key of the hashes that identify stored
  blobs. With the new id key, all blobs have new ids. So the new epoch uses no content that the old
  host stored, and sends all content again.
- A root record is a list of hosts and keys, signed by the owner (the person with the offline
  signing key). It trusts the old keys of a writer up to and including one sequence number, so that
  recovery points up to this number can be restored.
- The host's key file is created before the root record. Otherwise a crash could leave a root record
  with a key that nobody has, and the host could not back up.
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
from backup.trust.snapshot_slots import read_history


def add_writer(session: OwnerSession, *, name: str, domain: str, host_dir: Path) -> OperationResult:
    """Authorize a new backup host; write its keys to `host_dir`.

    `domain` names the key to which the host encrypts, shared by several backup sets.
    """
    check_name("writer", name)
    request = {"writer": name, "domain": domain, "host": str(host_dir.absolute())}

    def make_plan(trust: RootChain) -> Plan:
        if any(writer.id == name for writer in trust.root.writers):
            raise UsageError(
                f"writer {name}: it exists. Choose another name, or start a new epoch of it."
            )
        _check_domain(trust.root, domain)
        public, create = _new_host(session, writer=name, epoch=0, domain=domain, host_dir=host_dir)
        grant = WriterGrant(id=name, epoch=0, key=public, domains=(domain,), trusted_through=None)
        record, put = next_root(session, trust, session.now(), writers=(*trust.root.writers, grant))
        result = {
            "writer": name,
            "epoch": 0,
            "domain": domain,
            "key": public.hex(),
            "host_file": str(create.path),
            "root": record.number,
        }
        return Plan(operation="add-writer", request=request, result=result, steps=(create, put))

    return session.run("add-writer", request, make_plan)


def new_epoch(
    session: OwnerSession, *, writer: str, trusted_through: int, host_dir: Path
) -> OperationResult:
    """Start an epoch with new keys; trust the old keys up to a snapshot.

    With `trusted_through` 0, no snapshot of the old keys is trusted. The result lists the recovery
    points that are then not trusted any more. Raise `NotFound` if the writer is unknown or has no
    valid snapshot with this number.
    """
    request = {
        "writer": writer,
        "trusted_through": str(trusted_through),
        "host": str(host_dir.absolute()),
    }

    def make_plan(trust: RootChain) -> Plan:
        old = _newest_epoch(trust.root, writer)
        domain = old.domains[0]
        _check_domain(trust.root, domain)
        sha256, untrusted = _last_trusted(session, trust, writer, trusted_through)
        public, create = _new_host(
            session, writer=writer, epoch=old.epoch + 1, domain=domain, host_dir=host_dir
        )
        grant = WriterGrant(
            id=writer, epoch=old.epoch + 1, key=public, domains=old.domains, trusted_through=None
        )
        record, put = next_root(
            session,
            trust,
            session.now(),
            writers=(*_end_trust(trust.root, writer, trusted_through, sha256), grant),
        )
        result = {
            "writer": writer,
            "epoch": grant.epoch,
            "domain": domain,
            "key": public.hex(),
            "host_file": str(create.path),
            "trusted_through": trusted_through,
            "no_longer_trusted": untrusted,
            "root": record.number,
        }
        return Plan(operation="new-epoch", request=request, result=result, steps=(create, put))

    return session.run("new-epoch", request, make_plan)


def remove_writer(session: OwnerSession, *, writer: str, trusted_through: int) -> OperationResult:
    """End a writer's authorization; trust its snapshots up to a number."""
    request = {"writer": writer, "trusted_through": str(trusted_through)}

    def make_plan(trust: RootChain) -> Plan:
        old = _newest_epoch(trust.root, writer)
        if old.trusted_through is not None:
            raise UsageError(f"writer {writer}: it was removed before. Nothing was changed.")
        sha256, untrusted = _last_trusted(session, trust, writer, trusted_through)
        record, put = next_root(
            session,
            trust,
            session.now(),
            writers=_end_trust(trust.root, writer, trusted_through, sha256),
        )
        result = {
            "writer": writer,
            "epoch": old.epoch,
            "trusted_through": trusted_through,
            "no_longer_trusted": untrusted,
            "root": record.number,
        }
        return Plan(operation="remove-writer", request=request, result=result, steps=(put,))

    return session.run("remove-writer", request, make_plan)


def witnessed_head(session: OwnerSession, writer: str, witness: Iterable[Head]) -> int:
    """Return the number of the newest snapshot that a witness confirms.

    A witness is a record of snapshot hashes on another machine. Raise `NotFound` if the hash of no
    snapshot in the vault (the folder or bucket with the encrypted backups) is in the witness.
    """
    heads = {head.sequence: head.sha256 for head in witness if head.writer == writer}
    slots = read_history(session.vault, session.load_trust(), writer)
    unchanged = [slot.sequence for slot in slots if heads.get(slot.sequence) == slot.sha256]
    if unchanged:
        return max(unchanged)
    raise NotFound(
        f"writer {writer}: the witness has seen no snapshot that the vault still has. Give the"
        " last sequence number to trust with --trusted-through (0: none)."
    )


def _newest_epoch(root: RootRecord, writer: str) -> WriterGrant:
    grants = [grant for grant in root.writers if grant.id == writer]
    if not grants:
        known = ", ".join(root.writer_ids)
        raise NotFound(f"writer {writer}: unknown. Choose one of: {known}.")
    return max(grants, key=lambda grant: grant.epoch)


def _check_domain(root: RootRecord, domain: str) -> None:
    if known_domain(root, domain).erased is not None:
        raise UsageError(f"domain {domain}: it is erased. Choose another domain.")


def _end_trust(
    root: RootRecord, writer: str, trusted_through: int, sha256: str | None
) -> tuple[WriterGrant, ...]:
    """Return all grants; end the trust in a writer after a sequence number."""
    return tuple(
        replace(grant, trusted_through=trusted_through, trusted_sha256=sha256)
        if grant.id == writer
        and (grant.trusted_through is None or grant.trusted_through > trusted_through)
        else grant
        for grant in root.writers
    )


def _last_trusted(
    session: OwnerSession, trust: RootChain, writer: str, trusted_through: int
) -> tuple[str | None, list[dict[str, str]]]:
    """Return the hash of the last trusted snapshot, and later recovery points."""
    last: str | None = None
    newest = 0
    after: list[dict[str, str]] = []
    # Keep one snapshot at a time: a compromised host may have signed more than memory can hold.
    for slot in read_history(session.vault, trust, writer):
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
            f"snapshot {trusted_through} of writer {writer}: missing or invalid. The newest"
            f" snapshot is {newest}. Name a valid snapshot, or 0 to trust none."
        )
    return last, after


def _new_host(
    session: OwnerSession, *, writer: str, epoch: int, domain: str, host_dir: Path
) -> tuple[bytes, Create]:
    """Create a host's keys; return the public key and the step for its file."""
    signing_seed, id_key = session.random(32), session.random(32)
    path = host_dir.absolute() / HOST_FILE
    if host_dir.exists() and not (host_dir.is_dir() and not any(host_dir.iterdir())):
        raise UsageError(
            f"{host_dir}: not an empty folder. Give a new or empty folder with --host-dir; it will"
            " contain only the host's keys, to be carried to the host."
        )
    host = Host(
        repository=session.owner.repository,
        owner=session.owner.public,
        writer=writer,
        epoch=epoch,
        domain=domain,
        signing_key=Ed25519PrivateKey.from_private_bytes(signing_seed),
        id_key=id_key,
    )
    return host.public_key, Create(path=path, data=host.to_bytes())
