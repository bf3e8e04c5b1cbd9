"""Owner operations on the keeper: grant a keeper, retire a keeper.

- A keeper is a machine that may expire backups and remove packs. It signs keep records, the lists
  of what it expires and removes. The owner, the person with the offline signing key, decides which
  keeper is trusted.
- The signing key of a keeper is created in one of two ways. This operation creates it, in a file
  that a person carries to the keeper's machine. Or the keeper's machine has created it, and only
  the public key is passed to this operation.
- Only one keeper is trusted at a time, because the keep records of two keepers would not form one
  chain.
- A retired keeper is trusted up to one keep record. Its later records are ignored. But packs that a
  retired keeper has removed are lost: only Object Lock prevents a removal.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import NotFound, UsageError
from backup.format.object_names import keep_name
from backup.format.root_record import KeeperGrant, RootRecord
from backup.ownership.operation_plan import Create, OperationResult, Plan, Step
from backup.ownership.owner_session import OwnerSession, next_root
from backup.retention.keeper_key import Keeper
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain


def set_keeper(
    session: OwnerSession, *, keeper_file: Path | None = None, key: bytes | None = None
) -> OperationResult:
    """Grant a keeper: with a new key in a file, or with a given public key.

    Raise `UsageError` while another keeper is trusted.
    """
    if (keeper_file is None) == (key is None):
        raise UsageError("keeper: give either a file for a new key, or a keeper's public key.")
    file = "" if keeper_file is None else str(keeper_file.absolute())
    request = {"file": file, "key": "" if key is None else key.hex()}

    def make_plan(trust: RootChain) -> Plan:
        if key is not None and any(grant.key == key for grant in trust.root.keepers):
            raise UsageError(
                "keeper: this key is already granted, or was retired. Use another key."
            )
        _check_no_keeper_trusted(trust.root)
        steps: list[Step] = []
        if key is None:
            keeper, create = _new_keeper(session, Path(file))
            public = keeper.public_key
            steps.append(create)
        else:
            public = key
        keepers = (*trust.root.keepers, KeeperGrant(key=public, trusted_through=None))
        record, put = next_root(session, trust, session.now(), keepers=keepers)
        result = {"key": public.hex(), "keeper_file": file or None, "root": record.number}
        return Plan(operation="set-keeper", request=request, result=result, steps=(*steps, put))

    return session.run("set-keeper", request, make_plan)


def retire_keeper(session: OwnerSession, *, trusted_through: int | None) -> OperationResult:
    """Trust the keeper only up to one keep record; None means no record."""
    request = {"trusted_through": "none" if trusted_through is None else str(trusted_through)}

    def make_plan(trust: RootChain) -> Plan:
        trusted = [grant for grant in trust.root.keepers if grant.trusted_through is None]
        if not trusted:
            raise NotFound("keeper: no keeper is trusted, so there is none to retire.")
        log = load_retention_log(session.vault, trust)
        sha256 = None if trusted_through is None else _record_sha256(session, log, trusted_through)
        keepers = tuple(
            grant
            if grant.trusted_through is not None
            else replace(grant, trusted_through=trusted_through, trusted_sha256=sha256)
            for grant in trust.root.keepers
            if grant.trusted_through is not None or trusted_through is not None
        )
        record, put = next_root(session, trust, session.now(), keepers=keepers)
        result = {
            "keys": [grant.key.hex() for grant in trusted],
            "trusted_through": trusted_through,
            "no_longer_trusted": sum(
                trusted_through is None or link.number > trusted_through for link in log.links
            ),
            "root": record.number,
        }
        return Plan(operation="retire-keeper", request=request, result=result, steps=(put,))

    return session.run("retire-keeper", request, make_plan)


def _record_sha256(session: OwnerSession, log: RetentionLog, number: int) -> str:
    name = keep_name(number)
    if log.head is None:
        raise NotFound("keeper: it has written no record yet. Retire it with --trust-none.")
    if not 0 <= number <= log.head.number or name in {bad for bad, _ in log.problems}:
        raise NotFound(
            f"keep record {number}: it is missing or invalid. The newest is {log.head.number}."
        )
    return hashlib.sha256(session.vault.get(name)).hexdigest()


def _check_no_keeper_trusted(root: RootRecord) -> None:
    if any(grant.trusted_through is None for grant in root.keepers):
        raise UsageError("keeper: another keeper is trusted. Retire it first.")


def _new_keeper(session: OwnerSession, path: Path) -> tuple[Keeper, Create]:
    if path.exists():
        raise UsageError(
            f"{path}: it exists, and a keeper's key is never overwritten. Name another file."
        )
    keeper = Keeper(
        repository=session.owner.repository,
        owner=session.owner.public,
        key=Ed25519PrivateKey.from_private_bytes(session.random(32)),
    )
    return keeper, Create(path=path, data=keeper.to_bytes())
