"""The copy of the vault at a second site, as a use-case; it takes no key that opens anything."""

from collections.abc import Callable
from dataclasses import dataclass

from backup.ownership.key_record_copies import KeyFolder, note_seen
from backup.records import Finding, Progress
from backup.replication.copy_report import ReplicationReport
from backup.replication.vault_copy import replicate_vault
from backup.stores import StoreTraits
from backup.trust.root_chain import load_root_chain
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json, JsonObject
from standfast.usecases.core.backup_repository import throttled, translated_errors
from standfast.usecases.key_ceremonies.key_record_copies import reachable
from standfast.usecases.key_ceremonies.owner_operations import Stores


@dataclass(frozen=True, kw_only=True)
class CopyOutcome:
    """What a copy did."""

    name: str
    report: ReplicationReport
    has_keys: bool
    traits: StoreTraits

    @property
    def exit_status(self) -> ExitStatus:
        """Damaged where something was not what it should be; the rest was copied all the same."""
        return ExitStatus.DONE if self.report.is_whole else ExitStatus.DAMAGED

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        counts: dict[str, Json] = {
            kind: {"copied": one.copied, "bytes": one.bytes, "already": one.already}
            for kind, one in self.report.counts.items()
        }
        findings: list[Json] = [_finding(one) for one in self.report.findings]
        return {
            "copy": self.name,
            "counts": counts,
            "findings": findings,
            "has_keys": self.has_keys,
            "is_write_only": self.traits.is_write_only,
            "exit_status": int(self.exit_status),
        }


def replicate_to_second_site(
    stores: Stores,
    name: str,
    *,
    with_keys: bool,
    progress: Callable[[Progress], None] | None = None,
) -> CopyOutcome:
    """Copy what is new to a second site of the configuration; to run it again completes it.

    It keeps to the bandwidth of backups, as both go over one line out of the house.
    Raises `UsageError` for an unknown site, for one that holds another repository, or for keys
    where no folder for them is set.
    """
    settings, site = stores.copy(name)
    to = throttled(site, stores.config, stores.clock)
    keys_to = None
    if with_keys:
        if settings.keys is None:
            raise UsageError(f"set backup.copies.{name}.keys: the folder for the domain keys")
        keys_to = KeyFolder(settings.keys)
    with translated_errors(f"copying the vault to {name}"):
        report = replicate_vault(
            stores.vault,
            to,
            owner=stores.known_owner,
            keys=stores.keys if with_keys else None,
            keys_to=keys_to,
            progress=progress,
        )
        if keys_to is not None:
            root = load_root_chain(stores.vault, owner=stores.known_owner).root
            note_seen(root, reachable(stores.config.backup), stores.clock())
    return CopyOutcome(name=name, report=report, has_keys=with_keys, traits=to.describe())


def _finding(one: Finding) -> JsonObject:
    return {
        "severity": one.severity,
        "object": one.object,
        "problem": one.problem,
        "what_to_do": one.what_to_do,
    }
