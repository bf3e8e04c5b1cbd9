import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from standfast.errors import PlaybookInvalid
from standfast.playbook.model import Approval, InputType, OnPartial, StepKind
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.parser.yaml_tree import LARGEST_FILE_BYTES
from tests.playbook.build import playbook_of, problems_of, text_of

LOCK = """
lock:
  title: Lock
  do: accounts.lock
  with: {accounts: "{{ inputs.accounts }}"}
"""


def test_a_playbook_says_what_its_file_says() -> None:
    text = text_of(
        """
        lock:
          title: Lock them
          do: accounts.lock
          with: {accounts: "{{ inputs.accounts }}", reason: theft}
          approval: {count: 2, roles: [legal, duty-manager], escalate_after_minutes: 5, reason: big}
        ask:
          title: Ask
          needs: [lock]
          decide: How bad?
          options: [little, much]
          roles: [legal]
        look:
          title: Look
          needs: [ask, lock]
          when: answers.ask == "much"
          manual: |
            Look closely.
        rest:
          title: Rest
          wait: 30m
        """
    )
    playbook = load(text, "small.yaml")

    assert (playbook.name, playbook.version, playbook.title) == ("small", 1, "Small")
    assert playbook.source == text
    assert playbook.digest == hashlib.sha256(text.encode()).hexdigest()
    assert [step.name for step in playbook.steps] == ["lock", "ask", "look", "rest"]
    lock, ask, look, rest = playbook.steps
    assert lock.kind is StepKind.DO
    assert lock.action == "accounts.lock"
    assert lock.arguments == {"accounts": "{{ inputs.accounts }}", "reason": "theft"}
    assert lock.approval == Approval(
        count=2, roles=("legal", "duty-manager"), escalate_after_minutes=5, reason="big"
    )
    assert (ask.kind, ask.question, ask.options) == (
        StepKind.DECIDE,
        "How bad?",
        ("little", "much"),
    )
    assert ask.roles == ("legal",)
    assert look.needs == ("ask", "lock")
    assert (look.kind, look.when, look.instructions) == (
        StepKind.MANUAL,
        'answers.ask == "much"',
        "Look closely.",
    )
    assert (rest.kind, rest.wait_seconds) == (StepKind.WAIT, 1800)
    assert playbook.input("accounts").type is InputType.ACCOUNTS
    assert playbook.input("reason").default == "seen by hand"


def test_step_knows_the_line_of_each_key() -> None:
    step = playbook_of(LOCK).step("lock")
    lines = text_of(LOCK).splitlines()
    assert lines[step.line - 1].strip() == "lock:"
    assert lines[step.line_of("do") - 1].strip() == "do: accounts.lock"
    assert lines[step.line_of("with.accounts") - 1].strip().startswith("with:")
    assert step.line_of("when") == step.line


def test_what_the_catalogue_knows_is_filled_in() -> None:
    steps = """
    lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}}
    tell: {title: Tell, do: notices.send, with: {template: t, audience: a}}
    kept: {title: Lock, do: accounts.lock, with: {accounts: [a]}, on_partial: hold}
    """
    lock, tell, kept = playbook_of(steps).steps
    assert (lock.undo, lock.on_partial) == ("accounts.unlock", OnPartial.GO_ON)
    assert (tell.undo, tell.on_partial) == (None, OnPartial.HOLD)
    assert kept.on_partial is OnPartial.HOLD


def test_yes_and_no_are_texts() -> None:
    step = playbook_of("ask: {title: Ask, decide: Well?, options: [yes, no]}").step("ask")
    assert step.options == ("yes", "no")


def test_a_flag_that_is_left_out_is_false() -> None:
    playbook = playbook_of(LOCK, "accounts: {type: accounts, required: true}\nloud: {type: flag}")
    assert playbook.input("loud").default is False


def test_the_reason_for_no_approval_is_no_approval() -> None:
    steps = """
    tell:
      title: Tell
      do: notices.send
      with: {template: t, audience: a}
      approval: {none_because: only ours}
    """
    step = playbook_of(steps).step("tell")
    assert step.approval is None
    assert step.no_approval_because == "only ours"


def test_all_mistakes_are_reported_in_line_order() -> None:
    text = """playbook: Not A Name
titel: Wrong
version: none
use_when: Never.
inputs:
  one: {type: txt}
  in: {type: text}
steps:
  lock:
    titel: Lock
    do: accounts.lock
    with: [accounts]
  lock:
    title: Again
    wait: soon
  both:
    title: Both
    do: accounts.lock
    manual: By hand
"""
    problems = problems_of(text)
    messages = "\n".join(message for _, message in problems)
    assert [line for line, _ in problems] == sorted(line for line, _ in problems)
    for told in (
        "`Not A Name` is not a valid name for a playbook",
        "the playbook has no `title`",
        "the playbook has no key `titel`",
        "`version` of the playbook must be a whole number",
        "`type` of input `one` must be one of",
        "`in` is not a valid name for an input",
        "step `lock` has no key `titel`",
        "`with` of step `lock` must be a mapping",
        "`lock` is repeated; first used in line 9",
        "step `both` has no `do`, `manual`, `decide` or `wait`",
    ):
        assert told in messages


def test_misspelt_key_suggests_the_right_one() -> None:
    with pytest.raises(PlaybookInvalid) as caught:
        playbook_of("lock: {title: Lock, do: accounts.lock, with: {accounts: [a]}, neds: [x]}")
    (problem,) = caught.value.problems
    assert (problem.line, problem.hint) == (9, "did you mean `needs`?")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{title: T, manual: x, approval: {count: 1}}", "`approval` does not belong to step `s`"),
        ("{title: T, wait: 1h, roles: [legal]}", "`roles` does not belong to step `s`"),
        ("{title: T, decide: Q?, options: [a]}", "`options` must be at least two texts"),
        ("{title: T, decide: Q?, options: [a, A]}", "`options` must be at least two texts"),
        ("{title: T, decide: Q?}", "`options` must be at least two texts"),
        ("{title: T, wait: 31d}", "`wait` of step `s` must be a length of time"),
        ("{title: T, wait: 0s}", "`wait` of step `s` must be a length of time"),
        ("{title: T, manual: ''}", "`manual` of step `s` is empty"),
        ("{title: T, manual: x, when: ''}", "`when` of step `s` is empty"),
        ("{title: T}", "step `s` has no `do`, `manual`, `decide` or `wait`"),
        ("{title: T, manual: x, needs: [a, a]}", "`needs` names `a` twice"),
        (
            "{title: T, manual: x, needs: [a], after: [a]}",
            "step `s` names `a` under `needs` and under `after`",
        ),
        ("{title: T, manual: x, needs: {a: 1}}", "`needs` of step `s` must be a list of texts"),
        ("{title: T, do: accounts.lock, approval: none}", "must be a mapping"),
        ("{title: T, do: accounts.lock, approval: {count: 0}}", "`count` of `approval`"),
        ("{title: T, do: accounts.lock, approval: {none_because: x, count: 2}}", "not belong"),
        ("{title: T, do: accounts.lock, with: {context: {'clé': x}}}", "is not a valid name"),
        ("{title: 7, manual: x}", "`title` of step `s` must be a text"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(step: str, told: str) -> None:
    problems = problems_of(text_of(f"s: {step}"))
    assert [message for _, message in problems if told in message]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{type: number, default: many}", "the default of input `i` does not fit"),
        ("{type: text, required: true, default: x}", "its default is never used"),
        ("{type: choice, options: [only]}", "`options` must be at least two texts"),
        ("{type: choice, options: [a, b], default: c}", "takes one of a, b"),
        ("{type: text, options: [a, b]}", "`options` does not belong to input `i`"),
        ("{}", "input `i` has no `type`"),
        ("{type: flag, required: perhaps}", "must be true or false"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(given: str, told: str) -> None:
    problems = problems_of(text_of(LOCK, f"i: {given}"))
    assert [message for _, message in problems if told in message]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1\nb: *x\n", "anchors (&name) are not allowed"),
        ("a: &x 1\nb: *x\n", "aliases (*name) are not allowed"),
        ("a: !!python/object:os.system x\n", "tags (!name) are not allowed"),
        ("a: 1.5\n", "fractions are not allowed"),
        ("a: 1_000\n", "this number is not a plain decimal"),
        ("a: 99999999999999999999\n", "this number is not a plain decimal"),
        ("<<: {a: 1}\n", "`<<` is not allowed"),
        ("1: a\n", "a key must be a text"),
        ("{a: 1}: b\n", "a key must be a text"),
        ("a: 1\n---\nb: 2\n", "a second document begins here"),
        ("%YAML 1.1\n---\na: 1\n", "directives (%) are not allowed"),
        ('a: "x\\e[2Jy"\n', "the character U+001B is not allowed"),
        ('a: "x\\u202Ey"\n', "the character U+202E is not allowed"),
        ('a: "x\\ud800y"\n', "the character U+D800 is not allowed"),
        ("a: [\n", "this is not YAML"),
        ("a: \x00\n", "the file has characters that YAML does not allow"),
        ("", "the file is empty"),
        ("- a\n", "a playbook is a mapping"),
        ("\ud800", "the file is not UTF-8 text"),
        ("k" * 101 + ": 1\n", "a key has at most 100 characters"),
        ("[" * 10_000, "more than 12 levels deep"),
        ("a: [" + "1," * 20_001 + "]\n", "the file has more than 20,000 values"),
        ("#" * (LARGEST_FILE_BYTES + 1), "the file is larger than 256 KiB"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(text: str, told: str) -> None:
    assert [message for _, message in problems_of(text) if told in message]


def test_aliases_cannot_expand_to_gigabytes() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)
    )
    assert problems_of(bomb)


@given(st.text(max_size=300))
@example("? a\n")
@example("a: b: c")
@example("%TAG ! tag:x,2000:\n---\na: !b c\n")
@example('a: "\\UFFFFFFFF"')
@example("a: |99\n  x")
@example("--- !<\n")
@example("\ufeffa: 1")
def test_no_text_makes_loading_fail_in_another_way(text: str) -> None:
    problems_of(text)


_SCALARS = st.one_of(
    st.sampled_from(["", "~", "1", "1.5", "true", "accounts.lock", "{{ inputs.a }}", "x", "[x]"]),
    st.from_regex(r"[a-z&*!|>%@`'\"{}\[\],:#?-]{0,12}", fullmatch=True),
)
_KNOWN = """playbook version title use_when inputs steps type do with needs when approval count
roles manual decide options wait undo on_partial default required a b"""
_KEYS = st.sampled_from(_KNOWN.split())
_TREES = st.recursive(
    _SCALARS,
    lambda below: st.dictionaries(_KEYS, below, max_size=6) | st.lists(below, max_size=3),
    max_leaves=30,
)


@given(_TREES)
def test_known_keys_give_only_declared_errors(tree: object) -> None:
    problems_of(_written(tree))


def _written(tree: object) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_written(below)}" for key, below in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(_written(below) for below in tree) + "]"
    return str(tree)


def test_roles_better_playbooks_and_facts_are_read() -> None:
    steps = (
        'ask: {title: A, decide: "Well?", options: [a, b], facts: ["Who?", "When?"], by: [boss]}'
    )
    text = text_of(steps) + "instead:\n  ransomware: files do not open.\nroles:\n  boss: decides\n"
    playbook = load(text, "small.yaml")
    assert playbook.instead == {"ransomware": "files do not open."}
    assert playbook.roles == {"boss": "decides"}
    assert playbook.step("ask").facts == ("Who?", "When?")
    assert playbook.step("ask").by == ("boss",)


def test_role_and_playbook_descriptions_must_be_text() -> None:
    text = text_of("a: {title: A, manual: x}") + "instead:\n  Lock It: x\n  other: 3\nroles: boss\n"
    assert problems_of(text) == [
        (11, "`Lock It` is not a valid name under `instead`"),
        (12, "`other` under `instead` must be a text of at most 500 characters"),
        (13, "`roles` of the playbook must be a mapping of names to values"),
    ]
