"""Steps of each verb, for every behaviour of the provider."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from standfast.adapters.accounts.base.per_account_connector import (
    Account,
    OutcomeUnknown,
    PerAccountConnector,
    ProviderRefused,
)
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, JsonObject, Limits, Order, Proof, Result
from standfast.time_limit import Deadline

DONE, REFUSED, FAILED, UNKNOWN = (
    EffectState.DONE,
    EffectState.REFUSED,
    EffectState.FAILED,
    EffectState.UNKNOWN,
)
PRIOR: JsonObject = {"id": "1", "enabled": True, "role": "agent"}


@dataclass(kw_only=True)
class _Alice:
    """The one account of the directory, and all calls that concerned it."""

    id: str = "1"
    is_enabled: bool | None = True
    sessions: int | None = 2
    obstacle: str = ""
    name: str = "alice"
    acts: list[str] = field(default_factory=list)


class _Directory(PerAccountConnector):
    proof = Proof.SESSIONS_GONE

    def __init__(self, *, act: Callable[[_Alice, bool], None] | None = None) -> None:
        super().__init__("agents", Limits())
        self.alice: _Alice | None = _Alice()
        self.act = act
        self.is_mute = False  # after a change, no account can be read
        self.objection = ""
        self.garbles: type[Exception] = KeyError  # the error of a garbled answer
        self.restored: JsonObject | None = None

    def canonical(self, name: str) -> str:
        return name.lower()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        assert deadline.left_seconds(), "there is no time to ask in"
        if name == "garbled":
            raise self.garbles(name)
        if name == "beyond our settings":
            raise ConfigurationError("say in the settings where it is")
        return self._shown() if name.lower() in {"alice", "al"} else None

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        if self.is_mute and self.alice is not None and self.alice.acts:
            raise Unavailable("it does not answer")
        return self._shown() if self.alice is not None and account_id == self.alice.id else None

    def _shown(self) -> Account | None:
        if self.alice is None:
            return None
        return Account(
            id=self.alice.id,
            is_enabled=self.alice.is_enabled,
            live_sessions=self.alice.sessions,
            prior={"role": "agent", "id": "of the provider's", "enabled": "of the provider's"},
            obstacle=self.alice.obstacle,
            name=self.alice.name,
        )

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        return self._turn(False)

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        self.restored = prior
        return self._turn(bool(prior["enabled"]))

    def _turn(self, is_enabled: bool) -> bool:
        assert self.alice is not None
        if self.alice.is_enabled is is_enabled:
            return False
        self.alice.acts.append("open" if is_enabled else "shut")
        if self.act is None:
            self.alice.is_enabled = is_enabled
        else:
            self.act(self.alice, is_enabled)
        return True

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        assert self.alice is not None
        self.alice.acts.append("end sessions")
        had, self.alice.sessions = self.alice.sessions, 0
        return bool(had)

    def _objection(self, account: Account, prior: JsonObject) -> str:
        return self.objection

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        raise Unavailable("it does not answer")


def asked(
    directory: _Directory, verb: str, target: str = "alice", prior: JsonObject | None = PRIOR
) -> Result:
    order = Order(token="t", verb=f"accounts.{verb}", target=target, prior=prior)
    (result,) = getattr(directory, verb)([order])
    assert isinstance(result, Result)
    return result


def acts(directory: _Directory) -> list[str]:
    return [] if directory.alice is None else directory.alice.acts


def test_lock_disables_before_it_ends_sessions() -> None:
    directory = _Directory()
    result = asked(directory, "lock")
    assert (result.state, result.facts["changed"]) == (DONE, True)
    assert result.facts["to_look_at"] == ["its other credentials could not be read"]
    assert acts(directory) == ["shut", "end sessions"]
    again = asked(directory, "lock")
    assert (again.state, again.facts["changed"]) == (DONE, False)


def test_a_lock_that_only_ended_sessions_changed_something() -> None:
    directory = _Directory()
    assert directory.alice is not None
    directory.alice.is_enabled = False
    assert asked(directory, "lock").facts["changed"] is True


def test_where_sessions_cannot_be_ended_none_are_tried() -> None:
    directory = _Directory()
    directory.verbs = frozenset({"lock", "prove", "undo"})
    assert asked(directory, "lock").state is DONE
    assert asked(directory, "undo").state is DONE
    assert acts(directory) == ["shut", "open"]


@pytest.mark.parametrize("verb", ["lock", "revoke", "prove"])
@pytest.mark.parametrize(
    ("target", "own_name", "prior"),
    [
        ("alice", "alice", None),
        ("alice", "alice", {"role": "agent"}),  # without an id, the name decides
        ("ALICE", "alice", PRIOR),
        ("alice", "", PRIOR),  # as of a provider that finds accounts by `own_name` only
    ],
)
def test_account_matches_any_spelling_of_its_name(
    verb: str, target: str, own_name: str, prior: JsonObject | None
) -> None:
    directory = _Directory()
    directory.alice = _Alice(is_enabled=verb != "prove", sessions=0, name=own_name)
    assert asked(directory, verb, target, prior).state is DONE


@pytest.mark.parametrize("verb", ["lock", "revoke"])
@pytest.mark.parametrize(
    ("target", "prior", "why"),
    [
        ("bob", None, "no such account"),
        ("alice", {"id": "2"}, "belongs to another account"),
        ("al", PRIOR, "an alias of an account"),
    ],
)
def test_other_account_is_never_changed(
    verb: str, target: str, prior: JsonObject, why: str
) -> None:
    directory = _Directory()
    result = asked(directory, verb, target, prior)
    assert result.state is REFUSED
    assert why in result.reason
    assert acts(directory) == []


def _nothing(alice: _Alice, is_enabled: bool) -> None:
    """Change nothing; the call still succeeds."""


def _hidden(alice: _Alice, is_enabled: bool) -> None:
    alice.is_enabled = None


def _vanished(alice: _Alice, is_enabled: bool) -> None:
    alice.id = "gone"


def _doubtful(alice: _Alice, is_enabled: bool) -> None:
    raise OutcomeUnknown("no answer came")


def _doubtful_and_done(alice: _Alice, is_enabled: bool) -> None:
    alice.is_enabled = is_enabled
    raise OutcomeUnknown("no answer came")


def _declined(alice: _Alice, is_enabled: bool) -> None:
    raise ProviderRefused("it may not")


def _declined_for_it_was_done(alice: _Alice, is_enabled: bool) -> None:
    alice.is_enabled = is_enabled
    raise ProviderRefused("it is so already")


def _away(alice: _Alice, is_enabled: bool) -> None:
    raise Unavailable("it does not answer", retry_after_seconds=7)


@pytest.mark.parametrize("verb", ["lock", "undo"])
@pytest.mark.parametrize(
    ("act", "state", "changed"),
    [
        (_nothing, FAILED, None),
        (_hidden, UNKNOWN, None),
        (_vanished, REFUSED, None),
        (_doubtful, UNKNOWN, None),
        (_doubtful_and_done, DONE, True),
        (_declined, REFUSED, None),
        (_declined_for_it_was_done, DONE, False),
        (_away, FAILED, None),
    ],
)
def test_only_what_is_read_back_is_believed(
    verb: str, act: Callable[[_Alice, bool], None], state: EffectState, changed: bool | None
) -> None:
    directory = _Directory(act=act)
    assert directory.alice is not None
    directory.alice.is_enabled = verb == "lock"
    directory.alice.sessions = 0
    result = asked(directory, verb)
    assert (result.state, result.facts.get("changed")) == (state, changed)
    if verb == "lock":
        assert ("end sessions" in acts(directory)) is (state is DONE)


@pytest.mark.parametrize(
    ("act", "state"), [(None, UNKNOWN), (_doubtful, UNKNOWN), (_declined, REFUSED)]
)
def test_unreadable_change_is_unknown_unless_declined(
    act: Callable[[_Alice, bool], None] | None, state: EffectState
) -> None:
    directory = _Directory(act=act)
    directory.is_mute = True
    assert asked(directory, "lock").state is state


def test_undo_ends_old_sessions_before_it_enables() -> None:
    directory = _Directory()
    assert directory.alice is not None
    directory.alice.is_enabled = False
    # The undo finds the account by its id.
    assert asked(directory, "undo", "renamed since").state is DONE
    assert acts(directory) == ["end sessions", "open"]
    assert directory.restored == PRIOR


def test_undo_ends_sessions_of_unclear_accounts() -> None:
    directory = _Directory(act=_hidden)
    assert directory.alice is not None
    directory.alice.is_enabled = None
    assert asked(directory, "undo").state is UNKNOWN
    assert acts(directory) == ["end sessions", "open"]


def test_an_undo_that_only_ended_sessions_changed_something() -> None:
    directory = _Directory(act=_declined_for_it_was_done)
    assert directory.alice is not None
    directory.alice.is_enabled = False
    result = asked(directory, "undo")
    assert (result.state, result.facts["changed"]) == (DONE, True)


@pytest.mark.parametrize(("act", "state"), [(None, DONE), (_nothing, FAILED)])
def test_account_disabled_before_is_disabled_again(
    act: Callable[[_Alice, bool], None] | None, state: EffectState
) -> None:
    directory = _Directory(act=act)
    assert asked(directory, "undo", prior={"id": "1", "enabled": False}).state is state
    assert acts(directory) == ["shut"], "its sessions are not those of before the lock"


def test_undo_of_open_account_ends_no_session() -> None:
    directory = _Directory()
    result = asked(directory, "undo")
    assert (result.state, result.facts["changed"]) == (DONE, False)
    assert acts(directory) == []


def test_an_account_that_was_disabled_before_stays_so() -> None:
    directory = _Directory()
    assert directory.alice is not None
    directory.alice.is_enabled = False
    result = asked(directory, "undo", prior={"id": "1", "enabled": False})
    assert (result.state, result.facts["changed"]) == (DONE, False)
    assert acts(directory) == []


@pytest.mark.parametrize(
    ("prior", "objection", "why"),
    [
        (None, "", "is unknown"),
        ({"enabled": True}, "", "is unknown"),
        ({"id": "1", "enabled": None}, "", "is unknown"),
        ({"id": "2", "enabled": True}, "", "no such account"),
        (PRIOR, "somebody gave it a role since", "a role"),
    ],
)
def test_impossible_undo_is_refused(prior: JsonObject | None, objection: str, why: str) -> None:
    directory = _Directory()
    assert directory.alice is not None
    directory.alice.is_enabled = False
    directory.objection = objection
    result = asked(directory, "undo", prior=prior)
    assert result.state is REFUSED
    assert why in result.reason
    assert acts(directory) == []


@pytest.mark.parametrize(
    ("is_enabled", "sessions", "state", "proof"),
    [
        (True, 0, FAILED, Proof.NONE),
        (None, 0, FAILED, Proof.NONE),
        (False, 1, FAILED, Proof.NONE),
        (False, None, DONE, Proof.READ_BACK),
        (False, 0, DONE, Proof.SESSIONS_GONE),
    ],
)
def test_proof_level_follows_the_account(
    is_enabled: bool | None, sessions: int | None, state: EffectState, proof: Proof
) -> None:
    directory = _Directory()
    directory.alice = _Alice(is_enabled=is_enabled, sessions=sessions)
    result = asked(directory, "prove")
    assert (result.state, result.proof) == (state, proof)
    directory.alice = None
    assert asked(directory, "prove").state is REFUSED


def test_alias_is_an_obstacle_to_a_lock() -> None:
    directory = _Directory()
    assert directory.alice is not None
    directory.alice.obstacle = "it is synchronised"
    own, alias, nobody = directory.observe(["alice", "al", "bob"])
    assert (own.exists, own.is_enabled, own.live_sessions, own.prior) == (True, True, 2, PRIOR)
    assert own.obstacle == "it is synchronised"
    assert "an alias" in alias.obstacle
    assert not nobody.exists


@pytest.mark.parametrize("garbles", [KeyError, IndexError, TypeError, ValueError, AttributeError])
@pytest.mark.parametrize("verb", ["lock", "revoke", "prove"])
def test_an_answer_that_nobody_understands_is_no_answer(
    verb: str, garbles: type[Exception]
) -> None:
    directory = _Directory()
    directory.garbles = garbles
    result = asked(directory, verb, "garbled")
    assert (result.state, result.retry_after_seconds is not None) == (FAILED, True)
    assert "garbled" not in result.reason
    assert acts(directory) == []


def test_unreachable_account_spoils_no_other() -> None:
    directory = _Directory()
    orders = [
        Order(token=target, verb="accounts.lock", target=target)
        for target in ("beyond our settings", "garbled", "alice")
    ]
    far, garbled, alice = directory.lock(orders)
    assert (far.state, garbled.state, alice.state) == (FAILED, FAILED, DONE)
    assert "say in the settings" in far.reason
