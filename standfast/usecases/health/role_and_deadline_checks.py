"""Checks of applicable laws, and of people for each role and level.

A legal clock is the running deadline of a duty to notify somebody.

Rules
- Without `[deadlines]` in the configuration, no legal clock is counted, because the program cannot
  know which laws apply. The check warns about this.
- Roles (what a person may approve) are collected from every readable playbook, even if the playbook
  cannot be executed yet. Each role is reported once, with all playbooks that need it.
- The person that opens an incident cannot approve its steps. Therefore each role that approves
  needs two people.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from standfast.config.sections.deadlines import DeadlinesConfig
from standfast.deadlines.working_days import working_days
from standfast.errors import ConfigurationError, StandfastError
from standfast.ledger.approvals.objections import MINIMUM_ENROLMENT_AGE
from standfast.ledger.people.enrolment import Person
from standfast.playbook.model import Playbook, StepKind
from standfast.plurals import counted
from standfast.usecases.deadlines.obligations import obligations, reach
from standfast.usecases.health.check_results import (
    Check,
    CheckFunction,
    CheckInputs,
    fail,
    lacking,
    ok,
    warn,
)
from standfast.usecases.playbooks import library

_SHOWN = 3  # number of playbooks that a message names; the others are only counted
_CLIENTS = "processor"


def _deadlines(inputs: CheckInputs) -> Iterator[Check]:
    config, part = inputs.config, "deadlines"
    laws, agreements = config.deadlines.jurisdictions, config.contracts
    try:
        bound = reach(config)
    except ConfigurationError as error:
        yield fail(part, str(error), "until then no legal clock is counted")
        return
    if not laws:
        yield lacking(
            part,
            "no jurisdiction is configured: Standfast counts no legal deadline, such as the 72 "
            "hours of the GDPR, and reminds nobody",
            "set deadlines.jurisdictions to the places where the people in your data live; "
            "`standfast deadline places` lists them",
        )
    else:
        count = sum(bound.covers(obligation) for obligation in obligations(config))
        parts = " and ".join(config.deadlines.parts)
        yield ok(part, f"{counted(count, 'obligation')} in {', '.join(laws)}, as {parts}")
    if _CLIENTS in config.deadlines.parts and not agreements:
        yield warn(
            part,
            "no client contract is configured: a data processor must first notify its clients",
            "add [contracts.NAME] with the time within which each client must be notified",
        )
    yield from _calendar(config.deadlines)
    if laws and "time_zone" not in config.organisation.model_fields_set:
        yield warn(
            part,
            "organisation.time_zone is not set: clocks in days end at midnight UTC",
            "set it to your own time zone",
        )
    roles = config.deadlines.reminder_roles
    if (laws or agreements) and inputs.ledger and not inputs.ledger.people.all(roles):
        group = f"with the role {' or '.join(roles)} " if roles else ""
        yield warn(part, f"nobody {group}is enrolled to be reminded of legal clocks", _add(roles))


def _calendar(settings: DeadlinesConfig) -> Iterator[Check]:
    """Check that the holidays of the lead authority's country are known."""
    if not any(law.startswith("EU") for law in settings.jurisdictions):
        return
    try:
        working_days("EU/EEA", settings.authority_country or "")
    except ValueError as error:
        yield fail("deadlines", f"authority_country: {error}", "write it as DE, FR or IE")
        return
    if settings.authority_country is None:
        yield warn(
            "deadlines",
            "deadlines.authority_country is not set: days are counted in the earliest and the "
            "latest time zone of Europe, without holidays",
            "set deadlines.authority_country to the country of your lead authority",
        )


def _roles(inputs: CheckInputs) -> Iterator[Check]:
    """Check that each role has a person, and each approving role two people."""
    if inputs.ledger is None:
        return
    everybody = inputs.ledger.people.all()
    now = inputs.clock()
    wanted, approving = _wanted(_readable(inputs))
    for roles, names in wanted.items():
        role = " or ".join(roles)
        holders = inputs.ledger.people.all(roles)
        does = "approves or answers" if roles in approving else "answers"
        if not holders:
            yield warn(
                "roles",
                f"nobody has the role {role}, which {does} in {_listed(names)}: steps of an "
                "incident would wait",
                _add(roles),
            )
        elif len(holders) == 1 and roles in approving:
            yield warn(
                "roles",
                f"only one person has the role {role}: the person that opens an incident cannot "
                f"approve its steps, so incidents of {_listed(names)} would wait",
                f"enrol a second person: {_add(roles)}",
            )
        elif not _has_old_enrolment(holders, now):
            yield warn(
                "roles",
                f"everybody with the role {role} was enrolled less than a day ago, and may use it "
                "after a day",
                "wait; on the first day of an installation, before its first live incident, "
                "they may use it immediately",
            )
        else:
            yield ok("roles", f"{role}: {counted(len(holders), 'person', 'people')}")
    for named in inputs.config.approvals.ladder:
        if everybody and not inputs.ledger.people.all([named]):
            yield warn(
                "roles",
                f"approvals.ladder names {named}, and nobody has that role: this escalation level "
                "is skipped",
                _add([named]) if ":" not in named else "correct the name, or enrol that person",
            )


def _readable(inputs: CheckInputs) -> Iterator[Playbook]:
    for name in library.files(inputs.config):
        try:
            yield library.find(inputs.config, name, is_rehearsed=True)
        except StandfastError:
            continue  # the check of playbooks reports this error


def _wanted(
    playbooks: Iterator[Playbook],
) -> tuple[Mapping[tuple[str, ...], Sequence[str]], set[tuple[str, ...]]]:
    """Return the needed roles with their playbooks, and the approving roles."""
    wanted: dict[tuple[str, ...], list[str]] = {}
    approving: set[tuple[str, ...]] = set()
    for playbook in playbooks:
        for step in playbook.steps:
            asked = step.roles if step.kind is not StepKind.DO else ()
            if step.approval and step.approval.roles:
                asked = step.approval.roles
                approving.add(tuple(sorted(asked)))
            if asked:
                names = wanted.setdefault(tuple(sorted(asked)), [])
                names += [playbook.name] if playbook.name not in names else []
    return wanted, approving


def _has_old_enrolment(people: Sequence[Person], now: datetime) -> bool:
    return any(
        person.is_founding or now - person.enrolled_at >= MINIMUM_ENROLMENT_AGE for person in people
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {counted(more, 'other playbook')}" if more > 0 else shown


def _add(roles: Sequence[str]) -> str:
    return f"`standfast people add NAME --role {roles[0]}`" if roles else "`standfast people add`"


CHECKS: Mapping[str, CheckFunction] = {"deadlines": _deadlines, "roles": _roles}
