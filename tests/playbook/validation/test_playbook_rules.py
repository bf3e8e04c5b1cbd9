import pytest

from standfast.playbook.parser.playbook_file import load
from standfast.playbook.step_graph import all_needs, cycles, in_order
from standfast.playbook.validation.playbook_rules import Known, check, check_text
from tests.playbook.build import INPUTS, playbook_of, text_of

ANYTHING = Known()
HERE = Known(
    templates=frozenset({"staff-heads-up"}),
    audiences=frozenset({"staff", "customers"}),
    sources=frozenset({"crm-logs"}),
    senders=frozenset({"mail"}),
    roles=frozenset({"duty-manager", "legal"}),
)
LOCK = 'lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}\n'


def told(steps: str, known: Known = ANYTHING, inputs: str = INPUTS) -> list[str]:
    """Return message and hint of every problem."""
    return [
        f"{problem.message} | {problem.hint}"
        for problem in check(playbook_of(steps, inputs), known)
    ]


def test_a_sound_playbook_has_no_problems() -> None:
    steps = LOCK + (
        'ask: {title: A, needs: [lock], decide: "Well?", options: ["yes", "no"]}\n'
        "tell:\n"
        "  title: Tell\n"
        "  needs: [ask]\n"
        '  when: answers.ask == "yes" and steps.lock.done > 0\n'
        "  do: notices.send\n"
        "  with: {template: staff-heads-up, audience: staff, sender: mail,\n"
        '         context: {why: "{{ inputs.reason }}", who: "{{ inputs.accounts }}"}}\n'
        "  approval: {count: 1, roles: [legal]}\n"
        "logs: {title: L, do: evidence.snapshot, with: {sources: [crm-logs]}}\n"
    )
    assert told(steps, HERE) == []


def test_a_cycle_is_named_step_by_step() -> None:
    steps = """
    a: {title: A, needs: [c], manual: x}
    b: {title: B, needs: [a], manual: x}
    c: {title: C, needs: [b], manual: x}
    d: {title: D, needs: [d], manual: x}
    e: {title: E, needs: [b], manual: x}
    """
    problems = told(steps)
    assert len(problems) == 3
    assert problems[0].startswith("these steps wait for each other: ")
    for link in ("a needs c", "b needs a", "c needs b"):
        assert link in problems[0]
    assert "these steps wait for each other: d needs d" in problems[1]
    assert "step `e` can never begin, because `b` never can" in problems[2]


def test_unknown_need_is_reported_with_its_step() -> None:
    steps = LOCK + (
        "prove: {title: P, needs: [lok], manual: x}\nlast: {title: L, needs: [prove], manual: x}\n"
        "very_last: {title: V, needs: [last], manual: x}\n"
    )
    assert told(steps) == [
        "step `prove` needs `lok`, which is not a step | did you mean `lock`?",
        "step `last` can never begin, because `prove` never can | ",
        "step `very_last` can never begin, because `last` never can | ",
    ]


NOTICE = "do: notices.send, with: {template: t, audience: a}"
UNAPPROVED = f"{NOTICE}, approval: {{none_because: It is only a test.}}"


@pytest.mark.parametrize(
    ("more", "is_sound"),
    [
        (f"tell: {{title: T, after: [lock], {UNAPPROVED}}}", False),
        (f"tell: {{title: T, {UNAPPROVED}}}", False),
        (f"tell: {{title: T, needs: [lock], {UNAPPROVED}}}", True),
        (f"tell: {{title: T, after: [lock], {NOTICE}, approval: {{count: 1}}}}", True),
        (
            (
                "ask: {title: A, after: [lock], manual: Call them.}\n"
                f"tell: {{title: T, needs: [ask], {UNAPPROVED}}}"
            ),
            True,
        ),
    ],
)
def test_unapproved_notice_needs_the_lock(more: str, is_sound: bool) -> None:
    assert (told(LOCK + more) == []) is is_sound


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("do: accounts.lok", "names no action that exists: `accounts.lok` | did you mean `accou"),
        ("do: accounts.unlock", "`accounts.unlock` cannot be a step of its own | it is the undo"),
        ("do: people.page", "`people.page` cannot be a step of its own"),
        ("do: os.system", "names no action that exists: `os.system`"),
        ("do: accounts.lock", "has no `accounts`: the accounts, by name | add it under"),
        (
            "do: accounts.lock, with: {accounts: [a], raeson: x}",
            "takes no argument `raeson` | did you mean `reason`?",
        ),
        ("do: accounts.lock, with: {accounts: a}", "must be a list of account names"),
        ("do: accounts.lock, with: {accounts: []}", "must be a list of account names"),
        ("do: accounts.lock, with: {accounts: [a], reason: [b]}", "`reason` must be a text"),
        ("do: evidence.snapshot, with: {sources: some}", "must be `all` or a list"),
        (
            "do: accounts.lock, with: {accounts: [a]}, undo: accounts.revoke_sessions",
            "`accounts.revoke_sessions` does not undo `accounts.lock` | its undo is",
        ),
        (
            "do: evidence.snapshot, undo: accounts.unlock",
            "does not undo `evidence.snapshot` | it has no undo; remove the key",
        ),
        (
            "do: notices.send, with: {template: t, audience: a}",
            "cannot be undone, and nobody is asked to approve it | add `approval:",
        ),
        (
            (
                "do: notices.send, with: {template: t, audience: a, context: text}, "
                "approval: {none_because: x}"
            ),
            "`context` must be a mapping",
        ),
    ],
)
def test_impossible_action_is_reported(step: str, problem: str) -> None:
    problems = told(f"s: {{title: S, {step}}}")
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (
            "do: notices.send, with: {template: staff-headsup, audience: staff}, approval: {}",
            "there is no template `staff-headsup` | did you mean `staff-heads-up`?",
        ),
        (
            "do: notices.send, with: {template: staff-heads-up, audience: clients}, approval: {}",
            "there is no audience `clients` | choose one of: customers, staff",
        ),
        (
            (
                "do: notices.send, with: {template: staff-heads-up, audience: staff, sender: fax}, "
                "approval: {}"
            ),
            "there is no sender `fax` | choose one of: mail",
        ),
        (
            "do: evidence.snapshot, with: {sources: [crm-logs, crm-log]}",
            "there is no evidence source `crm-log` | did you mean `crm-logs`?",
        ),
        (
            (
                'do: notices.send, with: {template: staff-heads-up, audience: "{{ inputs.who }}"}, '
                "approval: {}"
            ),
            "there is no audience `everyone`",
        ),
        ("manual: x, roles: [lawyer]", "asks for the role `lawyer`, which nobody can have"),
        (
            "do: accounts.lock, with: {accounts: [a]}, approval: {roles: [boss]}",
            "asks for the role `boss`",
        ),
    ],
)
def test_missing_reference_is_reported_only_when_known(step: str, problem: str) -> None:
    inputs = "who: {type: choice, options: [staff, everyone], required: true}"
    problems = told(f"s: {{title: S, {step}}}", HERE, inputs)
    assert len(problems) == 1
    assert problem in problems[0]
    assert told(f"s: {{title: S, {step}}}", ANYTHING, inputs) == []


def test_missing_audience_says_what_to_add() -> None:
    step = "do: notices.send, with: {template: t, audience: staff}, approval: {}"
    (problem,) = told(f"s: {{title: S, {step}}}", Known(audiences=frozenset()))
    assert "there is no audience `staff` | add [audiences.staff] to the configuration" in problem


CONDITIONS = """
ask: {title: Ask, decide: "Well?", options: ["yes", "no"]}
maybe: {title: Maybe, needs: [ask], when: answers.ask == "no", manual: x}
later: {title: Later, manual: x}
s: {title: S, needs: [maybe], manual: x, when: WHEN}
"""
CONDITION_INPUTS = """
accounts: {type: accounts, required: true}
reason: {type: text, default: seen}
kind: {type: choice, options: [agent, admin], required: true}
loud: {type: flag}
count: {type: number}
"""


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("answers.ask == 'yes' and", "is not an expression"),
        ("open('x')", "Call is not allowed in an expression: functions cannot be called here"),
        ("inputs.lout", "`inputs.lout` is not an input | did you mean `loud`?"),
        ("answers.asc == 'yes'", "does not name a step that asks a person | did you mean `ask`?"),
        ("answers.ask.x == 'yes'", "an answer is a text and has no parts"),
        ("steps.ask.don > 1", "`steps.ask.don` is not a fact of a step | did you mean `done`?"),
        ("steps.asc.done > 1", "`steps.asc.done` does not name a step | did you mean `ask`?"),
        ("answer.ask == 'yes'", "`answer.ask` is not known | begin with inputs, answers, steps"),
        (
            "answers.later == 'x'",
            "step `s` uses `answers.later`, but does not wait for `later` | add `later` to its",
        ),
        ("steps.s.done > 1", "does not wait for `s`"),
        ("answers.ask", "`answers.ask` is neither true nor false | compare it"),
        ("not answers.ask", "`answers.ask` is neither true nor false"),
        ("inputs.loud and inputs.kind", "`inputs.kind` is neither true nor false"),
        ("answers.ask == 'Yes'", "`answers.ask` is never 'Yes' | did you mean `yes`?"),
        ("inputs.kind != 'boss'", "`inputs.kind` is never 'boss' | choose one of: admin, agent"),
        ("steps.ask.state == 'ended'", "`steps.ask.state` is never 'ended'"),
        ("inputs.count == '5'", "`inputs.count` is never '5'"),
        ("inputs.loud == 'yes'", "`inputs.loud` is never 'yes'"),
        ("inputs.accounts == 'ana'", "`inputs.accounts` is never 'ana'"),
        ("inputs.count > 5", "a value in it may be missing or skipped"),
        ("inputs.loud or inputs.reason > 5", "greater and less compare two whole numbers"),
        ("'x' in answers.maybe", "a value in it may be missing or skipped"),
        ("'text'", "`when` of step `s` is neither true nor false"),
    ],
)
def test_a_condition_that_would_mislead_is_told(when: str, problem: str) -> None:
    problems = told(CONDITIONS.replace("WHEN", f'"{when}"'), inputs=CONDITION_INPUTS)
    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    "when",
    [
        "inputs.loud",
        "not inputs.loud and answers.ask == 'yes'",
        "steps.maybe.state == 'skipped'",
        "inputs.count == None or inputs.kind == 'admin'",
        "'ana' in inputs.accounts",
        "answers.maybe == 'anything that a person wrote'",
        "True",
    ],
)
def test_a_condition_that_can_be_met_is_accepted(when: str) -> None:
    assert told(CONDITIONS.replace("WHEN", f'"{when}"'), inputs=CONDITION_INPUTS) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ('accounts: "{{ inputs.acounts }}"', "`inputs.acounts` is not an input"),
        ('accounts: "{{ inputs.reason }}"', "is not of type accounts, which argument `accounts`"),
        ('accounts: "{{ inputs.maybe }}"', "may be left out | make `maybe` required"),
        ('accounts: "{{ inputs.accounts"', "must be the whole value"),
        ('accounts: ["{{ inputs.accounts }}"]', "is not of type accounts"),
        ('accounts: [a], reason: "for {{ inputs.reason }}"', "must be the whole value"),
        ("accounts: [a], reason: \"{{ inputs.reason == 'x' }}\"", "is not of type text"),
        ('accounts: [a], reason: "{{ not inputs.reason }}"', "neither true nor false"),
    ],
)
def test_an_argument_that_cannot_be_filled_is_told(arguments: str, problem: str) -> None:
    inputs = INPUTS + "maybe: {type: accounts}\n"
    problems = told(f"s: {{title: S, do: accounts.lock, with: {{{arguments}}}}}", inputs=inputs)
    assert len(problems) == 1
    assert problem in problems[0]


def test_problems_have_key_lines_in_order() -> None:
    playbook = playbook_of(
        """
        s:
          title: S
          needs: [gone]
          when: nothing
          do: accounts.lock
          with:
            accounts: all
        """
    )
    lines = playbook.source.splitlines()
    found = [lines[problem.line - 1].strip() for problem in check(playbook, ANYTHING)]
    assert found == ["needs: [gone]", "when: nothing", "accounts: all"]
    assert {problem.file for problem in check(playbook, ANYTHING)} == {"small.yaml"}


def test_steps_are_ordered_by_needs_then_file() -> None:
    playbook = playbook_of(
        """
        end: {title: E, needs: [last], manual: x}
        last: {title: L, needs: [first, other], manual: x}
        other: {title: O, manual: x}
        first: {title: F, manual: x}
        """
    )
    assert [step.name for step in in_order(playbook)] == ["other", "first", "last", "end"]
    assert all_needs(playbook)["last"] == {"first", "other"}
    assert cycles(playbook) == []


def test_ordering_a_cycle_still_gives_every_step_once() -> None:
    playbook = playbook_of(
        "a: {title: A, needs: [b], manual: x}\nb: {title: B, needs: [a, gone], manual: x}"
    )
    assert sorted(step.name for step in in_order(playbook)) == ["a", "b"]
    assert all_needs(playbook)["b"] >= {"a", "gone"}


def test_a_better_playbook_must_exist_and_be_another() -> None:
    text = text_of("a: {title: A, manual: x}") + "instead:\n  small: x\n  ransomwear: x\n"
    known = Known(playbooks=frozenset({"small", "ransomware"}))
    problems = check(load(text, "small.yaml"), known)
    assert [(one.line, one.message, one.hint) for one in problems] == [
        (11, "`small` is this playbook itself", "name another playbook, or none"),
        (12, "there is no playbook `ransomwear` to use instead", "did you mean `ransomware`?"),
    ]


def test_asked_role_must_be_listed() -> None:
    steps = "a: {title: A, manual: x, by: [dutymanager]}"
    assert told(steps) == []
    text = text_of(steps) + "roles: {duty-manager: approves}\n"
    (problem,) = check(load(text, "small.yaml"), ANYTHING)
    assert "`dutymanager`" in problem.message
    assert problem.hint == "did you mean `duty-manager`?"


def test_optional_input_is_locked_only_when_present() -> None:
    inputs = "accounts: {type: accounts}\nhow: {type: flag}"
    lock = 'lock: {title: L, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}'
    for sound in ("inputs.accounts != None", "inputs.how and inputs.accounts != None"):
        assert told(f"{lock}, when: {sound}}}", inputs=inputs) == []
    for unsound in (
        "inputs.how",
        "inputs.how or inputs.accounts != None",
        "inputs.accounts == None",
    ):
        (problem,) = told(f"{lock}, when: {unsound}}}", inputs=inputs)
        assert "`when: inputs.accounts != None`" in problem


def test_quiet_playbook_notifies_only_named_roles() -> None:
    tell = (
        "tell: {title: T, do: notices.send, with: {template: t, audience: a}, approval: {count: 1}}"
    )
    problems = check(load(text_of(tell) + "quiet: true\n", "small.yaml"), ANYTHING)
    assert [one.message for one in problems] == [
        "step `tell` sends a notice, and the playbook is `quiet`",
        "`approval` of step `tell` names no role, so everybody would be asked",
    ]


@pytest.mark.parametrize(
    ("audience", "approval", "is_sound"),
    [
        ("customers", "{none_because: It is safe.}", False),
        ("customers", "{count: 1, roles: [legal]}", True),
        ("staff", "{none_because: It is safe.}", True),
    ],
)
def test_notice_to_outsiders_needs_an_approval(
    audience: str, approval: str, is_sound: bool
) -> None:
    notice = f"do: notices.send, with: {{template: t, audience: {audience}}}"
    steps = LOCK + f"tell: {{title: T, needs: [lock], {notice}, approval: {approval}}}"
    _, problems = check_text(text_of(steps), "small.yaml", ANYTHING)
    assert (problems == []) is is_sound
    assert all("nobody approves" in problem.message for problem in problems)


def test_structure_and_rules_are_reported_together() -> None:
    steps = """
    lock: {title: L, do: accounts.lok}
    look: {title: K, manual: x, need: [lock]}
    rest: {title: R, wait: 30, needs: [gone]}
    """
    playbook, problems = check_text(text_of(steps), "small.yaml", ANYTHING)
    assert playbook is not None
    assert [(one.line, one.message) for one in problems] == [
        (9, "step `lock` names no action that exists: `accounts.lok`"),
        (10, "step `look` has no key `need`"),
        (11, "`wait` of step `rest` must be a length of time up to 30d"),
        (11, "step `rest` needs `gone`, which is not a step"),
    ]
    assert all(one.hint for one in problems)
