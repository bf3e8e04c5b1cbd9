"""The parts of a place that lie outside: directories, senders, audiences, evidence; and what is
written for people: notices and playbooks.

Rules
- A directory is asked about an account that nobody has: that it answers is the test.
- A sender is connected to and left again; nothing is handed over.
- A playbook of one's own that cannot be carried out is a failure; a shipped one is a warning, since
  a place need not have what every playbook names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from standfast.accounts import Connector
from standfast.errors import PlaybookInvalid, StandfastError
from standfast.operations import playbooks
from standfast.operations.counted import counted
from standfast.operations.verdicts import Check, Ground, Look, fail, ok, warn
from standfast.playbook.model import Playbook

_NOBODY = "standfast-check"


def _accounts(ground: Ground) -> Iterator[Check]:
    names = ground.config.accounts
    if not names:
        yield warn("accounts", "no account can be locked from here", "add [accounts.NAME]")
    yield from _each("accounts", names, lambda name: _directory(ground, name))
    if names and not ground.config.protected.accounts:
        yield warn(
            "accounts",
            "no account is protected: a mistake could lock the responders out",
            "name responders, break-glass and service accounts under [protected.accounts]",
        )


def _directory(ground: Ground, name: str) -> Iterator[Check]:
    connector = ground.outside.connector(name)
    connector.observe([_NOBODY])
    found = f"{name}: answers; a lock is proven to level {connector.proof.value}"
    if missing := {"lock", "undo", "revoke", "prove"} - connector.verbs:
        yield warn(
            "accounts",
            f"{found}; cannot {', '.join(sorted(missing))}",
            "a plan lists what that costs; sessions that are open there have to be ended by hand",
        )
    else:
        yield ok("accounts", found)
    yield from _protected(ground, name, connector)


def _protected(ground: Ground, name: str, connector: Connector) -> Iterator[Check]:
    inner = [
        account.partition(":")[2]
        for account in ground.config.protected.accounts
        if account.partition(":")[0] == name
    ]
    if not inner:
        return
    states = connector.observe(inner)
    unknown = sum(not state.exists for state in states)
    if unknown:
        yield warn(
            "accounts",
            f"{name}: {unknown} of {len(inner)} under [protected.accounts] not known there",
            "mend the names: what is misspelt is not protected",
        )
    else:
        yield ok("accounts", f"{name}: {counted(len(inner), 'protected account')} known there")


def _senders(ground: Ground) -> Iterator[Check]:
    names = ground.config.senders
    if not names:
        yield warn("senders", "nobody can be told anything from here", "add [senders.NAME]")
    yield from _each("senders", names, lambda name: _sender(ground, name))


def _sender(ground: Ground, name: str) -> Iterator[Check]:
    ground.outside.sender(name).reach()
    yield ok("senders", f"{name}: connects and signs in; nothing was sent")


def _audiences(ground: Ground) -> Iterator[Check]:
    yield from _each("audiences", ground.config.audiences, lambda name: _audience(ground, name))


def _audience(ground: Ground, name: str) -> Iterator[Check]:
    audience = ground.outside.audience(name)
    people = counted(len(audience.recipients), "person", "people")
    rejected = len(audience.rejected)
    if rejected:
        yield warn(
            "audiences",
            f"{name}: {people} can be reached, {counted(rejected, 'row')} cannot "
            f"(the first: row {audience.rejected[0].row_number}, {audience.rejected[0].reason})",
            "mend the rows, or reach these people another way",
        )
    elif not audience.recipients:
        yield warn("audiences", f"{name}: nobody is in it", "mend its file or its query")
    else:
        yield ok("audiences", f"{name}: {people} can be reached")


def _evidence(ground: Ground) -> Iterator[Check]:
    names = ground.config.evidence
    if not names:
        yield warn("evidence", "no log is kept when a breach comes", "add [evidence.NAME]")
    yield from _each("evidence", names, lambda name: _source(ground, name))


def _source(ground: Ground, name: str) -> Iterator[Check]:
    found = f"{name}: {ground.outside.source(name).describe()}"
    if all(path.exists() for path in ground.config.evidence[name].paths):
        yield ok("evidence", found)
    else:
        yield warn("evidence", found, "mend the paths: of what is missing nothing is kept")


def _notices(ground: Ground) -> Iterator[Check]:
    # Each was rendered with its own examples in every language when it was read.
    templates = ground.outside.templates
    yield ok("notices", f"{len(templates)} notices render in each of their languages")
    for name, template in templates.items():
        if missing := set(ground.config.organisation.languages) - set(template.languages):
            yield warn(
                "notices",
                f"{name} has no text in {', '.join(sorted(missing))}",
                f"its readers get {ground.config.organisation.languages[0]}; add the language",
            )


def _playbooks(ground: Ground) -> Iterator[Check]:
    files = playbooks.files(ground.config)
    sound: list[Playbook] = []
    for name, file in files.items():
        try:
            sound.append(playbooks.find(ground.config, name))
        except PlaybookInvalid as error:
            if file.parent != playbooks.SHIPPED:
                yield fail("playbooks", str(error), f"mend {file.name}")
                continue
            first = error.problems[0].message
            yield warn(
                "playbooks",
                f"{name} cannot be carried out here: {first}",
                f"add what it names; see `standfast playbook check {name}`",
            )
    if sound:
        yield ok("playbooks", f"sound here: {', '.join(one.name for one in sound)}")
    yield from _roles(ground, sound)


def _roles(ground: Ground, sound: Iterable[Playbook]) -> Iterator[Check]:
    """Is there somebody for each role that an approval may ask for?"""
    if ground.ledger is None:
        return
    there = {role for person in ground.ledger.people.all() for role in person.roles}
    for playbook in sound:
        for step in playbook.steps:
            if step.approval and step.approval.roles and not there & set(step.approval.roles):
                roles = " or ".join(step.approval.roles)
                yield warn(
                    "playbooks",
                    f"{playbook.name}: step {step.name} asks a {roles}, and nobody is one",
                    f"`standfast people add NAME --role {step.approval.roles[0]}`",
                )


def _each(
    part: str, names: Iterable[str], look: Callable[[str], Iterator[Check]]
) -> Iterator[Check]:
    """Try each by name: one that fails keeps no other from being tried."""
    for name in names:
        try:
            yield from look(name)
        except StandfastError as error:
            yield fail(part, f"{name}: {error}")


LOOKS: Mapping[str, Look] = {
    "accounts": _accounts,
    "senders": _senders,
    "audiences": _audiences,
    "evidence": _evidence,
    "notices": _notices,
    "playbooks": _playbooks,
}
