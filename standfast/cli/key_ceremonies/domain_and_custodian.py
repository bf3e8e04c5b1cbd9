"""`standfast backup owner …`: domains, their generations and custodians."""

from pathlib import Path

import click

from standfast.cli.key_ceremonies.ceremony import (
    attended,
    attended_option,
    identity_passphrase_file_option,
    office,
    owner_key_option,
    print_ceremony_result,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus
from standfast.plurals import counted

_COMMON = {
    ExitStatus.FAILED: "a store does not answer; run it again, and it is completed",
    ExitStatus.PARTIAL: "it is done, and a copy of the key records could not be brought up to date",
    ExitStatus.DAMAGED: "the root records were changed or rolled back; nothing is signed on top",
}
_CARD = "Print the recovery card again: `standfast backup card --html card.html`."


@command(
    "add-domain",
    exits={
        ExitStatus.DONE: "the domain has a key, wrapped to its custodians",
        ExitStatus.USAGE: "there is such a domain, or its custodians have to be named",
        **_COMMON,
    },
    example="standfast backup owner add-domain personnel --owner-key owner.json",
)
@click.argument("name", help="What the domain is called.")
@owner_key_option
@click.option(
    "--recipient",
    multiple=True,
    metavar="KEY",
    help="A custodian's public key, and a name behind it; may be given again. Without, "
    "those of the other domains.",
)
@passphrase_file_option
@click.pass_obj
def add_domain(
    call: Call, name: str, owner_key: Path, recipient: tuple[str, ...], passphrase_file: Path | None
) -> ExitStatus:
    """Add an erasure domain: data with one key, erased together."""
    from standfast.usecases.key_ceremonies.owner_operations import domain_added

    result = domain_added(office(call, owner_key, passphrase_file), name, recipient)
    return print_ceremony_result(
        call,
        result,
        [
            (
                f"Domain {name} is there (root record {result['root']}), opened by "
                f"{counted(len(result['custodians']), 'custodian')}."
            )
        ],
        [f"`standfast backup owner add-writer NAME --domain {name} …` lets a host write for it."],
    )


@command(
    "new-generation",
    exits={
        ExitStatus.DONE: "what is backed up from now on goes under a new key",
        ExitStatus.USAGE: "there is no such domain, or it was erased",
        **_COMMON,
    },
    example="standfast backup owner new-generation main --owner-key owner.json",
)
@click.argument("domain", help="The domain's name.")
@owner_key_option
@passphrase_file_option
@click.pass_obj
def new_generation(
    call: Call, domain: str, owner_key: Path, passphrase_file: Path | None
) -> ExitStatus:
    """Start a new key of a domain, for the same custodians."""
    from standfast.usecases.key_ceremonies.owner_operations import generation_begun

    result = generation_begun(office(call, owner_key, passphrase_file), domain)
    return print_ceremony_result(
        call,
        result,
        [
            (
                f"Domain {domain} is in generation {result['generation']} (root record "
                f"{result['root']})."
            )
        ],
        [
            "`standfast backup keys copy FOLDER` with each other copy of the key records.",
            "`standfast backup run` on its hosts: the first run sends everything again.",
        ],
    )


@command(
    "add-custodian",
    exits={
        ExitStatus.DONE: "one more custodian opens every domain, old points and new",
        ExitStatus.USAGE: "that is no public key, or the identity does not open every domain",
        **_COMMON,
    },
    example="standfast backup owner add-custodian --recipient age1… --name 'Lee Moss' "
    "--identity identity.txt --owner-key owner.json",
)
@click.option(
    "--recipient",
    required=True,
    metavar="KEY",
    help="Their public key: age1…, ssh-ed25519 … or ssh-rsa …",
)
@attended_option
@owner_key_option
@click.option("--name", default="", help="Who that is.")
@passphrase_file_option
@identity_passphrase_file_option
@click.pass_obj
def add_custodian(
    call: Call,
    recipient: str,
    identity: Path,
    owner_key: Path,
    name: str,
    passphrase_file: Path | None,
    identity_passphrase_file: Path | None,
) -> ExitStatus:
    """Add a custodian: a person that can open every backup.

    A present custodian opens the keys for that. For an existing custodian, the command sets the
    name.
    """
    from standfast.usecases.key_ceremonies.owner_operations import custodian_added

    at = office(call, owner_key, passphrase_file)
    opened = attended(call, identity, identity_passphrase_file)
    result = custodian_added(at, recipient, name, opened)
    return print_ceremony_result(
        call,
        result,
        [
            (
                f"{name or 'The new custodian'} opens every domain "
                f"({counted(len(result['key_records']), 'key record')} written)."
            )
        ],
        [
            "Let them try it: `standfast backup list --identity FILE`, or a drill.",
            "`standfast backup keys copy FOLDER` with each other copy of the key records.",
            _CARD,
        ],
    )


@command(
    "retire-custodian",
    exits={
        ExitStatus.DONE: "the custodian opens nothing of what is backed up from now on",
        ExitStatus.USAGE: "there is no such custodian, or no other one",
        **_COMMON,
    },
    example="standfast backup owner retire-custodian 'Lee Moss' --identity identity.txt "
    "--owner-key owner.json",
)
@click.argument("which", metavar="WHO", help="Their name or public key, as `show` has it.")
@attended_option
@owner_key_option
@passphrase_file_option
@identity_passphrase_file_option
@click.pass_obj
def retire_custodian(
    call: Call,
    which: str,
    identity: Path,
    owner_key: Path,
    passphrase_file: Path | None,
    identity_passphrase_file: Path | None,
) -> ExitStatus:
    """Retire a custodian: new keys, which that person cannot open.

    A remaining custodian opens the keys for that. A retired custodian that kept a copy of the old
    keys can still open earlier recovery points, if the person can still read the packs.
    """
    from standfast.usecases.key_ceremonies.owner_operations import custodian_retired

    at = office(call, owner_key, passphrase_file)
    opened = attended(call, identity, identity_passphrase_file)
    result = custodian_retired(at, which, opened)
    generations = ", ".join(f"{name} {n}" for name, n in result["generations"].items())
    return print_ceremony_result(
        call,
        result,
        [
            f"{result['custodian']}",
            (
                f"opens nothing that is backed up from now on (new generations: {generations}; "
                f"root record {result['root']})."
            ),
            "The key records that opened for them are gone from the key store and its copies.",
            (
                "Nobody unlearns a key: if they kept one, points from before open for them "
                "wherever they can still read packs."
            ),
        ],
        [
            "Take away their access to the vault and to every copy of it.",
            *(
                f"Clean {copy} with `standfast backup keys copy FOLDER`: it still opens for them."
                for copy in result.get("copies_to_clean", ())
            ),
            "Remove copies of the key store that this program does not know: archives, sticks.",
            "`standfast backup run` on every host: the first run sends everything anew.",
            _CARD,
        ],
    )
