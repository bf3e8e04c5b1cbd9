"""Playbooks and expressions that try to break out or exhaust the machine.

No test here measures time: an input that is not refused at once would not return at all.
"""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.errors import PlaybookInvalid
from standfast.playbook.expressions import LONGEST_TEXT, MOST_NODES, embedded, parse
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.rendering.plain_text import as_text
from standfast.playbook.rendering.text_graph import as_graph
from standfast.playbook.tabletop_exercise import as_playbook, frozen_exercise, load_exercise
from standfast.playbook.validation.playbook_rules import Known, check, check_text
from standfast.records import Json, JsonObject
from standfast.usecases.playbooks.library import SHIPPED
from tests.playbook.build import text_of

NAMES: JsonObject = {
    "inputs": {"accounts": ["ana", "bo"], "reason": "a" * 2_000, "level": 3, "is_sure": True},
    "answers": {"ask": "yes", "look": None},
    "steps": {"lock": {"state": "done", "done": 2, "failed": 0, "unknown": 0, "refused": 0}},
}
BREAKOUTS = [
    "inputs.__class__",
    "inputs.__class__.__mro__",
    'inputs["__class__"]["__subclasses__"]',
    "inputs.accounts.__len__",
    "inputs.reason.format",
    "inputs.accounts.append",
    "inputs.items",
    "inputs.accounts[0]",
    "inputs.accounts[0:1]",
    "().__class__",
    '"".join',
    "__import__",
    '__import__("os").system("id")',
    "open",
    "lambda: inputs",
    "(lambda: 0)()",
    "[x for x in inputs]",
    "[x for x in inputs.accounts for y in inputs.accounts for z in inputs.accounts]",
    "{**inputs}",
    "(x := inputs)",
    "await inputs",
    "yield",
    "*inputs",
    'f"{inputs}"',
    'f"{inputs.__class__}"',
    'f"{1:>999999999}"',
    '"%999999999d" % 1',
    '"{0.__class__}".format(1)',
    "9 ** 9 ** 9 ** 9",
    "10 ** 999999999",
    "1 << 999999999",
    '"a" * 999999999',
    "[0] * 999999999",
    "-9999999999999999999",
    "9" * 400,
    "0x" + "f" * 400,
    "1e999",
    "1j",
    "b'a'",
    "...",
    "inputs if inputs else inputs",
    "inputs.a.b.c.d.e.f",
    "(" * 240 + "1" + ")" * 240,
    "not " * 120 + "True",
    "-" * 400 + "1",
    "[" * 200 + "]" * 200,
    "a." * 240 + "b",
    "True and " * 60 + "inputs",
    "1 == " * 99 + "1",
    "a" * 501,
    "\0",
    "\ud800",
    "inputs.reason\n.__class__",
    "inputs\\u002e__class__",
    "𝒾nputs.__class__",
    "# nothing",
    "",
    "   ",
    "inputs.reason matches '(a+)+$'",
]
TOKENS = st.sampled_from(
    [
        *("inputs", "answers", "steps", ".accounts", ".reason", ".level", ".is_sure", ".ask"),
        *(".lock", ".done", ".__class__", ".__globals__", '["reason"]', '["__class__"]', "[0]"),
        *("==", "!=", "<", ">=", "in", "not in", "not", "and", "or", "is", "if", "else", "for"),
        *("**", "*", "%", "+", "-", "<<", "(", ")", "[", "]", "{", "}", ",", ":", ":=", "lambda"),
        *("True", "False", "None", "0", "9", "99999999999999999999", '"a"', "'yes'", 'f"{inputs}"'),
        *("__import__", "open", "x", "await", "\n", " ", "#", "\\", "0x", "1e9", "2j", '"'),
    ]
)


@pytest.mark.parametrize("text", BREAKOUTS, ids=range(len(BREAKOUTS)))
def test_no_breakout_comes_to_anything(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text).evaluate(NAMES)


@settings(max_examples=300)
@given(st.lists(TOKENS, max_size=40).map(" ".join) | st.lists(TOKENS, max_size=40).map("".join))
def test_random_tokens_give_value_or_value_error(text: str) -> None:
    for read in (parse, lambda text: embedded("{{" + text + "}}")):
        try:
            found = read(text)
            value = found.evaluate(NAMES) if found else None
        except ValueError:
            continue
        assert _is_plain(value)
        assert len(text) <= LONGEST_TEXT


def _is_plain(value: Json) -> bool:
    """Return whether a value is plain, not an internal object of Python."""
    match value:
        case bool() | int() | str() | None:
            return True
        case dict():
            return all(map(_is_plain, value.values()))
        case list():
            return all(map(_is_plain, value))
    return False


def test_the_largest_expression_that_is_allowed_is_evaluated() -> None:
    text = " and ".join(["inputs.level == 3"] * 14)
    assert parse(text).evaluate(NAMES) is True
    with pytest.raises(ValueError, match=f"{MOST_NODES} parts"):
        parse(" or ".join(["a"] * 60))


HEAD = "playbook: a\nversion: 1\ntitle: T\nuse_when: N\nsteps:\n"
MANY = range(1_000)
BOMBS = {
    "needs": f"  a: {{title: A, manual: x, needs: [{', '.join(f's{n}' for n in MANY)}]}}\n",
    "roles": f"  a: {{title: A, manual: x, roles: [{', '.join(f's{n}' for n in MANY)}]}}\n",
    "keys": "  a:\n    title: A\n    manual: x\n" + "".join(f"    manuel{n}: x\n" for n in MANY),
    "arguments": "  a:\n    title: A\n    do: accounts.lock\n    with:\n"
    + "".join(f"      account{n}: x\n" for n in MANY),
    "expressions": "  a:\n    title: A\n    do: notices.send\n    with:\n      context:\n"
    + "".join(f"        k{n}: '{{{{ inputs.i{n} == 1 }}}}'\n" for n in MANY),
    "steps": "".join(f"  s{n}: {{titel: A}}\n" for n in MANY),
    "needs of all by all": "".join(
        f"  s{n}: {{title: A, manual: x, needs: [{', '.join(f's{m}' for m in range(100))}]}}\n"
        for n in range(100)
    ),
    "levels": "  a: " + "[" * 4_000 + "]" * 4_000 + "\n",
    "aliases": "  a: &a [x, x]\n" + "".join(f"  b{n}: &b{n} [*a, *a]\n" for n in range(99)),
    "a long word": f"  a: {{title: {'A' * 200_000}, manual: x}}\n",
    "a long key": f"  {'a' * 200_000}: {{title: A, manual: x}}\n",
    "a tag": "  a: !!python/object/apply:os.system [id]\n",
    "spaces": "  a: {title: A, wait: '" + " " * 200_000 + "'}\n",
}


@pytest.mark.parametrize("steps", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_with_its_problems(steps: str) -> None:
    _, problems = check_text(HEAD + steps, "a.yaml", Known())
    assert problems


@settings(max_examples=120)
@given(path=st.sampled_from(sorted(SHIPPED.glob("*.yaml"))), seed=st.integers(0, 2**32))
def test_damaged_playbook_is_sound_or_reported_by_line(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = path.read_text(encoding="utf-8").splitlines()
    for _ in range(chance.randint(1, 6)):
        _damage(lines, chance)
    text = "\n".join(lines) + "\n"
    playbook, problems = check_text(text, path.name, Known())
    for problem in problems:
        assert 0 <= problem.line <= len(lines) + 1
        assert problem.message
    if problems or playbook is None:
        return
    assert as_graph(playbook)
    assert as_text(playbook)
    assert load(text, path.name) == playbook


def _damage(lines: list[str], chance: random.Random) -> None:
    place = chance.randrange(len(lines))
    line = lines[place]
    match chance.randrange(6):
        case 0:
            del lines[place]
        case 1:
            lines.insert(chance.randrange(len(lines)), line)
        case 2:
            lines[place] = line.replace(":", "", 1)
        case 3:
            lines[place] = chance.choice(["  ", ""]) + line[chance.randrange(3) :]
        case 4:
            lines[place] = line + chance.choice([" [", " {", "'", '"', "}}", "{{ x", "\x00", "é"])
        case _:
            at = chance.randrange(len(line) + 1)
            lines[place] = line[:at] + chance.choice("abz_:-[]{}'\"#&*!|>%@`,? \t") + line[at + 1 :]


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_commented_text_never_becomes_a_step(end: str) -> None:
    text = text_of("a: {title: A, manual: x}") + f"# harmless{end}  b: {{title: B, manual: y}}\n"
    playbook, (problem,) = check_text(text, "a.yaml", Known())
    assert playbook is None
    assert problem.line == text.count("\n")
    assert "is not allowed anywhere" in problem.message


def test_a_text_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(PlaybookInvalid, match="UTF-8"):
        load(text_of("a: {title: A, manual: x}") + "# \ud800\n", "a.yaml")


@settings(max_examples=60)
@given(
    path=st.sampled_from(sorted((SHIPPED / "exercises").glob("*.yaml"))),
    seed=st.integers(0, 2**32),
)
def test_damaged_exercise_is_sound_or_reported_by_line(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = path.read_text(encoding="utf-8").splitlines()
    for _ in range(chance.randint(1, 4)):
        _damage(lines, chance)
    try:
        exercise = load_exercise("\n".join(lines) + "\n", path.name)
    except PlaybookInvalid:
        return
    assert frozen_exercise(as_playbook(exercise)) == exercise
    assert check(load(as_playbook(exercise), "frozen"), Known()) == []
