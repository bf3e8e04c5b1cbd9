import pytest

from standfast.errors import UsageError
from standfast.playbook.action_arguments import arguments_of
from standfast.records import StepState, canonical
from tests.playbook.build import playbook_of, state_of, view


def test_expressions_are_replaced_and_defaults_put_in() -> None:
    playbook = playbook_of(
        """
        ask: {title: A, decide: "Well?", options: [mail, fax]}
        tell:
          title: Tell
          needs: [ask]
          do: notices.send
          with:
            template: staff-heads-up
            audience: staff
            sender: "{{ answers.ask }}"
            context: {why: "{{ inputs.reason }}", list: ["{{ inputs.accounts }}", plain]}
        """
    )
    state = state_of(playbook, view("ask", StepState.DONE, answer="mail"))
    filled = arguments_of(playbook.step("tell"), state)
    assert filled == {
        "template": "staff-heads-up",
        "audience": "staff",
        "sender": "mail",
        "context": {"why": "seen", "list": [["ana"], "plain"]},
    }
    assert canonical(filled) == canonical(arguments_of(playbook.step("tell"), state))


def test_missing_or_null_argument_has_the_default() -> None:
    playbook = playbook_of(
        "s: {title: S, do: evidence.snapshot, with: {sources: null}}\n"
        "t: {title: T, do: accounts.lock, with: {accounts: [a]}}"
    )
    assert arguments_of(playbook.step("s"), state_of(playbook)) == {"sources": "all"}
    assert arguments_of(playbook.step("t"), state_of(playbook)) == {"accounts": ["a"], "reason": ""}


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("do: accounts.lock", "argument `accounts`: missing"),
        ('do: accounts.lock, with: {accounts: "{{ inputs.reason }}"}', "must be a list of account"),
        ('do: accounts.lock, with: {accounts: "{{ answers.s }}"}', "`answers.s` is not known here"),
        ("do: nothing.known", "unknown action `nothing.known`"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(step: str, problem: str) -> None:
    playbook = playbook_of(f"s: {{title: S, {step}}}")
    with pytest.raises(UsageError, match="step `s`") as caught:
        arguments_of(playbook.step("s"), state_of(playbook))
    assert problem in str(caught.value)
