"""`standfast evidence hold`, `release`, `dispose`: legal holds, disposal.

A legal hold is a decision that the evidence of an incident must be kept.
"""

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted

_incident = click.argument("incident", help="The incident.")
_reason = click.option("--reason", required=True, help="The reason, without names; it is recorded.")
_sign_in = sign_in_options("Sign in as this person, who has a role; required.")


@command(
    "hold",
    exits={
        ExitStatus.DONE: "the hold is placed; the evidence cannot be disposed of",
        ExitStatus.USAGE: "there is no such incident",
        ExitStatus.REFUSED: "no person with a role signed in, or there is a hold already",
    },
    example="standfast evidence hold inc-2026-0001 --reason 'claim 4711' --as dana",
)
@_incident
@_reason
@_sign_in
@click.pass_obj
def hold(call: Call, incident: str, reason: str) -> ExitStatus:
    """Place a legal hold: the evidence of an incident cannot be disposed of."""
    from standfast.usecases.evidence.legal_hold import place_hold

    with call.installation() as installation:
        placed = place_hold(installation, incident, reason, signed_in(call, installation))
    return call.print_result(
        {"incident": incident, "hold": placed.as_json()},
        [f"{incident} is under legal hold. Another person than {placed.placed_by} can release it."],
    )


@command(
    "release",
    exits={
        ExitStatus.DONE: "the hold is released",
        ExitStatus.USAGE: "there is no such incident, or no hold",
        ExitStatus.REFUSED: "no person with a role signed in, or this person placed the hold",
        ExitStatus.DAMAGED: "the ledger does not verify",
    },
    example="standfast evidence release inc-2026-0001 --reason 'claim settled' --as lee",
)
@_incident
@_reason
@_sign_in
@click.pass_obj
def release(call: Call, incident: str, reason: str) -> ExitStatus:
    """Release the legal hold of an incident that another person placed."""
    from standfast.usecases.evidence.legal_hold import release_hold

    with call.installation() as installation:
        release_hold(installation, incident, reason, signed_in(call, installation))
    return call.print_result(
        {"incident": incident, "hold": None}, [f"The legal hold of {incident} is released."]
    )


@command(
    "dispose",
    exits={
        ExitStatus.DONE: "all of it is disposed of with certificates, or the request is withdrawn",
        ExitStatus.USAGE: "there is no such incident, no evidence, or no request to approve",
        ExitStatus.PARTIAL: "a folder was not disposed of; the reason is shown. Run it again",
        ExitStatus.REFUSED: (
            "a legal hold, the retention time or the two-person rule prevents the disposal"
        ),
        ExitStatus.WAITS_FOR_PEOPLE: "it is requested; another person must approve it",
        ExitStatus.DAMAGED: "all of the evidence is missing, or the ledger does not verify",
    },
    example="standfast evidence dispose inc-2026-0001 --reason 'retention is over' --as dana",
)
@_incident
@click.option("--reason", default="", help="Request the disposal for this reason, without names.")
@click.option(
    "--approve", is_flag=True, help="Approve the disposal as a second person, and carry it out."
)
@click.option("--withdraw", is_flag=True, help="Withdraw the request; nothing is removed.")
@_sign_in
@click.pass_obj
def dispose(call: Call, incident: str, reason: str, approve: bool, withdraw: bool) -> ExitStatus:
    """Dispose of the evidence of a closed incident, with two people.

    One person requests the disposal with --reason, and another approves it with --approve. The keys
    and the files are removed. Manifests, seals and chains of custody stay, with a signed
    certificate. After an interruption, run --approve again. Until removal begins, --withdraw
    cancels the request.
    """
    from standfast.usecases.evidence.disposal import (
        approve_disposal,
        request_disposal,
        withdraw_disposal,
    )

    if approve + withdraw + bool(reason.strip()) != 1:
        raise UsageError("arguments: give one of --reason TEXT, --approve and --withdraw")
    with call.installation() as installation:
        by = signed_in(call, installation)
        if withdraw:
            requested_by = withdraw_disposal(installation, incident, by)
            return call.print_result(
                {"incident": incident, "withdrawn": requested_by},
                [f"The disposal of {incident} that {requested_by} requested is withdrawn."],
            )
        disposal = (
            approve_disposal(installation, incident, by)
            if approve
            else request_disposal(installation, incident, reason, by)
        )
    lines: list[Line] = []
    if not disposal.approved_by:
        lines.append(
            f"Requested by {disposal.requested_by}. Another person approves it: `standfast "
            f"evidence dispose {incident} --approve --as PERSON`."
        )
    for certificate in disposal.certificates:
        keys = counted(len(certificate.destroyed_keys), "copy of its key", "copies of its key")
        removed = f"{keys} and its files" if certificate.is_encrypted else "its files"
        lines.append(
            f"{certificate.source}/{certificate.token}: disposed of; {removed} are removed"
        )
        lines += [f"  NOT CONFIRMED: {copy.where}: {copy.why}" for copy in certificate.unconfirmed]
    lines += list(disposal.problems)
    return call.print_result(
        {"incident": incident, **disposal.as_json()}, lines, disposal.exit_status
    )
