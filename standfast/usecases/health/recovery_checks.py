"""Checks of the key records and their copies, for a restore elsewhere.

A key record is the private key of a domain (backup sets that share one key), encrypted to the
custodians (people that can decrypt backups). A restore needs a key record.

Rules
- The checks are about a restore after the loss of this machine. It needs a copy of the key records
  on another machine.
- A copy of the key records that cannot be read now is judged by its state when it was last read.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from backup.errors import BackupError, NotFound
from backup.format.root_record import RootRecord
from backup.stores.directory import DirectoryStore
from backup.trust.key_files import read_key_record
from backup.trust.root_chain import load_root_chain
from standfast.config.sections.backup import BackupConfig
from standfast.errors import StandfastError
from standfast.usecases.core.backup_repository import open_vault
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    fail,
    ok,
    warn,
)
from standfast.usecases.key_ceremonies.key_record_copies import (
    KeyCopyStatus,
    key_copy_statuses,
    key_store_name,
)
from standfast.usecases.setup.new_installation import OFFLINE

_SEEN_WITHIN = timedelta(days=400)  # a copy must be read once a year, with some weeks of delay
_ENOUGH_COPIES = 2
_COPY = "`standfast backup keys copy FOLDER`"


def _recovery(inputs: CheckInputs) -> Iterator[Check]:
    backup = inputs.config.backup
    try:
        root = load_root_chain(open_vault(inputs.config, inputs.resolver, inputs.clock)).root
    except (BackupError, StandfastError):
        return  # the check of the vault reports this error
    copies = key_copy_statuses(backup, root)
    yield from _key_records(backup, root, copies)
    whole = [copy.name for copy in copies if not copy.lacks]
    if len(whole) < _ENOUGH_COPIES:
        known = f"in {whole[0]}" if whole else "none is complete"
        yield warn(
            "recovery",
            f"only one copy of the key records is known ({known}): if it is lost, no backup can "
            "be opened",
            "`standfast backup keys copy FOLDER --name NAME` makes another one; keep it next to a "
            "recovery identity",
        )
    for copy in copies:
        yield from _copy(copy, is_key_store=copy.name == key_store_name(backup))
        if inputs.clock() - copy.seen > _SEEN_WITHIN and copy.name != key_store_name(backup):
            yield warn(
                "recovery",
                f"copy {copy.name} of the key records was last seen on {copy.seen:%Y-%m-%d}",
                f"bring it here and run {_COPY}",
            )
    offline = inputs.config.folder / OFFLINE
    if offline.exists():
        yield warn(
            "recovery",
            f"{offline} is still on this machine: it has the recovery identity, so an intruder "
            "here can read every backup",
            "copy it to two USB sticks, keep them at two locations, then delete it here",
        )
    if whole:
        vault = f"bucket {backup.s3.bucket}" if backup.s3 else str(backup.vault)
        yield ok(
            "recovery",
            f"a restore needs three things: the vault ({vault}), the key records (copies: "
            f"{'; '.join(whole)}), and a recovery identity",
        )


def _key_records(
    backup: BackupConfig, root: RootRecord, copies: tuple[KeyCopyStatus, ...]
) -> Iterator[Check]:
    """Check that this host's key store has a valid key record of each domain."""
    store = DirectoryStore(backup.keys)
    others = [copy.name for copy in copies[1:] if not copy.lacks]
    where = f" from a copy: {'; '.join(others)}" if others else " from a copy, if there is one"
    for domain in root.domains:
        if domain.erased is not None:
            continue
        try:
            read_key_record(store, root, domain)
        except NotFound:
            yield fail(
                "recovery",
                f"the key store {store.where} has no key record of {domain.id}/{domain.generation}:"
                " backups under that key cannot be opened from here",
                f"{_COPY} restores it{where}",
            )
        except BackupError as error:
            yield fail("recovery", f"in the key store {store.where}: {error}", f"{_COPY}{where}")


def _copy(copy: KeyCopyStatus, *, is_key_store: bool) -> Iterator[Check]:
    if copy.lacks and not is_key_store:
        yield warn(
            "recovery",
            f"copy {copy.name} of the key records lacks {', '.join(copy.lacks)}",
            f"bring it here and run {_COPY}",
        )
    if copy.erased and not is_key_store:
        yield warn(
            "recovery",
            f"copy {copy.name} still has the key records of {', '.join(copy.erased)}, which was "
            "erased",
            f"update it with {_COPY}; or destroy it, then `standfast backup keys forget NAME`",
        )


CHECKS: Mapping[str, CheckFunction] = {"recovery": _recovery}
