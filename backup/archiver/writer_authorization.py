"""Whether a host may write: what the root record in force says of it, now.

- A root record older than one that this host has seen stops it: the older one may let somebody
  write whom the newer one does not.
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
    """The owner's word for a host that may write."""

    trust: RootChain
    domain: DomainGrant  # what it writes for, in the generation that packs go to


def admit(
    vault: Store, host: Host, log: UploadCache | None = None, *, domain: DomainGrant | None = None
) -> WriterAuthorization:
    """Read the root records; `UsageError` when they do not let the host write.

    `log` remembers which one was seen, and `Damaged` is raised when it is gone.  `domain`: the run
    began with this generation, and goes on with it as long as the owner has it.
    """
    trust = load_root_chain(vault, owner=host.owner)
    root = trust.root
    if root.repository != host.repository:
        raise UsageError("this store holds another repository than this host writes to")
    grant = root.writer(host.writer, host.epoch)
    current = root.domain(host.domain)
    if grant is not None and grant.trusted_through is not None:
        raise UsageError(
            f"the root record does not let these keys of {host.writer} write any more: carry the"
            " host.json of its new epoch here; the owner's new-epoch makes one where there is none"
        )
    if (
        grant is None
        or grant.key != host.public_key
        or current is None
        or current.id not in grant.domains
        or (domain is not None and domain not in root.domains)
    ):
        raise UsageError(
            f"the root record does not let {host.writer} write for domain {host.domain};"
            " the owner must sign a record that does"
        )
    if current.erased is not None:
        raise UsageError(
            f"{erased_text(current)}. Nothing is backed up into it any more: the owner lets a host"
            " write for another one"
        )
    if log is not None:
        check_not_rolled_back(trust, log)
    return WriterAuthorization(trust=trust, domain=domain or current)


def key_problem(keys: Store, admission: WriterAuthorization) -> str:
    """Return why the key store cannot open what is sealed now; empty when it has the key record."""
    try:
        read_key_record(keys, admission.trust.root, admission.domain)
    except BackupError as error:
        return str(error)
    return ""


def check_not_rolled_back(trust: RootChain, log: UploadCache) -> None:
    """`Damaged` when this host has seen a later root record than the one in force."""
    if trust.root.number < log.newest_root():
        raise Damaged(
            f"root record {log.newest_root()}, which this host has seen, is gone;"
            " restore the root records from a copy before anything is backed up"
        )
    log.remember_root(trust.root.number)
