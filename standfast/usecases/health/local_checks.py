"""Checks of this machine: disks, user, ledger, people, `serve`.

The ledger is the installation's database. `serve` is the process that does the scheduled work.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import httpx

from standfast.config import Config
from standfast.continuity.service_order import recovery_order
from standfast.host_name import host_name
from standfast.ledger import Ledger
from standfast.ledger.runs.run_record import MAX_CLOCK_DIFFERENCE
from standfast.ledger.runs.server_clock import ServerClock, clock_difference, clocks_apart_message
from standfast.plurals import counted
from standfast.usecases.core.run_record import other_user_of
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    fail,
    lacking,
    ok,
    warn,
)
from standfast.usecases.health.disk_space import disk_spaces

_ENOUGH_APPROVERS = 2
_CLOCKS_AGREE = timedelta(seconds=5)
_SQLITE = "sqlite:///"


def _user(inputs: CheckInputs) -> Iterator[Check]:
    user = other_user_of(inputs.config)
    if user is not None:
        yield warn(
            "user",
            f"this installation belongs to the user {user}; another user may see other permissions",
            f"run this as that user: put `sudo -u {user}` before it",
        )


def _ledger(inputs: CheckInputs) -> Iterator[Check]:
    if inputs.ledger is None:
        return  # another check has already reported that the ledger cannot be opened
    sequence = inputs.ledger.audit.sign_head(inputs.clock())
    yield ok(
        "ledger",
        f"{counted(sequence, 'event')}; the newest events are valid, and the head is signed",
    )
    yield from _keys_of_incidents(inputs.config, inputs.ledger)
    if isinstance(inputs.clock, ServerClock):
        yield from _clock(inputs.clock)
    witness = inputs.config.ledger.witness
    if witness.is_relative_to(inputs.config.folder):
        yield warn(
            "ledger",
            f"its witness {witness.name} is in the folder of the installation: an intruder could "
            "rewrite both the ledger and the witness",
            "set ledger.witness to a file on another machine",
        )


def _keys_of_incidents(config: Config, ledger: Ledger) -> Iterator[Check]:
    """Check that this host has the encryption key of each open incident."""
    open_ = ledger.incidents.all(only_open=True)
    lacking = [row.id for row in open_ if not ledger.cipher.has(row.id)]
    if lacking:
        yield fail(
            "ledger",
            f"the key of {', '.join(lacking)} is not in {config.ledger.keys}: this host cannot "
            "show or notify the people in these incidents",
            "set ledger.keys to one folder on all hosts of this ledger; deploy/serve/README.md",
        )


def _clock(clock: ServerClock) -> Iterator[Check]:
    if abs(clock.ahead) > MAX_CLOCK_DIFFERENCE:
        yield fail("ledger", clocks_apart_message(clock.ahead))
    elif abs(clock.ahead) > _CLOCKS_AGREE:
        yield warn(
            "ledger",
            f"{clock_difference(clock.ahead)}; the server's clock is used",
            "set this host's clock by the network (NTP)",
        )


def _services(inputs: CheckInputs) -> Iterator[Check]:
    services = inputs.config.services
    waves = recovery_order(services)  # raises an error for a cycle or an impossible objective
    if not waves:
        yield warn(
            "services", "no service is configured, so no RTO and RPO are set", "add [services.NAME]"
        )
        return
    yield ok("services", "recovery order: " + ", then ".join(" + ".join(w) for w in waves))
    for name, service in services.items():
        if not service.sets:
            yield warn("services", f"{name} is restored from no backup set", "name its `sets`")


def _people(inputs: CheckInputs) -> Iterator[Check]:
    if inputs.ledger is None:
        return
    people = inputs.ledger.people
    enrolled = people.all()
    for first, second, attribute in people.duplicates():
        yield warn(
            "people",
            f"{first} and {second} have the same {attribute} and count as one person",
            f"if both are the same person: `standfast people remove {second} --as NAME`",
        )
    counting = people.counted_once(enrolled)
    if counting < _ENOUGH_APPROVERS <= len(enrolled):
        yield warn(
            "people",
            f"{len(enrolled)} people count as one, because enrolments connect them; an approval "
            "needs a person that did not request it",
            "`standfast people add NAME --owner-key FILE` enrols a person who counts separately",
        )
    elif len(enrolled) < _ENOUGH_APPROVERS:
        short = warn if enrolled else lacking
        yield short(
            "people",
            f"{counted(len(enrolled), 'person', 'people')} enrolled; an approval needs a person "
            "that did not request it",
            "`standfast people add NAME`. A person that is enrolled on the first day, before the "
            "first live incident, may approve immediately. A person that is enrolled later may "
            "approve after one day, or immediately if the owner's key signs the enrolment",
        )
    else:
        together = f", and count as {counting}" if counting < len(enrolled) else ""
        yield ok("people", f"{len(enrolled)} people may be asked to approve{together}")


def _serve(inputs: CheckInputs) -> Iterator[Check]:
    settings = inputs.config.serve
    if importlib.util.find_spec("prefect") is None:
        yield fail("serve", "prefect is not installed", "install standfast with its dependencies")
    elif settings.prefect is None:
        yield ok("serve", "`standfast serve` starts a Prefect server of its own")
    elif _answers(settings.prefect):
        yield ok("serve", f"Prefect answers at {settings.prefect}")
    else:
        yield warn(
            "serve",
            f"Prefect does not answer at {settings.prefect}: nothing runs on schedule; incidents "
            "run without it",
            "start it, or remove serve.prefect so that a server is started here",
        )
    if settings.prefect is not None and inputs.config.drills.identity is not None:
        yield warn(
            "serve",
            "this machine has drills.identity and uses a shared Prefect: root of any host that "
            "has Prefect's password can run a command here and open every backup",
            "remove serve.prefect here and run `standfast serve --role drills`, or remove "
            "drills.identity (deploy/site/README.md)",
        )
    if settings.console is None:
        yield warn(
            "serve",
            "no console is configured: to approve or answer, people need a terminal on this host",
            "set up TLS in front of `standfast serve` (docs/console.md) and set serve.console",
        )
    else:
        yield ok("serve", f"people see status, answer and sign at {settings.console}/console")
    if inputs.ledger is None:
        return
    hosts = inputs.ledger.runners.serve_hosts(inputs.clock())
    machine = host_name()
    if machine not in hosts:
        where = " on this host" if hosts else ""
        yield warn(
            "serve",
            f"no `standfast serve` runs{where}: nothing is backed up on schedule",
            "start `standfast serve` as a service",
        )
    if hosts - {machine} and not settings.hosts:
        yield warn(
            "serve",
            "other machines run `standfast serve` as well: nobody is notified if one stops",
            "name all of them in serve.hosts",
        )


def _answers(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _disks(inputs: CheckInputs) -> Iterator[Check]:
    for space in disk_spaces(_written(inputs.config)):
        if space.is_full:
            yield fail("disks", space.sentence, "free space now")
        elif space.is_little:
            yield warn(
                "disks", space.sentence, "free space there before a backup or an incident needs it"
            )
        else:
            yield ok("disks", space.sentence)


def _written(config: Config) -> Mapping[str, Path]:
    """Return the paths to which the installation writes, by name in messages."""
    found = {
        "upload cache": config.backup.send_log,
        "drills": config.drills.folder,
        "evidence": config.custody.folder,
    }
    if config.ledger.url.startswith(_SQLITE):
        return {"ledger": Path(config.ledger.url.removeprefix(_SQLITE)), **found}
    return found


CHECKS: Mapping[str, CheckFunction] = {
    "disks": _disks,
    "user": _user,
    "ledger": _ledger,
    "services": _services,
    "people": _people,
    "serve": _serve,
}
