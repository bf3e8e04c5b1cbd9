"""The actions that a playbook may name, as data: the allow-list between a file and the outside.

Owns what each verb takes, what it touches, and what takes it back. Leaves carrying it out to
operations, and whether a directory or a sender can do it to planning.

Rules
- A verb that is not here does not exist; there is no way to name code from a playbook.
- An action that cannot be taken back is marked, and then asks for an approval or for a reason.
- An undo is itself in the catalogue, and is never a step of its own: it needs the prior states.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    targets: str  # what is counted: "accounts", "sources", "recipients", "people"
    arguments: Mapping[str, ArgumentSpec] = field(default_factory=dict)
    undo: str | None = None
    use: Use = Use.STEP
    is_irreversible: bool = False  # a person must know before Enter that there is no way back


_ACCOUNTS = ArgumentSpec(
    type=ArgumentType.ACCOUNTS, required=True, description="the accounts, by name"
)

_ACTIONS = (
    Action(
        verb="accounts.lock",
        title="lock the accounts and end their sessions, in every directory that knows them",
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
        verb="notices.send",
        title="tell the people of an audience",
        targets="recipients",
        arguments={
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
        },
        is_irreversible=True,
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
