"""The actions that a playbook may name, as data: the allow-list between a file and the outside.

Owns what each verb takes, what it touches, and what takes it back. Leaves carrying it out to
operations, and whether a directory or a sender can do it to planning.

Rules
- A verb that is not here does not exist; there is no way to name code from a playbook.
- An action that cannot be taken back is marked, and then asks for an approval or for a reason.
  What a command or a request can take back only the configuration knows: planning refuses the step
  that runs one without an undo and asks nobody.
- An undo is itself in the catalogue, and is never a step of its own: it needs the prior states.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from standfast.records import Json


class ArgumentType(StrEnum):
    """What an argument must be once its expressions are evaluated."""

    ACCOUNTS = "accounts"  # a list of account names, not empty
    TEXT = "text"
    SOURCES = "sources"  # "all", or a list of evidence sources by name
    TEMPLATE = "template"  # the name of a notice
    AUDIENCE = "audience"  # the name of an audience
    SENDER = "sender"  # the name of a sender
    MAPPING = "mapping"  # text keys; the values that a template is rendered with
    NAMES = "names"  # a list of texts, not empty: hosts, numbers, indicators
    TIME = "time"  # a moment, with its zone
    COMMAND = "command"  # the name of an allow-listed command
    REQUEST = "request"  # the name of an allow-listed request
    SERVICE = "service"  # the name of a service
    SETS = "sets"  # "all", or a list of backup sets by name


class Use(StrEnum):
    """Where a verb may appear."""

    STEP = "step"  # as `do:` of a step
    UNDO = "undo"  # only as the undo of another
    INTERNAL = "internal"  # only by the program itself


@dataclass(frozen=True, kw_only=True)
class ArgumentSpec:
    """One argument of an action."""

    type: ArgumentType
    required: bool = False
    default: Json = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One verb: what it takes, what one target of it is, and what takes it back."""

    verb: str
    title: str  # what it does, as a phrase: "lock the accounts"
    targets: str  # what is counted: "accounts", "sources", "recipients", "people", …
    arguments: Mapping[str, ArgumentSpec] = field(default_factory=dict)
    undo: str | None = None
    use: Use = Use.STEP
    is_irreversible: bool = False  # a person must know before Enter that there is no way back


_ACCOUNTS = ArgumentSpec(
    type=ArgumentType.ACCOUNTS, required=True, description="the accounts, by name"
)

_NOTICE = {
    "template": ArgumentSpec(
        type=ArgumentType.TEMPLATE, required=True, description="the notice, by name"
    ),
    "audience": ArgumentSpec(
        type=ArgumentType.AUDIENCE, required=True, description="who is told, by name"
    ),
    "sender": ArgumentSpec(
        type=ArgumentType.SENDER, description="the channel; without it the default one"
    ),
    "context": ArgumentSpec(
        type=ArgumentType.MAPPING,
        default={},
        description="what the notice is rendered with, besides what every notice has",
    ),
}
_CALLED = {
    "targets": ArgumentSpec(
        type=ArgumentType.NAMES,
        description="what it is done to, one by one; each is the parameter `target`",
    ),
    "parameters": ArgumentSpec(
        type=ArgumentType.MAPPING, default={}, description="its other parameters, by name"
    ),
}
_INDICATORS = ArgumentSpec(
    type=ArgumentType.NAMES,
    description="what to look for: `text:…`, `path:…` (with * and ?) or `sha256:…`",
)

_ACTIONS = (
    Action(
        verb="accounts.lock",
        title="lock the accounts in every directory that knows them, and end what sessions it can",
        targets="accounts",
        arguments={
            "accounts": _ACCOUNTS,
            "reason": ArgumentSpec(
                type=ArgumentType.TEXT, default="", description="why, for the timeline"
            ),
        },
        undo="accounts.unlock",
    ),
    Action(
        verb="accounts.unlock",
        title="give the accounts back the state they had before, and only it",
        targets="accounts",
        arguments={"accounts": _ACCOUNTS},
        use=Use.UNDO,
    ),
    Action(
        # Nothing is lost by it that signing in does not bring back, so it counts as harmless.
        verb="accounts.revoke_sessions",
        title="end sessions, refresh tokens and keys",
        targets="accounts",
        arguments={"accounts": _ACCOUNTS},
    ),
    Action(
        verb="accounts.prove_locked",
        title="show that the holders are kept out, changing nothing",
        targets="accounts",
        arguments={"accounts": _ACCOUNTS},
    ),
    Action(
        verb="accounts.rotate",
        title="give the accounts new passwords, sealed to those who may open them",
        targets="accounts",
        arguments={"accounts": _ACCOUNTS},
        is_irreversible=True,
    ),
    Action(
        verb="evidence.snapshot",
        title="copy the evidence sources as they are now, hashed and sealed",
        targets="sources",
        arguments={
            "sources": ArgumentSpec(
                type=ArgumentType.SOURCES,
                default="all",
                description="all, or a list of evidence sources by name",
            )
        },
    ),
    Action(
        verb="evidence.review",
        title="look through what was frozen, and put what is found in order of time",
        targets="sources",
        arguments={
            "accounts": ArgumentSpec(
                type=ArgumentType.ACCOUNTS, description="the accounts whose traces are wanted"
            ),
            "indicators": _INDICATORS,
        },
    ),
    Action(
        verb="notices.prepare",
        title="write the notice and count its readers, sending nothing",
        targets="notices",
        arguments=_NOTICE,
    ),
    Action(
        verb="notices.send",
        title="tell the people of an audience",
        targets="recipients",
        arguments=_NOTICE,
        is_irreversible=True,
    ),
    Action(
        verb="deadlines.start",
        title="write down the fact that starts the legal clocks",
        targets="facts",
        arguments={
            "fact": ArgumentSpec(
                type=ArgumentType.TEXT,
                required=True,
                description="what happened, as the legal clocks name it: awareness, detection, …",
            ),
            "at": ArgumentSpec(
                type=ArgumentType.TIME,
                description="when; without it, when the last step that it needs was answered or "
                "ended, and where it needs none, when the incident was opened",
            ),
            "note": ArgumentSpec(
                type=ArgumentType.TEXT, default="", description="how it is known, for the record"
            ),
        },
    ),
    Action(
        verb="backup.protect",
        title="let no recovery point expire, and keep the locks of all of them long enough",
        targets="repositories",
        undo="backup.release",
    ),
    Action(
        verb="backup.release",
        title="let recovery points expire again by their rules",
        targets="repositories",
        use=Use.UNDO,
    ),
    Action(
        verb="drill.last_clean_point",
        title="go back through the recovery points to the newest without the indicators",
        targets="backup sets",
        arguments={
            "sets": ArgumentSpec(
                type=ArgumentType.SETS,
                default="all",
                description="all, or a list of backup sets by name",
            ),
            "indicators": replace(_INDICATORS, required=True),
        },
    ),
    Action(
        verb="service.degrade",
        title="switch a service to a mode that was prepared for the time without it",
        targets="services",
        arguments={
            "service": ArgumentSpec(
                type=ArgumentType.SERVICE, required=True, description="the service, by name"
            ),
            "mode": ArgumentSpec(
                type=ArgumentType.TEXT,
                required=True,
                description="one of the modes that the service's configuration prepares",
            ),
        },
        undo="service.restore",
    ),
    Action(
        verb="service.restore",
        title="switch the service back to how it was",
        targets="services",
        use=Use.UNDO,
    ),
    Action(
        verb="run.command",
        title="run a command that the configuration allows",
        targets="targets",
        arguments={
            "command": ArgumentSpec(
                type=ArgumentType.COMMAND, required=True, description="the command, by name"
            ),
            **_CALLED,
        },
        undo="run.undo",
    ),
    Action(
        verb="run.undo",
        title="run the command's own undo",
        targets="targets",
        use=Use.UNDO,
    ),
    Action(
        verb="http.request",
        title="send a request that the configuration allows",
        targets="targets",
        arguments={
            "request": ArgumentSpec(
                type=ArgumentType.REQUEST, required=True, description="the request, by name"
            ),
            **_CALLED,
        },
        undo="http.undo",
    ),
    Action(
        verb="http.undo",
        title="send the request's own undo",
        targets="targets",
        use=Use.UNDO,
    ),
    Action(
        verb="people.page",
        title="reach the approvers",
        targets="people",
        use=Use.INTERNAL,
        is_irreversible=True,
    ),
)

CATALOGUE: Mapping[str, Action] = {action.verb: action for action in _ACTIONS}
