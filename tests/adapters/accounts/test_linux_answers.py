"""Linux connector against a host that is absent, hangs or lies."""

from dataclasses import replace

import pytest

from standfast.adapters.accounts.linux import LinuxConnector
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, JsonObject
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import order
from tests.servers import growing


def stub(answers: str, seconds: float = 20.0) -> LinuxConnector:
    """Connect to a program that greets and then runs the shell words."""
    command = ("sh", "-c", f"echo standfast-accounts 2; {answers}")
    return connect(LinuxConnector, command=command, batch=20, workers=2, timeout_seconds=seconds)


def test_hanging_host_leaves_only_changes_unknown() -> None:
    silent = stub("cat > /dev/null", 0.5)
    (result,) = silent.lock([order("lock", "alice")])
    assert (result.state, result.retry_after_seconds is None) == (EffectState.FAILED, False)
    for seconds in growing(0.5):
        halfway = stub("read line; echo ok 1001 0 - 0 - - alice; cat > /dev/null", seconds)
        (result,) = halfway.lock([order("lock", "alice")])
        if result.state is not EffectState.FAILED:
            break
    assert result.state is EffectState.UNKNOWN
    cut = stub("read line; echo ok 1001 0 - 0 - - alice; read line; exit 1")
    assert cut.lock([order("lock", "alice")])[0].state is EffectState.UNKNOWN


def test_dropped_batch_leaves_one_unknown() -> None:
    cut = stub("read line; echo ok 1001 0 - 0 - - alice; read line; exit 1")
    first, *rest = cut.lock([order("lock", name) for name in ("alice", "bob", "carol")])
    assert first.state is EffectState.UNKNOWN
    assert [one.state for one in rest] == [EffectState.FAILED] * 2
    assert all(one.retry_after_seconds for one in rest)


@pytest.mark.parametrize(
    "answer", ["ok 1001 0 -", "ok 1001 0 - 0 - - alice more", "yes", "", "ok 1001 2 - 0 - - alice"]
)
def test_invalid_answer_is_never_accepted(answer: str) -> None:
    connector = stub(f"while read line; do echo '{answer}'; done")
    with pytest.raises(Unavailable, match="does not answer"):
        connector.observe(["alice"])
    assert connector.lock([order("lock", "alice")])[0].state is EffectState.FAILED


def test_false_success_is_not_believed() -> None:
    connector = stub("while read line; do echo ok 1001 0 - 0 - - alice; done")
    assert connector.lock([order("lock", "alice")])[0].state is EffectState.FAILED
    connector.close()


@pytest.mark.parametrize(
    ("after", "state"),
    [
        ("0 1 0", EffectState.FAILED),  # the password was not locked
        ("1 - 0", EffectState.FAILED),  # keys still work
        ("1 1 3", EffectState.UNKNOWN),  # three processes have not ended
        ("1 1 0", EffectState.DONE),
    ],
)
def test_half_a_lock_is_none(after: str, state: EffectState) -> None:
    before = "read line; echo ok 1001 0 - 2 - - alice"
    connector = stub(f"{before}; read line; echo ok 1001 {after} - - alice; cat > /dev/null")
    (result,) = connector.lock([order("lock", "alice")])
    assert result.state is state
    connector.close()


def test_an_undo_that_changed_nothing_is_not_believed() -> None:
    connector = stub("while read line; do echo ok 1001 1 1 0 - - alice; done")
    prior: JsonObject = {"uid": 1001, "born": "-", "locked": False, "expires": "-"}
    (result,) = connector.undo([replace(order("undo", "alice"), prior=prior)])
    assert result.state is EffectState.FAILED
    connector.close()


@pytest.mark.parametrize(
    "words", ["echo ssh: alice@web1 refused >&2; exit 255", "exit 0"], ids=["refused", "hung up"]
)
def test_absent_host_is_retried_and_not_quoted(
    words: str,
) -> None:
    away = connect(LinuxConnector, command=("sh", "-c", words))
    (result,) = away.lock([order("lock", "alice")])
    assert (result.state, result.retry_after_seconds is None) == (EffectState.FAILED, False)
    with pytest.raises(Unavailable) as caught:
        away.observe(["alice"])
    assert caught.value.retry_after_seconds is not None
    assert "alice" not in result.reason + str(caught.value)


def test_unstartable_or_unknown_command_is_reported() -> None:
    missing = connect(LinuxConnector, command=("/no/such/program",))
    with pytest.raises(ConfigurationError, match="cannot be started"):
        missing.observe(["alice"])
    stranger = connect(LinuxConnector, command=("echo", "hello"))
    with pytest.raises(Unavailable, match="does not answer"):
        stranger.observe(["alice"])
