"""Erasure of a domain: the owner's order, and its execution.

The backup sets of a domain share one key. Their backups are erased together, by deleting that key.
The owner (the person with the offline signing key) orders the erasure. Custodians (people that can
decrypt the backups) consent by signed attestations.
"""

from collections.abc import Sequence
from pathlib import Path

from backup.ownership.erasure.domain_erasure import erase, order_erasure
from backup.ownership.erasure.erasure_order import Order, read_attestation, read_order
from backup.ownership.operation_plan import OperationResult
from backup.ownership.owner_session import OwnerSession
from backup.system.durable_files import create_file, read_file
from standfast.errors import UsageError
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.key_ceremonies.owner_operations import check_new_file


def write_erasure_order(
    session: OwnerSession, *, domain: str, ordered_by: str, reason: str, to: Path
) -> Order:
    """Write a signed order to a new file; nothing is erased."""
    with translated_errors("ordering the erasure"):
        check_new_file(to)
        data = order_erasure(session, domain=domain, ordered_by=ordered_by, reason=reason)
        create_file(to.absolute(), data)
        return read_order(data, str(to))


def execute_erasure(
    session: OwnerSession,
    *,
    domain: str,
    order: Path,
    attestations: Sequence[Path],
    certificate: Path,
) -> OperationResult:
    """Execute an order; UsageError if the order is for another domain."""
    with translated_errors("erasing the domain"):
        given = read_order(read_file(order), str(order), owner=session.owner.public)
        if given.domain != domain:
            raise UsageError(
                f"order {order}: it is for domain {given.domain}, not {domain}. Nothing was erased."
            )
        return erase(
            session,
            order=given,
            attestations=[read_attestation(read_file(file), str(file)) for file in attestations],
            certificate=certificate,
        )
