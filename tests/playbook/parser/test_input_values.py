import pytest

from standfast.errors import UsageError
from standfast.playbook.model import Playbook
from standfast.playbook.parser.input_values import read_answer
from standfast.playbook.parser.playbook_file import load_inputs
from standfast.records import Json
from tests.playbook.build import playbook_of

STEPS = """
ask: {title: Ask, decide: Well?, options: ["yes", "no"]}
look: {title: Look, manual: Look.}
rest: {title: Rest, wait: 1m}
"""


@pytest.fixture
def playbook() -> Playbook:
    return playbook_of(
        STEPS,
        """
        accounts: {type: accounts, required: true, description: whose}
        reason: {type: text, default: seen}
        loud: {type: flag}
        count: {type: number}
        kind: {type: choice, options: [agent, admin]}
        since: {type: time}
        """,
    )


@pytest.mark.parametrize(
    ("name", "raw", "typed"),
    [
        ("accounts", "ana, bo,,ana ,", ["ana", "bo"]),
        ("accounts", ["cn=ana,ou=x", " bo ", ""], ["cn=ana,ou=x", "bo"]),
        ("accounts", ["strange:", "bo"], ["strange:", "bo"]),
        ("reason", "  why  ", "why"),
        ("reason", ["why"], "why"),
        ("loud", "YES", True),
        ("loud", "off", False),
        ("count", "-12", -12),
        ("kind", "admin", "admin"),
        ("since", "2026-03-01T02:30+01:00", "2026-03-01T01:30:00.000000Z"),
    ],
)
def test_text_becomes_what_the_input_declares(
    playbook: Playbook, name: str, raw: str | list[str], typed: Json
) -> None:
    assert load_inputs(playbook, {"accounts": "x"} | {name: raw})[name] == typed


def test_missing_input_has_its_default_or_null(playbook: Playbook) -> None:
    assert load_inputs(playbook, {"accounts": "ana"}) == {
        "accounts": ["ana"],
        "reason": "seen",
        "loud": False,
        "count": None,
        "kind": None,
        "since": None,
    }


def test_all_unfit_inputs_are_reported_at_once(playbook: Playbook) -> None:
    with pytest.raises(UsageError) as caught:
        load_inputs(playbook, {"acounts": "ana", "count": "many", "kind": "boss"})
    told = str(caught.value)
    assert "no input `acounts`; did you mean `accounts`?" in told
    assert "input `accounts` is missing: whose" in told
    assert "input `count`: takes a whole number" in told
    assert "input `kind`: takes one of agent, admin" in told


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("accounts", " , "),
        ("accounts", "ana,agents: "),
        ("accounts", []),
        ("accounts", "ana\x1b[2J"),
        ("accounts", "a" * 400),
        ("reason", "x" * 2_001),
        ("reason", "a\x00b"),
        ("reason", ["a", "b"]),
        ("loud", "perhaps"),
        ("count", "1.5"),
        ("count", "٣"),
        ("count", "1" * 400),
        ("since", "yesterday"),
        ("since", "2027-04-02T03:31"),
        ("since", "0001-01-01T00:00+14:00"),
        ("since", "0226-03-01T02:30Z"),
        ("since", "9999-12-31T23:59Z"),
    ],
)
def test_unfit_input_is_refused_and_not_repeated(
    playbook: Playbook, name: str, raw: str | list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        load_inputs(playbook, {"accounts": "x"} | {name: raw})
    assert str(caught.value).startswith(f"input `{name}`: ")
    for value in [raw] if isinstance(raw, str) else raw:
        assert len(value.strip()) < 3 or value not in str(caught.value)


def test_a_decision_takes_an_option_in_any_case(playbook: Playbook) -> None:
    assert read_answer(playbook.step("ask"), " Yes ") == "yes"


@pytest.mark.parametrize(
    ("step", "text"), [("ask", "maybe"), ("look", "  "), ("look", "\x07"), ("rest", "done")]
)
def test_an_answer_that_is_none_is_refused(playbook: Playbook, step: str, text: str) -> None:
    with pytest.raises(UsageError, match=step):
        read_answer(playbook.step(step), text)


def test_a_manual_step_takes_any_text(playbook: Playbook) -> None:
    assert read_answer(playbook.step("look"), " all quiet ") == "all quiet"
