"""`standfast backup owner …`: the erasure of a domain by two people."""

from pathlib import Path

import click

from standfast.cli.key_ceremonies.ceremony import office, owner_key_option, print_ceremony_result
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Table
from standfast.errors import ExitStatus
from standfast.plurals import counted

_COMMON = {
    ExitStatus.FAILED: "a store does not answer; run it again, and it is completed",
    ExitStatus.PARTIAL: "it is done, and a copy of the key records could not be brought up to date",
    ExitStatus.DAMAGED: "the order or the root records were changed; nothing was erased",
}


@command(
    "order-erasure",
    exits={
        ExitStatus.DONE: "the order is written; nothing is erased by it",
        ExitStatus.USAGE: "there is no such domain, or it was erased",
        **_COMMON,
    },
    example="standfast backup owner order-erasure personnel --ordered-by 'Dana Ray' "
    "--reason 'the contract has ended' --to erasure.order --owner-key owner.json",
)
@click.argument("domain", help="What is to be erased.")
@click.option("--ordered-by", required=True, metavar="NAME", help="You, for the certificate.")
@click.option("--reason", required=True, help="Why, for the certificate.")
@click.option(
    "--to", type=FilePath(), required=True, metavar="FILE", help="A new file for the order."
)
@owner_key_option
@passphrase_file_option
@click.pass_obj
def order_erasure(
    call: Call,
    domain: str,
    ordered_by: str,
    reason: str,
    to: Path,
    owner_key: Path,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Sign the order to erase a domain, for every custodian to attest."""
    from standfast.usecases.key_ceremonies.domain_erasure import erasure_ordered

    at = office(call, owner_key, passphrase_file)
    order = erasure_ordered(at, domain=domain, ordered_by=ordered_by, reason=reason, to=to)
    people = [challenge.custodian for challenge in order.challenges]
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
            "Every one of its custodians has to attest:",
            Table(
                rows=[[person.name or "(no name)", person.fingerprint] for person in people],
                indent=2,
            ),
        ],
        [
            (
                f"Give {to} to each of them: `standfast backup custodian attest {to} --identity "
                "FILE --as NAME --to FILE`."
            ),
            (
                f"Within 30 days: `standfast backup owner erase {domain} {to} ATTESTATION… "
                "--certificate FILE --owner-key FILE`."
            ),
        ],
    )


@command(
    "erase",
    exits={
        ExitStatus.DONE: "nobody opens the domain any more; the certificate is written",
        ExitStatus.USAGE: "a custodian's attestation is missing, or there is only one person",
        **_COMMON,
    },
    example="standfast backup owner erase personnel erasure.order lee.attestation "
    "dana.attestation --certificate erasure.json --owner-key owner.json",
)
@click.argument("domain", help="The domain, once more.")
@click.argument("order", type=FilePath(), help="The order's file.")
@click.argument(
    "attestations",
    nargs=-1,
    required=True,
    type=FilePath(),
    metavar="ATTESTATION...",
    help="One of every custodian.",
)
@click.option(
    "--certificate",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="A new file for what remains.",
)
@owner_key_option
@passphrase_file_option
@click.pass_obj
def erase(
    call: Call,
    domain: str,
    order: Path,
    attestations: tuple[Path, ...],
    certificate: Path,
    owner_key: Path,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Erase a domain permanently by deleting its keys."""
    from standfast.usecases.key_ceremonies.domain_erasure import erased

    at = office(call, owner_key, passphrase_file)
    result = erased(
        at, domain=domain, order=order, attestations=attestations, certificate=certificate
    )
    left = result.get("copies_to_destroy", ())
    return print_ceremony_result(
        call,
        result,
        [
            (
                f"Domain {domain} is erased: {counted(result['points'], 'recovery point')} of it "
                f"can never be opened again (root record {result['root']})."
            ),
            (
                f"{counted(len(result['key_records']), 'key record')} gone from the key store and "
                "each copy that could be reached."
            ),
            *(
                f"May still hold them: {copy['copy']}, last seen: {copy['seen'][:10]}."
                for copy in left
            ),
            (
                f"The certificate is {result['certificate']}, and as text "
                f"{result['certificate_text']}."
            ),
        ],
        [
            *(
                f"Clean {copy['copy']} with `standfast backup keys copy FOLDER`, or destroy it; "
                "until then a custodian can open the domain with it."
                for copy in left
            ),
            (
                "Remove copies of the key store that this program does not know: archives, sticks, "
                "another site's."
            ),
            "Keep the certificate with your records of processing.",
            "`standfast backup verify` says that it was erased, and finds no damage.",
        ],
    )
