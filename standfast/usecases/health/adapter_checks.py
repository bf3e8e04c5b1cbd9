"""Checks of directories, senders, audiences, evidence, notices, playbooks.

A directory is a system that stores accounts, a sender sends messages, and an audience is a list of
recipients.

Rules
- The check asks each directory for an account that does not exist. Any answer proves that the
  directory works. If the directory reports the permissions of its credential, the check names the
  missing permissions.
- The check connects to each sender and disconnects. It submits no message.
- The time stamp authority is asked to stamp a random value, and its response is verified.
- A playbook of the organisation that cannot be executed is a failure. For a playbook that Standfast
  ships, it is only a warning, because perhaps the installation does not need this playbook.
"""

import os
from collections.abc import Callable, Iterable, Iterator

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.new_passwords import read_recipients
from standfast.adapters.accounts.base.results import ANOTHER_NAME
from standfast.config.schema import Config, OrganisationConfig
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.config.sections.password_rotation import RotationConfig
from standfast.errors import ConfigurationError, PlaybookInvalid, StandfastError, Unavailable
from standfast.evidence.bucket_copy import CopyDestination
from standfast.evidence.wrapped_key import read_custodians
from standfast.notices.audience import describe_ineffective_entries
from standfast.notices.prepared_notice import pick_language
from standfast.playbook.model import Playbook
from standfast.plurals import counted
from standfast.records import Proof
from standfast.suggestions import known_names_hint
from standfast.usecases.evidence.bucket_copies import second_location, uncopied_folders
from standfast.usecases.evidence.frozen_folders import frozen
from standfast.usecases.evidence.time_stamp_requests import authority_of, unstamped
from standfast.usecases.health.check_results import Check, CheckInputs, fail, lacking, ok, warn
from standfast.usecases.playbooks import library

_NOBODY = "standfast-check"  # name of an account that does not exist
_CLOCK_SECONDS = 30  # tolerated difference between the clocks of this host and the authority
_DOES = {
    "lock": "lock accounts",
    "undo": "undo a lock",
    "revoke": "end sessions",
    "prove": "prove a lock",
}


def _accounts(inputs: CheckInputs) -> Iterator[Check]:
    names = inputs.config.accounts
    if not names:
        yield lacking(
            "accounts",
            "no directory is configured: no account can be locked",
            "add [accounts.NAME]",
        )
    yield from _each("accounts", names, lambda name: _directory(inputs, name))
    if inputs.config.rotation is not None:
        yield from _rotation(inputs.config.rotation)
    if names and not inputs.config.protected.accounts:
        yield warn(
            "accounts",
            "no account is protected: a mistake could lock the responders out",
            "name responders, break-glass and service accounts under [protected.accounts]",
        )


def _stronger_proof(inputs: CheckInputs, name: str, level: Proof) -> str:
    """Return the action that would prove locks better, or ""."""
    settings = inputs.config.accounts[name]
    probe = getattr(settings, "probe", settings)
    if probe is None:
        return f"; [accounts.{name}.probe] would prove that a sign-in is refused"
    if getattr(probe, "tokens", probe) is None:
        return f"; only with known tokens of the holders: set tokens in [accounts.{name}.probe]"
    if getattr(settings, "monitor", None) is False:
        return "; `monitor` would prove that no connection is open"
    if level is not Proof.REFUSED and inputs.ledger and not inputs.ledger.effects.has_locked(name):
        return "; no lock was tried yet: lock a test account, and sign in with its password"
    return ""


def _rotation(settings: RotationConfig) -> Iterator[Check]:
    try:
        keys = read_recipients(settings.recipients)
    except ConfigurationError as error:
        yield fail("accounts", str(error), "until then no account gets a new password")
        return
    yield ok("accounts", f"new passwords are encrypted to {counted(len(keys), 'key')}")


def _directory(inputs: CheckInputs, name: str) -> Iterator[Check]:
    connector = inputs.adapters.connector(name)
    connector.observe([_NOBODY])
    found = f"{name}: responds; proof level of a lock: `{connector.proof.value}`"
    found += _stronger_proof(inputs, name, connector.proof)
    if missing := {"lock", "undo", "revoke", "prove"} - connector.verbs:
        yield warn(
            "accounts",
            f"{found}; the connector cannot {', '.join(_DOES[verb] for verb in sorted(missing))}",
            "`standfast incident plan` shows the consequences; do these acts in that directory "
            "by hand",
        )
    else:
        yield ok("accounts", found)
    for shortcoming in connector.shortcomings():
        yield warn(
            "accounts",
            f"{name}: {shortcoming}",
            "a plan shows such accounts as refused; lock them by hand",
        )
    if connector.is_contract_tested:
        yield warn(
            "accounts",
            f"{name}: contract-tested: tested against the published interface, not the provider",
            "lock, prove and undo a test account at the provider before you rely on it",
        )
    yield from _protected(inputs, name, connector)


def _protected(inputs: CheckInputs, name: str, connector: Connector) -> Iterator[Check]:
    inner = [
        account.partition(":")[2]
        for account in inputs.config.protected.accounts
        if account.partition(":")[0] == name
    ]
    if not inner:
        return
    states = connector.observe(inner)
    unknown = sum(not state.exists for state in states)
    if aliases := sum(state.obstacle == ANOTHER_NAME for state in states):
        yield warn(
            "accounts",
            f"{name}: aliases under [protected.accounts]: {aliases} of {len(inner)} names",
            "write the account's own name: under that name, the account is not protected and "
            "can be locked",
        )
    if unknown:
        yield warn(
            "accounts",
            f"{name}: {unknown} of {len(inner)} under [protected.accounts] do not exist in that "
            "directory",
            "correct the names: a misspelt account is not protected",
        )
    if not aliases and not unknown:
        found = counted(len(inner), "protected account")
        exist = "exists" if len(inner) == 1 else "exist"
        yield ok("accounts", f"{name}: {found} {exist} in that directory")


def _senders(inputs: CheckInputs) -> Iterator[Check]:
    names = inputs.config.senders
    if not names:
        yield lacking(
            "senders", "no sender is configured: no message can be sent", "add [senders.NAME]"
        )
    yield from _each("senders", names, lambda name: _sender(inputs, name))


def _sender(inputs: CheckInputs, name: str) -> Iterator[Check]:
    inputs.adapters.sender(name).reach()
    settings = inputs.config.senders[name]
    if settings.kind == "letters":
        yield ok("senders", f"{name}: {settings.folder} can be written; nothing was written")
        return
    yield ok("senders", f"{name}: connects and signs in; nothing was sent")


def _audiences(inputs: CheckInputs) -> Iterator[Check]:
    if not inputs.config.audiences:
        yield lacking(
            "audiences",
            "no audience is configured: no notice has recipients",
            "add [audiences.NAME]",
        )
    yield from _each("audiences", inputs.config.audiences, lambda name: _audience(inputs, name))


def _audience(inputs: CheckInputs, name: str) -> Iterator[Check]:
    settings = inputs.config.audiences[name]
    if settings.kind == "backup":
        yield ok("audiences", f"{name}: in recovery points; a drill of {settings.set} tests it")
        return
    audience = inputs.adapters.audience(name)
    people = counted(len(audience.recipients), "person", "people")
    if audience.held:
        yield ok(
            "audiences",
            f"{name}: {counted(len(audience.held), 'recipient')} held: a person decides",
        )
    for found in describe_ineffective_entries(audience):
        yield warn("audiences", f"{name}: {found}", "correct the first column of the list")
    rejected = len(audience.rejected)
    if rejected:
        # If no recipient can be reached, a notice reaches nobody: a failure, not a risk.
        verdict = warn if audience.recipients or audience.held else fail
        yield verdict(
            "audiences",
            f"{name}: {people} can be reached, {counted(rejected, 'row')} cannot "
            f"(the first: row {audience.rejected[0].row_number}, {audience.rejected[0].reason})",
            "correct the rows, or reach these people another way",
        )
    elif not audience.recipients:
        # A notice to an audience without recipients fails. The exception is an audience in which
        # all people wait for a decision or are on the suppression list.
        verdict = warn if audience.rows else fail
        yield verdict("audiences", f"{name}: it is empty", "correct its file or its query")
    else:
        yield ok("audiences", f"{name}: {people} can be reached")


def _evidence(inputs: CheckInputs) -> Iterator[Check]:
    names = inputs.config.evidence
    if not names:
        yield lacking(
            "evidence",
            "no evidence source is configured: no log is preserved in a breach",
            "add [evidence.NAME]",
        )
    yield from _each("evidence", names, lambda name: _source(inputs, name))
    if names:
        yield from _each("custody", ["custodians"], lambda _: _custodians(inputs.config))
    to = second_location(inputs.config, inputs.resolver, inputs.clock)
    if to is not None:
        yield from _each("custody", ["s3"], lambda _: _evidence_copies(inputs, to))
    if inputs.config.custody.timestamp is not None:
        yield from _each("custody", ["timestamp"], lambda _: _stamps(inputs))


def _custodians(config: Config) -> Iterator[Check]:
    custody = config.custody
    if not custody.custodians:
        yield lacking(
            "evidence",
            "frozen copies are not encrypted: every user that can read their folder can read them",
            "set custody.custodians",
        )
        return
    read_custodians(custody.custodians)
    yield ok("evidence", f"encrypted to {counted(len(custody.custodians), 'custodian')}")
    for place in custody.key_copies:
        if not place.is_dir():
            yield fail("evidence", f"key copies: {place} is not a folder", "mount or create it")
    if not custody.key_copies:
        yield warn(
            "evidence",
            "the data keys are only on this host: evidence is lost with it",
            "set custody.key_copies",
        )


def _evidence_copies(inputs: CheckInputs, to: CopyDestination) -> Iterator[Check]:
    traits = to.open().describe()
    if traits.is_write_only:
        yield ok("evidence", f"second copy: {traits.why}")
    else:
        yield warn("evidence", f"second copy: {traits.why}", "lock it in COMPLIANCE mode")
    found = [evidence for evidence in frozen(inputs.config) if not evidence.disposed_at]
    folders = [evidence.folder for evidence in found]
    for folder in uncopied_folders(to, folders):
        incident = folder.parent.parent.name
        yield warn(
            "evidence",
            f"{incident}: {folder.parent.name}/{folder.name} is not copied",
            f"standfast evidence copy {incident}",
        )


def _stamps(inputs: CheckInputs) -> Iterator[Check]:
    for folder in unstamped(inputs.config):
        incident = folder.parent.parent.name
        yield warn(
            "evidence",
            f"{incident}: {folder.parent.name}/{folder.name} is not time-stamped",
            f"standfast evidence stamp {incident}",
        )
    authority = authority_of(inputs.config)
    try:
        _, stamp = authority.stamp(os.urandom(32))
    finally:
        authority.close()
    off = abs((inputs.clock() - stamp.at).total_seconds())
    found = f"time stamps: {stamp.authority} stamps, and its certificate leads to the given roots"
    if off <= _CLOCK_SECONDS:
        yield ok("evidence", found)
    else:
        yield warn(
            "evidence",
            f"{found}; the clocks of the authority and of this host differ by {off:.0f} s",
            "check this host's clock: sealed evidence carries its time",
        )


def _source(inputs: CheckInputs, name: str) -> Iterator[Check]:
    found = f"{name}: {inputs.adapters.source(name).describe()}"
    settings = inputs.config.evidence[name]
    paths = settings.paths if isinstance(settings, FilesEvidenceConfig) else ()
    if all(path.exists() for path in paths):
        yield ok("evidence", found)
    else:
        yield warn("evidence", found, "correct the paths: missing files are not preserved")


def _notices(inputs: CheckInputs) -> Iterator[Check]:
    # Reading a template renders it in every language, with the example values of the template.
    templates = dict(inputs.adapters.templates)
    yield ok("notices", f"{len(templates)} notices render in each of their languages")
    yield from _check_organisation_texts(inputs.config.organisation)
    languages = inputs.config.organisation.languages
    for name, template in templates.items():
        for missing in sorted(set(languages) - set(template.languages)):
            given = pick_language(missing, template.languages, languages[0]).language
            yield warn(
                "notices",
                f"{name} has no text in {missing}",
                f"these recipients get {given}; add the language",
            )


def _check_organisation_texts(organisation: OrganisationConfig) -> Iterator[Check]:
    """Check that notices describe this organisation, in each of its languages."""
    for key in organisation.placeholders.values():
        yield warn(
            "notices",
            f"{key} is still a placeholder of `standfast init`: only exercises can plan notices",
            "set it to the name or contact that your customers know",
        )
    written = OrganisationConfig.model_fields
    for key, value in (("name", organisation.name), ("contact_line", organisation.contact_line)):
        if value in (written[key].examples or ()):
            yield warn(
                "notices",
                f"organisation.{key} is the example of docs/configuration.md",
                "set it to the name or contact that your customers know",
            )
    if lacking := set(organisation.languages[1:]) - organisation.contact_lines.keys():
        yield warn(
            "notices",
            f"no contact line in {', '.join(sorted(lacking))}",
            "add organisation.contact_lines",
        )


def _playbooks(inputs: CheckInputs) -> Iterator[Check]:
    files = library.files(inputs.config)
    valid: list[Playbook] = []
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, file in files.items():
        try:
            valid.append(library.find(inputs.config, name))
        except PlaybookInvalid as error:
            if file.parent != library.SHIPPED:
                yield fail("playbooks", str(error), f"correct {file.name}")
                continue
            # Playbooks with the same problem are reported in one line.
            first = error.problems[0]
            problem = first.message.partition(": ")[2] or first.message
            lacking.setdefault((problem, first.hint), []).append(name)
    for (problem, hint), names in lacking.items():
        yield warn(
            "playbooks",
            f"{', '.join(names)} cannot run here: {problem}",
            f"{hint}; see `standfast playbook check {names[0]}`",
        )
    for name, entry in inputs.config.continuity.calendar.items():
        if entry.kind == "exercise" and entry.subject not in files:
            yield fail(
                "playbooks",
                f"{entry.subject!r} in continuity.calendar.{name}: unknown; "
                f"{known_names_hint(entry.subject, files)}",
                "correct its subject",
            )
    if valid:
        yield ok("playbooks", f"valid here: {', '.join(playbook.name for playbook in valid)}")


def _each(
    part: str, names: Iterable[str], look: Callable[[str], Iterator[Check]]
) -> Iterator[Check]:
    """Check each name; a failure does not stop the checks of other names."""
    for name in names:
        try:
            yield from look(name)
        except Unavailable as error:
            # The service may be down, or its address may be wrong; the error does not show which.
            what_to_do = f"check that [{part}.{name}] is correct, running, and reachable from here"
            yield fail(part, f"{name}: {error}", what_to_do)
        except StandfastError as error:
            yield fail(part, f"{name}: {error}")


CHECKS = {
    "accounts": _accounts,
    "senders": _senders,
    "audiences": _audiences,
    "evidence": _evidence,
    "notices": _notices,
    "playbooks": _playbooks,
}
