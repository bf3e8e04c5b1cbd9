"""`standfast backup owner …`: domains, their generations and custodians.

The owner is the person with the offline signing key of the backups. An erasure domain is a group of
backup sets with one key, which are erased together. A generation is one key pair of a domain. A
custodian is a person that can decrypt backups.
"""

from pathlib import Path

import click

from standfast.cli.key_ceremonies.ceremony import (
    OWNER_EXIT_STATUSES,
    PRINT_CARD,
    custodian_command,
    open_identity,
    owner_command,
    owner_session,
    print_ceremony_result,
)
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus
from standfast.plurals import counted

_UPDATE_COPIES = "`standfast backup keys copy FOLDER` for each other copy of the key records."


@command(
    "add-domain",
    exits={
        ExitStatus.DONE: "the domain has a key, encrypted to its custodians",
        ExitStatus.USAGE: "the domain exists, or its custodians must be named",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner add-domain personnel --owner-key owner.json",
)
@click.argument("name", help="The name of the new domain.")
@click.option(
    "--recipient",
    multiple=True,
    metavar="KEY",
    help="A custodian's public key, followed by a name; repeatable. By default the custodians of "
    "the other domains.",
)
@owner_command
def add_domain(call: Call, name: str, owner_key: Path, recipient: tuple[str, ...]) -> ExitStatus:
    """Add an erasure domain: data with one key, erased together."""
    from standfast.usecases.key_ceremonies.owner_operations import add_domain_as_owner

    result = add_domain_as_owner(owner_session(call, owner_key), name, recipient)
    custodians = counted(len(result["custodians"]), "custodian")
    return print_ceremony_result(
        call,
        result,
        [f"Domain {name} is created (root record {result['root']}); {custodians} can open it."],
        [f"Add a host to it: `standfast backup owner add-writer NAME --domain {name}`."],
    )


@command(
    "new-generation",
    exits={
        ExitStatus.DONE: "later backups are encrypted to a new key",
        ExitStatus.USAGE: "there is no such domain, or it was erased",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner new-generation main --owner-key owner.json",
)
@click.argument("domain", help="The domain's name.")
@owner_command
def new_generation(call: Call, domain: str, owner_key: Path) -> ExitStatus:
    """Create a new key for a domain, for the same custodians."""
    from standfast.usecases.key_ceremonies.owner_operations import begin_generation_as_owner

    result = begin_generation_as_owner(owner_session(call, owner_key), domain)
    generation, root = result["generation"], result["root"]
    return print_ceremony_result(
        call,
        result,
        [f"Domain {domain} is in generation {generation} (root record {root})."],
        [
            _UPDATE_COPIES,
            "`standfast backup run` on its hosts: the first run uploads everything again.",
        ],
    )


@command(
    "add-custodian",
    exits={
        ExitStatus.DONE: "one more custodian can open every domain, old and new points",
        ExitStatus.USAGE: "the key is not a public key, or the identity does not open every domain",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner add-custodian --recipient age1… --name 'Lee Moss' "
    "--identity identity.txt --owner-key owner.json",
)
@click.option(
    "--recipient",
    required=True,
    metavar="KEY",
    help="The new custodian's public key: age1…, ssh-ed25519 … or ssh-rsa …",
)
@click.option("--name", default="", help="The new custodian's name.")
@custodian_command
def add_custodian(
    call: Call,
    recipient: str,
    identity: Path,
    owner_key: Path,
    name: str,
    identity_passphrase_file: Path | None,
) -> ExitStatus:
    """Add a custodian: a person that can open every backup.

    An existing custodian must open the keys with --identity. If --recipient is a custodian
    already, the command only sets the name.
    """
    from standfast.usecases.key_ceremonies.owner_operations import add_custodian_as_owner

    owner = owner_session(call, owner_key)
    opened = open_identity(call, identity, identity_passphrase_file)
    result = add_custodian_as_owner(owner, recipient, name, opened)
    written = counted(len(result["key_records"]), "key record")
    return print_ceremony_result(
        call,
        result,
        [f"{name or 'The new custodian'} can open every domain ({written} written)."],
        [
            "Let the new custodian try it: `standfast backup list --identity FILE`, or a drill.",
            _UPDATE_COPIES,
            PRINT_CARD,
        ],
    )


@command(
    "retire-custodian",
    exits={
        ExitStatus.DONE: "the custodian cannot open later backups",
        ExitStatus.USAGE: "there is no such custodian, or it is the only one",
        **OWNER_EXIT_STATUSES,
    },
    example="standfast backup owner retire-custodian 'Lee Moss' --identity identity.txt "
    "--owner-key owner.json",
)
@click.argument("which", metavar="WHO", help="The name or public key, as `owner show` lists it.")
@custodian_command
def retire_custodian(
    call: Call, which: str, identity: Path, owner_key: Path, identity_passphrase_file: Path | None
) -> ExitStatus:
    """Retire a custodian: create new keys that this person cannot open.

    A remaining custodian must open the keys with --identity. A retired custodian that kept a copy
    of the old keys can still open earlier recovery points, if the person can still read the packs.
    """
    from standfast.usecases.key_ceremonies.owner_operations import retire_custodian_as_owner

    owner = owner_session(call, owner_key)
    opened = open_identity(call, identity, identity_passphrase_file)
    result = retire_custodian_as_owner(owner, which, opened)
    generations = ", ".join(f"{name} {n}" for name, n in result["generations"].items())
    return print_ceremony_result(
        call,
        result,
        [
            f"{result['custodian']} is retired and cannot open later backups.",
            f"New generations: {generations}; root record {result['root']}.",
            "That person's key records are deleted from the key store and its copies.",
            "Warning: with a copy of the old keys, earlier points stay readable for that person.",
        ],
        [
            "Remove that person's access to the vault and to every copy of it.",
            *(
                f"`standfast backup keys copy FOLDER` for {copy}, which still has the key records."
                for copy in result.get("copies_to_clean", ())
            ),
            "Remove copies of the key store that Standfast does not know: archives, USB sticks.",
            "`standfast backup run` on every host: the first run uploads everything again.",
            PRINT_CARD,
        ],
    )
