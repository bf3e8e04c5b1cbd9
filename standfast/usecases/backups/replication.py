"""Replication of the vault to a second site, without decrypting it.

The vault is the folder or bucket with the encrypted backups. A second site is another location with
a copy of the vault.
"""

from collections.abc import Callable
from dataclasses import dataclass

from backup.ownership.key_record_copies import KeyFolder, record_seen
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
    """The outcome of one replication."""

    name: str
    report: ReplicationReport
    has_keys: bool
    traits: StoreTraits

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED if an object differs from its copy; other objects were copied."""
        return ExitStatus.DONE if self.report.is_whole else ExitStatus.DAMAGED

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        counts: dict[str, Json] = {
            kind: {"copied": count.copied, "bytes": count.bytes, "already": count.already}
            for kind, count in self.report.counts.items()
        }
        findings: list[Json] = [_finding(finding) for finding in self.report.findings]
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
    """Copy new objects of the vault to a second site.

    A repeated call completes an interrupted copy. The bandwidth limit of backups applies, because
    backups and copies use the same network line. Raise `UsageError` for an unknown site, for a site
    with another repository, and for `with_keys` if the site has no folder for keys.
    """
    settings, site = stores.copy(name)
    to = throttled(site, stores.config, stores.clock)
    keys_to = None
    if with_keys:
        if settings.keys is None:
            raise UsageError(
                f"backup.copies.{name}.keys: not set. Set it to the folder for the domain keys."
            )
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
            record_seen(root, reachable(stores.config.backup), stores.clock())
    return CopyOutcome(name=name, report=report, has_keys=with_keys, traits=to.describe())


def _finding(finding: Finding) -> JsonObject:
    return {
        "severity": finding.severity,
        "object": finding.object,
        "problem": finding.problem,
        "what_to_do": finding.what_to_do,
    }
