"""Check of reserved names, and of names that refer to other sections.

A finding is one problem of `standfast.toml`. `validation.py` has checked the single values before.
`loader.py` adds the file and the line to each finding.
"""

from collections.abc import Iterable, Iterator

from backup.records import INSTALLATION_SET
from standfast.config.schema import Config
from standfast.config.sections.evidence_sources import DirectoryLogConfig
from standfast.config.sections.monitoring import EVENT_PARAMETERS, EventKind
from standfast.config.toml_writer import KeyPath
from standfast.config.validation import Finding, nearest


def broken_references(config: Config) -> Iterator[Finding]:
    """Yield a finding for each name that refers to a missing section."""
    services, sets = config.services, set(config.backup.sets)
    if INSTALLATION_SET in sets:
        yield Finding(
            key=("backup", "sets", INSTALLATION_SET),
            message="this name is reserved for copies of the installation",
            hint="rename the set; [backup.installation] makes the copies",
        )
    if config.backup.installation is not None:
        sets.add(INSTALLATION_SET)
    for name, service in services.items():
        key = ("services", name)
        yield from _each_known((*key, "depends_on"), service.depends_on, services, "service")
        yield from _each_known((*key, "sets"), service.sets, sets, "backup set")
        for mode, switch in service.modes.items():
            place = (*key, "modes", mode)
            if switch.command is not None:
                yield from _known((*place, "command"), switch.command, config.commands, "command")
            if switch.request is not None:
                yield from _known((*place, "request"), switch.request, config.requests, "request")
    if config.drills.schedule is not None:
        for set_name in config.drills.schedule.set:
            yield from _known(("drills", "schedule", "set", set_name), set_name, sets, "backup set")
        for service_name in config.drills.schedule.service:
            scheduled = ("drills", "schedule", "service", service_name)
            yield from _known(scheduled, service_name, services, "service")
        is_drawn = config.drills.schedule.surprise is not None
        if is_drawn and not any(service.sets for service in services.values()):
            yield Finding(
                key=("drills", "schedule", "surprise"),
                message="finds no service with a backup set",
                hint="add `sets` to a service",
            )
    yield from _hooks(config)
    yield from _events(config)
    yield from _pagers(config)
    for name in config.heartbeats.backup:
        yield from _known(("heartbeats", "backup", name), name, sets, "backup set")
    drills = [*sets, *(f"service.{name}" for name in services)]
    for name in config.heartbeats.drill:
        yield from _known(("heartbeats", "drill", name), name, drills, "backup set or service")
    for name, entry in config.continuity.calendar.items():
        practice = ("continuity", "calendar", name, "subject")
        if entry.kind == "attestation":
            subjects = config.continuity.all_subjects
            yield from _known(practice, entry.subject, subjects, "subject of attestations")
        if entry.kind == "drill":
            yield from _known(practice, entry.subject, drills, "backup set or service")
    systems = {*config.accounts, *_named_by_parameters(config)}
    for account in config.protected.accounts:
        directory = account.partition(":")[0]
        yield from _known(
            ("protected", "accounts", account), directory, systems, "directory of accounts"
        )
    for directory in config.limits.accounts_by_directory:
        where = ("limits", "accounts_by_directory", directory)
        yield from _known(where, directory, systems, "directory of accounts")
    forms = [name for name, trigger in config.triggers.items() if trigger.kind == "report"]
    for name in forms[1:]:
        yield Finding(
            key=("triggers", name, "kind"),
            message="there is one form for staff, at /report",
            hint=f"keep it or {forms[0]!r}",
        )
    if config.notices.sender is not None:
        yield from _known(("notices", "sender"), config.notices.sender, config.senders, "sender")
        chosen = config.senders.get(config.notices.sender)
        if chosen is not None and chosen.kind == "letters":
            yield Finding(
                key=("notices", "sender"),
                message="names a sender of letters, which reach nobody before they are posted",
                hint="name it in `letters`, or in a step of a playbook",
            )
    if config.notices.letters is not None:
        letters = [name for name, sender in config.senders.items() if sender.kind == "letters"]
        yield from _known(
            ("notices", "letters"), config.notices.letters, letters, "sender of kind `letters`"
        )
    if config.notices.staff_audience is not None:
        yield from _known(
            ("notices", "staff_audience"),
            config.notices.staff_audience,
            config.audiences,
            "audience",
        )
    yield from _failovers(config)
    yield from _audiences(config)
    yield from _evidence_directories(config)


def _hooks(config: Config) -> Iterator[Finding]:
    """Find hooks of backups with an unknown command, or one with parameters."""
    for set_name, settings in config.backup.sets.items():
        for moment, hooks in (("before", settings.before), ("after", settings.after)):
            for number, hook in enumerate(hooks):
                where = ("backup", "sets", set_name, moment, number, "command")
                yield from _known(where, hook.command, config.commands, "command")
                command = config.commands.get(hook.command)
                if command is not None and command.parameters:
                    yield Finding(
                        key=where,
                        message="names a command with parameters, which a hook cannot set",
                        hint="add a command with fixed arguments",
                    )


def _events(config: Config) -> Iterator[Finding]:
    """Find events of incidents with an unknown request or parameter."""
    for name, settings in config.incident_events.items():
        for kind in EventKind:
            chosen = settings.request_of(kind)
            if chosen is None:
                continue
            where = ("incident_events", name, kind.value)
            yield from _known(where, chosen, config.requests, "request")
            request = config.requests.get(chosen)
            for parameter in request.parameters if request else ():
                if parameter not in EVENT_PARAMETERS:
                    yield Finding(
                        key=where,
                        message=f"names a request with the parameter {parameter!r}, which no "
                        "event has",
                        hint=f"use {', '.join(EVENT_PARAMETERS)}",
                    )


def _pagers(config: Config) -> Iterator[Finding]:
    """Find people on call with an unknown sender, or with a sender of letters."""
    for person, settings in config.on_call.people.items():
        for number, pager in enumerate(settings.pagers):
            where = ("on_call", "people", person, "pagers", number, "sender")
            yield from _known(where, pager.sender, config.senders, "sender")
            sender = config.senders.get(pager.sender)
            if sender is not None and sender.kind == "letters":
                yield Finding(
                    key=where,
                    message="names a sender of letters, which cannot page anybody in time",
                    hint="name another",
                )


def _failovers(config: Config) -> Iterator[Finding]:
    """Find senders with an unknown, unsuitable or circular failover sender."""
    senders = config.senders
    for name, sender in senders.items():
        if sender.failover is None:
            continue
        where = ("senders", name, "failover")
        yield from _known(where, sender.failover, senders, "sender")
        if sender.failover in senders and senders[sender.failover].kind == "letters":
            yield Finding(
                key=where,
                message="names a sender of letters, which only recipients without an e-mail "
                "address get",
                hint="remove it, or name another sender",
            )
        chain = [name]
        while (settings := senders.get(chain[-1])) is not None and settings.failover is not None:
            if settings.failover == name:
                yield Finding(
                    key=where,
                    message="is part of a cycle of failovers",
                    hint="remove the failover of the last sender",
                )
            if settings.failover in chain:
                break
            chain.append(settings.failover)


def _named_by_parameters(config: Config) -> Iterator[str]:
    """Yield each system with accounts that a parameter names in `account_of`."""
    for parameters in (
        *(command.parameters for command in config.commands.values()),
        *(request.parameters for request in config.requests.values()),
    ):
        yield from (
            parameter.account_of for parameter in parameters.values() if parameter.account_of
        )


def _audiences(config: Config) -> Iterator[Finding]:
    """Find audiences with a reserved name or an unknown source of people."""
    for name, audience in config.audiences.items():
        if name == "affected":
            yield Finding(
                key=("audiences", name),
                message="is the name of the list of affected people, which each incident has",
                hint="choose another name",
            )
        if audience.kind == "scim":
            where = ("audiences", name, "directory")
            yield from _known(where, audience.directory, config.accounts, "directory of accounts")
        if audience.kind == "backup":
            where = ("audiences", name, "set")
            yield from _known(where, audience.set, config.backup.sets, "backup set")
    for name, records in config.review.records.items():
        if records.audience is not None:
            key = ("review", "records", name, "audience")
            yield from _known(key, records.audience, config.audiences, "audience")


def _evidence_directories(config: Config) -> Iterator[Finding]:
    """Find evidence sources with an unknown or unsuitable account directory."""
    for name, source in config.evidence.items():
        if isinstance(source, DirectoryLogConfig):
            fitting = [key for key, known in config.accounts.items() if known.kind == source.kind]
            where = ("evidence", name, "directory")
            yield from _known(
                where, source.directory, fitting, f"directory of accounts of kind {source.kind}"
            )


def _each_known(
    key: KeyPath, names: Iterable[str], known: Iterable[str], noun: str
) -> Iterator[Finding]:
    for number, name in enumerate(names):
        yield from _known((*key, number), name, known, noun)


def _known(key: KeyPath, name: str, known: Iterable[str], noun: str) -> Iterator[Finding]:
    names = list(known)
    if name not in names:
        hint = nearest(name, names) or f"this file has no {noun} yet; add one, or remove this name"
        yield Finding(key=key, message=f"names no {noun} of this file", hint=hint)
