"""The parts of a place that lie outside: directories, senders, audiences, evidence; and what is
written for people: notices and playbooks.

Rules
- A directory is asked about an account that nobody has: that it answers is the test. Where it
  tells what our own credential may do, what that lacks is named.
- A sender is connected to and left again; nothing is handed over.
- A time stamp authority is asked to stamp something random, and its answer is verified.
- A playbook of one's own that cannot be carried out is a failure; a shipped one is a warning, since
  a place need not have what every playbook names.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.results import ANOTHER_NAME
from standfast.adapters.factory.password_rotation import read_recipients
from standfast.config.schema import OrganisationConfig
from standfast.config.sections.password_rotation import RotationConfig
from standfast.errors import ConfigurationError, PlaybookInvalid, StandfastError, Unavailable
from standfast.evidence.bucket_copy import Elsewhere
from standfast.notices.prepared_notice import pick_language
from standfast.playbook.model import Playbook
from standfast.plurals import counted
from standfast.usecases.evidence.bucket_copies import elsewhere, uncopied_folders
from standfast.usecases.evidence.frozen_folders import frozen
from standfast.usecases.evidence.time_stamps import authority_of, unstamped
from standfast.usecases.health.check_results import Check, Ground, Look, fail, lacking, ok, warn
from standfast.usecases.notices.staged_sending import unread_entries
from standfast.usecases.playbooks import library

_NOBODY = "standfast-check"
_CLOCK_SECONDS = 30


def _accounts(ground: Ground) -> Iterator[Check]:
    names = ground.config.accounts
    if not names:
        yield lacking("accounts", "no account can be locked from here", "add [accounts.NAME]")
    yield from _each("accounts", names, lambda name: _directory(ground, name))
    if ground.config.rotation is not None:
        yield from _rotation(ground.config.rotation)
    if names and not ground.config.protected.accounts:
        yield warn(
            "accounts",
            "no account is protected: a mistake could lock the responders out",
            "name responders, break-glass and service accounts under [protected.accounts]",
        )


def _rotation(settings: RotationConfig) -> Iterator[Check]:
    try:
        keys = read_recipients(settings.recipients)
    except ConfigurationError as error:
        yield fail("accounts", str(error), "until then no account is given a new password")
        return
    yield ok("accounts", f"new passwords are sealed to {counted(len(keys), 'key')}")


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
    for shortcoming in connector.shortcomings():
        yield warn("accounts", f"{name}: {shortcoming}", "what a plan cannot lock, it refuses")
    if connector.is_contract_tested:
        yield warn(
            "accounts",
            f"{name}: contract-tested: tried on what the provider publishes, not on the provider",
            "lock, prove and undo a test account there before you count on it",
        )
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
    if aliases := sum(state.obstacle == ANOTHER_NAME for state in states):
        yield warn(
            "accounts",
            f"{name}: {aliases} of {len(inner)} under [protected.accounts] named by an alias",
            "name each by its account's own name: by that it can be locked",
        )
    if unknown:
        yield warn(
            "accounts",
            f"{name}: {unknown} of {len(inner)} under [protected.accounts] not known there",
            "mend the names: what is misspelt is not protected",
        )
    if not aliases and not unknown:
        yield ok("accounts", f"{name}: {counted(len(inner), 'protected account')} known there")


def _senders(ground: Ground) -> Iterator[Check]:
    names = ground.config.senders
    if not names:
        yield lacking("senders", "nobody can be told anything from here", "add [senders.NAME]")
    yield from _each("senders", names, lambda name: _sender(ground, name))


def _sender(ground: Ground, name: str) -> Iterator[Check]:
    ground.outside.sender(name).reach()
    settings = ground.config.senders[name]
    if settings.kind == "letters":
        yield ok("senders", f"{name}: {settings.folder} can be written; nothing was")
        return
    yield ok("senders", f"{name}: connects and signs in; nothing was sent")


def _audiences(ground: Ground) -> Iterator[Check]:
    if not ground.config.audiences:
        yield lacking("audiences", "no notice has anybody to go to", "add [audiences.NAME]")
    yield from _each("audiences", ground.config.audiences, lambda name: _audience(ground, name))


def _audience(ground: Ground, name: str) -> Iterator[Check]:
    settings = ground.config.audiences[name]
    if settings.kind == "backup":
        yield ok("audiences", f"{name}: in recovery points; a drill of {settings.set} tries them")
        return
    audience = ground.outside.audience(name)
    people = counted(len(audience.recipients), "person", "people")
    if audience.held:
        yield ok("audiences", f"{name}: {len(audience.held)} held for a person to decide")
    for found in unread_entries(audience):
        yield warn("audiences", f"{name}: {found}", "mend the list: its first column")
    rejected = len(audience.rejected)
    if rejected:
        # With nobody left the notice tells nobody tonight: that is no risk, it is a failure.
        verdict = warn if audience.recipients or audience.held else fail
        yield verdict(
            "audiences",
            f"{name}: {people} can be reached, {counted(rejected, 'row')} cannot "
            f"(the first: row {audience.rejected[0].row_number}, {audience.rejected[0].reason})",
            "mend the rows, or reach these people another way",
        )
    elif not audience.recipients:
        # A notice to it fails, unless somebody is held, or on the list of those never written to.
        verdict = warn if audience.rows else fail
        yield verdict("audiences", f"{name}: nobody is in it", "mend its file or its query")
    else:
        yield ok("audiences", f"{name}: {people} can be reached")


def _evidence(ground: Ground) -> Iterator[Check]:
    names = ground.config.evidence
    if not names:
        yield lacking("evidence", "no log is kept when a breach comes", "add [evidence.NAME]")
    yield from _each("evidence", names, lambda name: _source(ground, name))
    to = elsewhere(ground.config, ground.resolver, ground.clock)
    if to is not None:
        yield from _each("custody", ["s3"], lambda _: _evidence_copies(ground, to))
    if ground.config.custody.timestamp is not None:
        yield from _each("custody", ["timestamp"], lambda _: _stamps(ground))


def _evidence_copies(ground: Ground, to: Elsewhere) -> Iterator[Check]:
    traits = to.open().describe()
    if traits.is_write_only:
        yield ok("evidence", f"copied as well: {traits.why}")
    else:
        yield warn("evidence", f"copied as well: {traits.why}", "lock it in COMPLIANCE mode")
    there = [one.folder for one in frozen(ground.config)]
    for folder in uncopied_folders(to, there):
        incident = folder.parent.parent.name
        yield warn(
            "evidence",
            f"{incident}: {folder.parent.name}/{folder.name} is not copied",
            f"standfast evidence copy {incident}",
        )


def _stamps(ground: Ground) -> Iterator[Check]:
    for folder in unstamped(ground.config):
        incident = folder.parent.parent.name
        yield warn(
            "evidence",
            f"{incident}: {folder.parent.name}/{folder.name} is not time-stamped",
            f"standfast evidence stamp {incident}",
        )
    authority = authority_of(ground.config)
    try:
        _, stamp = authority.stamp(os.urandom(32))
    finally:
        authority.close()
    off = abs((ground.clock() - stamp.at).total_seconds())
    found = f"time stamps: {stamp.authority} stamps, and its certificate leads to the given roots"
    if off <= _CLOCK_SECONDS:
        yield ok("evidence", found)
    else:
        yield warn(
            "evidence",
            f"{found}; its clock and ours are {off:.0f} s apart",
            "see that this host's clock is right: what is sealed has its time",
        )


def _source(ground: Ground, name: str) -> Iterator[Check]:
    found = f"{name}: {ground.outside.source(name).describe()}"
    if all(path.exists() for path in ground.config.evidence[name].paths):
        yield ok("evidence", found)
    else:
        yield warn("evidence", found, "mend the paths: of what is missing nothing is kept")


def _notices(ground: Ground) -> Iterator[Check]:
    # Each is rendered with its own examples in every language when it is read.
    templates = dict(ground.outside.templates)
    yield ok("notices", f"{len(templates)} notices render in each of their languages")
    yield from _spoken_of(ground.config.organisation)
    spoken = ground.config.organisation.languages
    for name, template in templates.items():
        for missing in sorted(set(spoken) - set(template.languages)):
            given = pick_language(missing, template.languages, spoken[0]).language
            yield warn(
                "notices",
                f"{name} has no text in {missing}",
                f"its readers get {given}; add the language",
            )


def _spoken_of(organisation: OrganisationConfig) -> Iterator[Check]:
    """Is what notices say of this place its own, in each of its languages?"""
    for key in organisation.placeholders.values():
        yield warn(
            "notices",
            f"{key} is as `standfast init` wrote it, so no notice can be planned but in exercises",
            "set it to what your customers know",
        )
    written = OrganisationConfig.model_fields
    for key, value in (("name", organisation.name), ("contact_line", organisation.contact_line)):
        if value in (written[key].examples or ()):
            yield warn(
                "notices",
                f"organisation.{key} is the example of docs/configuration.md",
                "set it to what your customers know",
            )
    if lacking := set(organisation.languages[1:]) - organisation.contact_lines.keys():
        yield warn(
            "notices",
            f"how to reach you is not said in {', '.join(sorted(lacking))}",
            "add organisation.contact_lines",
        )


def _playbooks(ground: Ground) -> Iterator[Check]:
    files = library.files(ground.config)
    sound: list[Playbook] = []
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, file in files.items():
        try:
            sound.append(library.find(ground.config, name))
        except PlaybookInvalid as error:
            if file.parent != library.SHIPPED:
                yield fail("playbooks", str(error), f"mend {file.name}")
                continue
            # One line for all that lack the same thing, not one for each of them.
            first = error.problems[0]
            what = first.message.partition(": ")[2] or first.message
            lacking.setdefault((what, first.hint), []).append(name)
    for (what, hint), names in lacking.items():
        yield warn(
            "playbooks",
            f"{', '.join(names)} cannot be carried out here: {what}",
            f"{hint}; see `standfast playbook check {names[0]}`",
        )
    if sound:
        yield ok("playbooks", f"sound here: {', '.join(one.name for one in sound)}")


def _each(
    part: str, names: Iterable[str], look: Callable[[str], Iterator[Check]]
) -> Iterator[Check]:
    """Try each by name: one that fails keeps no other from being tried."""
    for name in names:
        try:
            yield from look(name)
        except Unavailable as error:
            # It may be down, or somewhere else than is written: nobody can tell from here.
            what_to_do = f"see that what [{part}.{name}] names is right, up, and reached from here"
            yield fail(part, f"{name}: {error}", what_to_do)
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
