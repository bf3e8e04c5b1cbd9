"""Record of an action: arguments, undo, approval rule; planner interface.

A planner computes the effects of a step; an effect is one act on one target, such as the lock of
one account.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import Json, JsonObject, Mode, Proof

if TYPE_CHECKING:
    from standfast.config import Config  # playbooks load without the configuration


class ArgumentType(StrEnum):
    """The type of an argument once its expressions are evaluated."""

    ACCOUNTS = "accounts"  # a list of account names, not empty
    TEXT = "text"
    SOURCES = "sources"  # "all", or a list of evidence sources by name
    TEMPLATE = "template"  # the name of a notice (a message to people)
    AUDIENCE = "audience"  # the name of an audience (the recipients of a notice)
    SENDER = "sender"  # the name of a sender (the adapter of a message channel)
    MAPPING = "mapping"  # with text keys, such as the values for a template
    NAMES = "names"  # a list of texts, not empty: hosts, numbers, indicators
    TIME = "time"  # a moment, with its zone
    COMMAND = "command"  # the name of an allow-listed command
    REQUEST = "request"  # the name of an allow-listed request
    SERVICE = "service"  # the name of a service
    SETS = "sets"  # "all", or a list of backup sets by name


class Use(StrEnum):
    """Places where the verb (name) of an action may appear."""

    STEP = "step"  # as `do:` of a step
    UNDO = "undo"  # only as the undo of another action
    INTERNAL = "internal"  # only by the program itself


class Carrier(StrEnum):
    """The family of adapters that carries an action out."""

    ACCOUNTS = "accounts"
    EVIDENCE = "evidence"
    SENDERS = "senders"
    PROCEDURES = "procedures"  # commands, HTTP requests, and functions of Standfast


@dataclass(frozen=True, kw_only=True)
class ArgumentSpec:
    """One argument of an action."""

    type: ArgumentType
    required: bool = False
    default: Json = None
    description: str = ""


class Directory(Protocol):
    """The properties of an account directory that a plan shows.

    An account directory is a system that stores accounts, such as OpenLDAP.
    """

    proof: Proof
    irreversible: tuple[str, ...]

    @property
    def verbs(self) -> Collection[str]: ...


class Planner(Protocol):
    """The interface for planning one step: it reads, and changes nothing."""

    @property
    def step(self) -> Step: ...

    @property
    def config(self) -> "Config": ...

    @property
    def mode(self) -> Mode: ...

    @property
    def incident(self) -> str:
        """Return the incident's id, for commands that a message suggests.

        Before the incident is opened, the text is `INCIDENT`.
        """

    @property
    def is_keeper_machine(self) -> bool:
        """Return whether this machine has the key that lets backups expire."""

    def directory(self, name: str) -> Directory:
        """Return an account directory."""

    def accounts(
        self, verb: str, arguments: JsonObject, *, shows_obstacles: bool = False
    ) -> Expansion:
        """Plan one effect for each account, in each directory that has it.

        With `shows_obstacles`, an incident that is only planned already refuses the accounts that
        the directory would refuse in a live run.
        """

    def notice(self, arguments: JsonObject) -> Expansion:
        """Plan one message for each recipient of an audience (list of people)."""

    def notice_preview(self, verb: str, procedure: str, arguments: JsonObject) -> Expansion:
        """Render a notice and count its recipients; plan no message."""

    def call(
        self, verb: str, procedure: str, target: str, details: JsonObject, *, refusal: str = ""
    ) -> Draft:
        """Plan one call of a procedure: a command, request or own function.

        If a parameter is invalid or names a protected account (which no playbook may lock), the
        effect is planned as refused. Raise Refused if the call has no undo, and the step has
        neither an approval nor the reason why it needs none.
        """

    def calls(self, verb: str, procedure: str, arguments: JsonObject) -> Expansion:
        """Plan one call for each target in `arguments`, or one without a target."""

    def recoveries(self, arguments: JsonObject) -> Expansion:
        """Plan one recovery for each backup set of the services in `arguments`."""

    def validate(self, procedure: str, details: JsonObject) -> None:
        """Raise UsageError, which names the parameter, if one is invalid."""


Plan: TypeAlias = Callable[[JsonObject, Planner], Expansion]


def _no_approval(_arguments: JsonObject, _staff: Collection[str]) -> str:
    return ""


def _no_notes(_adapter: str, _planner: Planner) -> Sequence[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action that a playbook may name, with all its properties."""

    verb: str  # its name, such as "accounts.lock"
    title: str  # a phrase that describes it: "lock the accounts"
    targets: str  # the noun of its targets: "accounts", "sources", "recipients", "people", …
    carrier: Carrier
    method: str  # name of the adapter's method: "lock", "run", "undo", …
    arguments: Mapping[str, ArgumentSpec] = field(default_factory=dict)
    plan: Plan | None = None  # None: no step can name the action
    done: str = "done"  # word for targets that are done, as in "487 locked"
    undo: str | None = None
    use: Use = Use.STEP
    is_irreversible: bool = False  # the plan must state that no undo exists
    # Returns why the step always needs an approval, or "". The second argument has the audiences
    # of the organisation's own staff.
    approval_reason: Callable[[JsonObject, Collection[str]], str] = _no_approval
    # Yields the notes of a plan about an adapter that carries out the action.
    notes: Callable[[str, Planner], Iterable[str]] = _no_notes

    # The prior state of each target is recorded before the first attempt; the undo restores it.
    keeps_prior_state: bool = False
    # The action prevents the holder of an account from working. So its targets count towards the
    # number of accounts that may be locked without an approval.
    keeps_holder_out: bool = False
    # The action receives the state of the account before its lock, which identifies the account.
    # So it acts on the locked account even if another account has the same name now.
    is_for_locked_account: bool = False
    is_notice: bool = False  # the action is about a notice; the incident's key encrypts its targets
    names_people: bool = True  # the names of its targets are masked in summaries
    # Sections of the configuration that an approval covers, besides the section of the adapter.
    settings: tuple[str, ...] = ()
