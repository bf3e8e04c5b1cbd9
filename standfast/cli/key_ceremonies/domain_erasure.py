"""`standfast backup owner …`: the erasure of a domain by two people.

An erasure domain is a group of backup sets with one key. The owner (the person with the offline
signing key) orders its erasure, and every custodian (a person that can decrypt backups) attests it.
"""

from pathlib import Path

import click

from standfast.cli.key_ceremonies.ceremony import (
    OWNER_EXIT_STATUSES,
    owner_command,
    owner_session,
    print_ceremony_result,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Table
from standfast.errors import ExitStatus
from standfast.plurals import counted

_EXIT_STATUSES = {
    **OWNER_EXIT_STATUSES,
    ExitStatus.DAMAGED: "the order or the root records were changed; nothing was erased",
}


@command(
    "order-erasure",
    exits={
        ExitStatus.DONE: "the order is written; nothing is erased yet",
        ExitStatus.USAGE: "there is no such domain, or it was erased",
        **_EXIT_STATUSES,
    },
    example="standfast backup owner order-erasure personnel --ordered-by 'Dana Ray' "
    "--reason 'the contract has ended' --to erasure.order --owner-key owner.json",
)
@click.argument("domain", help="The domain to erase.")
@click.option("--ordered-by", required=True, metavar="NAME", help="Your name, for the certificate.")
@click.option("--reason", required=True, help="The reason, for the certificate.")
@click.option(
    "--to", type=FilePath(), required=True, metavar="FILE", help="A new file for the order."
)
@owner_command
def order_erasure(
    call: Call, domain: str, ordered_by: str, reason: str, to: Path, owner_key: Path
) -> ExitStatus:
    """Sign the order to erase a domain, for every custodian to attest."""
    from standfast.usecases.key_ceremonies.owner_operations import write_erasure_order

    owner = owner_session(call, owner_key)
    order = write_erasure_order(owner, domain=domain, ordered_by=ordered_by, reason=reason, to=to)
    people = [challenge.custodian for challenge in order.challenges]
    rows = [[person.name or "(no name)", person.fingerprint] for person in people]
    attest = f"standfast backup custodian attest {to} --identity FILE --as NAME --to FILE"
    erase_it = f"standfast backup owner erase {domain} {to} ATTESTATION…"
    return print_ceremony_result(
        call,
        {
            "order": str(to),
            "sha256": order.sha256,
            "domain": domain,
            "text": order.text,
            "custodians": [person.text for person in people],
        },
        [
            f"{to} orders the erasure of domain {domain}. Nothing is erased yet.",
            "Each of its custodians must attest:",
            Table(rows=rows, indent=2),
        ],
        [
            f"Give {to} to each custodian: `{attest}`.",
            f"Within 30 days: `{erase_it} --certificate FILE --owner-key FILE`.",
        ],
    )


@command(
    "erase",
    exits={
        ExitStatus.DONE: "nobody can open the domain any more; the certificate is written",
        ExitStatus.USAGE: (
            "an attestation is missing, or one person ordered and attested everything"
        ),
        **_EXIT_STATUSES,
    },
    example="standfast backup owner erase personnel erasure.order lee.attestation "
    "dana.attestation --certificate erasure.json --owner-key owner.json",
)
@click.argument("domain", help="The domain, to confirm it.")
@click.argument("order", type=FilePath(), help="The file of the order.")
@click.argument(
    "attestations",
    nargs=-1,
    required=True,
    type=FilePath(),
    metavar="ATTESTATION...",
    help="The attestation of each custodian.",
)
@click.option(
    "--certificate",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="A new file for the certificate.",
)
@owner_command
def erase(
    call: Call,
    domain: str,
    order: Path,
    attestations: tuple[Path, ...],
    certificate: Path,
    owner_key: Path,
) -> ExitStatus:
    """Erase a domain permanently by deleting its keys."""
    from standfast.usecases.key_ceremonies.owner_operations import execute_erasure

    owner = owner_session(call, owner_key)
    result = execute_erasure(
        owner, domain=domain, order=order, attestations=attestations, certificate=certificate
    )
    left = result.get("copies_to_destroy", ())
    points = counted(result["points"], "recovery point")
    records = counted(len(result["key_records"]), "key record")
    return print_ceremony_result(
        call,
        result,
        [
            f"Domain {domain} is erased (root record {result['root']}).",
            f"{points} can never be opened again.",
            f"{records} deleted from the key store and each reachable copy.",
            *(
                f"A copy may still have them: {copy['copy']}, seen {copy['seen'][:10]}."
                for copy in left
            ),
            f"Certificate: {result['certificate']}, as text {result['certificate_text']}.",
        ],
        [
            *(
                f"Clean {copy['copy']} with `standfast backup keys copy FOLDER`, or destroy it; "
                "until then a custodian can open the domain with it."
                for copy in left
            ),
            "Remove copies of the key store that Standfast does not know: archives, USB sticks.",
            "Keep the certificate with your records of processing.",
            "`standfast backup verify` shows the erasure, and reports no damage.",
        ],
    )
