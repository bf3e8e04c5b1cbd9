"""Authorization of a host to write, by the newest root record.

A root record is the owner's signed list of hosts and keys. If the vault (the folder or bucket with
the encrypted backups) lacks the newest root record that this host has seen, the run stops. The
reason is that an older root record can authorize a host that the owner has removed since.
"""

from dataclasses import dataclass

from backup.archiver.upload_cache.cache import UploadCache
from backup.errors import BackupError, Damaged, UsageError
from backup.format.root_record import DomainGrant
from backup.stores import Store
from backup.trust.key_files import Host, erased_text, read_key_record
from backup.trust.root_chain import RootChain, load_root_chain


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterAuthorization:
    """A host's authorization to write, signed by the owner."""

    trust: RootChain
    domain: DomainGrant  # the erasure domain, with the public key to which packs are encrypted


def authorize_writer(
    vault: Store, host: Host, cache: UploadCache | None = None, *, domain: DomainGrant | None = None
) -> WriterAuthorization:
    """Read the root records; raise `UsageError` if they exclude this host.

    `cache` records the newest root record that this host has seen. Raise `Damaged` if the vault
    lacks this root record. `domain` is the erasure domain (backup sets that share one key) with
    which the run started. The run uses the same key to its end. If the newest root record does not
    contain this key any more, raise `UsageError`.
    """
    trust = load_root_chain(vault, owner=host.owner)
    root = trust.root
    if root.repository != host.repository:
        raise UsageError(
            "vault: it belongs to another repository. Check the host.json of this host."
        )
    grant = root.writer(host.writer, host.epoch)
    current = root.domain(host.domain)
    if grant is not None and grant.trusted_through is not None:
        raise UsageError(
            f"writer {host.writer}: the root record no longer trusts these keys. Copy the"
            " host.json of its new epoch here; `standfast backup owner new-epoch` makes one."
        )
    if (
        grant is None
        or grant.key != host.public_key
        or current is None
        or current.id not in grant.domains
        or (domain is not None and domain not in root.domains)
    ):
        raise UsageError(
            f"writer {host.writer}: the root record does not authorize it for domain"
            f" {host.domain}. The owner must sign a record that does."
        )
    if current.erased is not None:
        raise UsageError(
            f"{erased_text(current)}. No backup can be made for it. The owner must authorize this"
            " host for another domain."
        )
    if cache is not None:
        check_not_rolled_back(trust, cache)
    return WriterAuthorization(trust=trust, domain=domain or current)


def key_problem(keys: Store, authorization: WriterAuthorization) -> str:
    """Return the reason why the key store cannot open new packs, or ""."""
    try:
        read_key_record(keys, authorization.trust.root, authorization.domain)
    except BackupError as error:
        return str(error)
    return ""


def check_not_rolled_back(trust: RootChain, cache: UploadCache) -> None:
    """Raise `Damaged` if this host has seen a newer root record."""
    seen = cache.history.last_root_number()
    if trust.root.number < seen:
        raise Damaged(
            f"root record {seen}: this host has seen it, but it is missing. Restore the root"
            " records from a copy before the next backup."
        )
    cache.history.store_root_number(trust.root.number)
