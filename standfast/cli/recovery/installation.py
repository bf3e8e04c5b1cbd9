"""`standfast recover installation`: the installation of a lost machine.

The vault is the store of the encrypted backups. It also has copies of the installation itself:
configuration, database and keys.
"""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from standfast.cli.backups.transfer_progress import show_from_first_report
from standfast.cli.incidents.incident_arguments import parse_moment
from standfast.cli.key_ceremonies.ceremony import identity_passphrase_file_option, open_identity
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import second

if TYPE_CHECKING:
    from standfast.usecases.setup.installation_recovery import RecoveredInstallation


@command(
    "installation",
    exits={
        ExitStatus.DONE: "the installation is recovered; secrets may have to be set",
        ExitStatus.FAILED: "the vault does not respond, or the disk is full; run the same command "
        "again",
        ExitStatus.USAGE: "the identity opens nothing; the vault has no copy of an installation, "
        "or copies of several hosts",
        ExitStatus.REFUSED: "the folder is not empty, or another recovery writes there",
        ExitStatus.DAMAGED: "the copy is damaged; or the witness has seen a newer ledger",
    },
    example="standfast recover installation --vault /mnt/vault --identity offline/identity.txt "
    "--into /srv/standfast",
)
@click.option(
    "--vault",
    type=FilePath(),
    metavar="DIR",
    help="The folder of the vault. For a bucket, name a configuration with [backup.s3] by -c.",
)
@click.option(
    "--identity",
    type=FilePath(),
    required=True,
    metavar="FILE",
    help="The recovery identity of a custodian.",
)
@identity_passphrase_file_option
@click.option(
    "--keys",
    type=FilePath(),
    metavar="DIR",
    help="A copy of the key records; by default the folder of the identity.",
)
@click.option(
    "--into", type=FilePath(), required=True, metavar="DIR", help="A new folder, or an empty one."
)
@click.option("--at", metavar="TIME", help="The newest copy until this time: 2026-11-25T02:45Z.")
@click.option("--host", metavar="HOST", help="The backup host, if the vault has copies of several.")
@click.pass_obj
def installation(
    call: Call,
    vault: Path | None,
    identity: Path,
    identity_passphrase_file: Path | None,
    keys: Path | None,
    into: Path,
    at: str | None,
    host: str | None,
) -> ExitStatus:
    """Recover an installation from its newest copy in the vault.

    After an interruption, run the same command again.
    """
    from backup.stores.directory import DirectoryStore
    from standfast.usecases.core.installation import system_clock
    from standfast.usecases.setup.installation_recovery import RecoveryRequest, recover_installation

    if vault is None and call.config_if_any() is None:
        raise UsageError(
            "vault: none is named. Add --vault DIR, or name a configuration with [backup.s3] by -c."
        )
    request = RecoveryRequest(
        vault=call.stores().vault if vault is None else DirectoryStore(vault),
        vault_folder=vault,
        identity=open_identity(call, identity, identity_passphrase_file),
        keys=identity.absolute().parent if keys is None else keys,
        into=into,
        env=call.env,
        at=parse_moment(at),
        host=host,
    )
    with show_from_first_report(call, "recovering the installation") as report:
        recovered = recover_installation(request, system_clock, report)
    return call.print_result(recovered.as_json(), _lines(recovered), ExitStatus.DONE)


def _lines(recovered: "RecoveredInstallation") -> list[Line]:
    made_at = second(recovered.made_at, "UTC")
    parts = [
        ("restored", recovered.restored),
        ("not in the copy", recovered.lacking),
        ("changed settings", recovered.changed),
    ]
    lines: list[Line] = [
        f"Installation recovered in {recovered.config_file.parent}.",
        f"Its state is from {made_at} ({recovered.point}).",
        "",
        Table(rows=[[name, ", ".join(found)] for name, found in parts if found], indent=2),
    ]
    if recovered.secrets:
        lines += ["", "Set these secrets, which no copy has:"]
        lines.append(Table(rows=[[name, key] for key, name in recovered.secrets], indent=2))
    if recovered.paths:
        lines += ["", "Bring these files and folders back, or correct the settings:"]
        lines.append(Table(rows=[[path, key] for key, path in recovered.paths], indent=2))
    lines += [
        "",
        f"The ledger lacks everything that happened after {made_at}. A copy never",
        "contains evidence folders, the witness, or keys of closed incidents.",
    ]
    config = f"standfast -c {quote(str(recovered.config_file))}"
    if recovered.is_on_server:
        lines += [
            "The ledger is in PostgreSQL. If that server is lost, restore its dump into a new one:",
            f"  {config} backup restore {recovered.point} --set installation \\",
            "    --into env:LEDGER_ADDRESS --identity FILE",
            "Then stop each open live incident before you start `standfast serve`.",
        ]
    for incident in recovered.stopped:
        lines.append(
            f"{incident} is stopped: compare it with the real systems, then `{config} incident "
            f"resume {incident}`."
        )
    lines += [
        "If somebody else may have the old machine, revoke its keys before the next backup:",
        "`standfast backup owner new-epoch --help` states how.",
        "",
        f"Next: {config} check",
        f"      {config} audit verify",
        f"      {config} backup run",
    ]
    return lines
