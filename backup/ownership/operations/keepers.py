"""The owner's deeds on the keeper: who may free what is no longer needed.

- A keeper's key is made here, into a file that is carried to the keeper's machine, or was made
  there, and only its public key is named.
- One keeper is at work at a time: two would chain their records past each other.
- A keeper that is found untrue is believed through one keep record; what it marked and dropped
  after that does not count.  What it removed is gone: locks, not trust, hold against that.
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
    office: OwnerSession, *, keeper_file: Path | None = None, key: bytes | None = None
) -> OperationResult:
    """Grant a keeper: a new one, whose key goes into `keeper_file`, or one known by its key.

    `UsageError` while another keeper is trusted.
    """
    if (keeper_file is None) == (key is None):
        raise UsageError("name either the file to make for a new keeper, or a keeper's public key")
    file = "" if keeper_file is None else str(keeper_file.absolute())
    request = {"file": file, "key": "" if key is None else key.hex()}

    def make(trust: RootChain) -> Plan:
        if key is not None and any(one.key == key for one in trust.root.keepers):
            raise UsageError("that keeper's key is granted already, or was retired")
        _check_that_none_is_trusted(trust.root)
        steps: list[Step] = []
        if key is None:
            keeper, create = _new_keeper(office, Path(file))
            public = keeper.public_key
            steps.append(create)
        else:
            public = key
        keepers = (*trust.root.keepers, KeeperGrant(key=public, trusted_through=None))
        record, put = next_root(office, trust, office.now(), keepers=keepers)
        told = {
            "key": public.hex(),
            "keeper_file": file or None,
            "root": record.number,
        }
        return Plan(deed="set-keeper", request=request, told=told, steps=(*steps, put))

    return office.do("set-keeper", request, make)


def retire_keeper(office: OwnerSession, *, trusted_through: int | None) -> OperationResult:
    """Believe the keeper through a keep record (None: believe nothing that it ever wrote)."""
    request = {"trusted_through": "none" if trusted_through is None else str(trusted_through)}

    def make(trust: RootChain) -> Plan:
        trusted = [one for one in trust.root.keepers if one.trusted_through is None]
        if not trusted:
            raise NotFound("no keeper is trusted, so there is none to retire")
        keeps = load_retention_log(office.vault, trust)
        sha256 = None if trusted_through is None else _sha256(office, keeps, trusted_through)
        keepers = tuple(
            one
            if one.trusted_through is not None
            else replace(one, trusted_through=trusted_through, trusted_sha256=sha256)
            for one in trust.root.keepers
            if one.trusted_through is not None or trusted_through is not None
        )
        record, put = next_root(office, trust, office.now(), keepers=keepers)
        told = {
            "keys": [one.key.hex() for one in trusted],
            "trusted_through": trusted_through,
            "no_longer_believed": sum(
                trusted_through is None or link.number > trusted_through for link in keeps.links
            ),
            "root": record.number,
        }
        return Plan(deed="retire-keeper", request=request, told=told, steps=(put,))

    return office.do("retire-keeper", request, make)


def _sha256(office: OwnerSession, keeps: RetentionLog, number: int) -> str:
    name = keep_name(number)
    if keeps.head is None:
        raise NotFound("the keeper has written no record yet: retire it with --believe-none")
    if not 0 <= number <= keeps.head.number or name in {bad for bad, _ in keeps.problems}:
        raise NotFound(f"there is no valid keep record {number}; the newest is {keeps.head.number}")
    return hashlib.sha256(office.vault.get(name)).hexdigest()


def _check_that_none_is_trusted(root: RootRecord) -> None:
    if any(one.trusted_through is None for one in root.keepers):
        raise UsageError("a keeper is trusted already: retire that one first")


def _new_keeper(office: OwnerSession, path: Path) -> tuple[Keeper, Create]:
    if path.exists():
        raise UsageError(f"{path} is there already: a keeper's key is never overwritten")
    keeper = Keeper(
        repository=office.owner.repository,
        owner=office.owner.public,
        key=Ed25519PrivateKey.from_private_bytes(office.random(32)),
    )
    return keeper, Create(path=path, data=keeper.to_bytes())
