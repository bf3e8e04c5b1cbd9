"""The JSON schema of playbooks: made from the code, and strict."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from standfast.playbook.json_schema import as_text, schema
from standfast.playbook.validation.playbook_rules import Known, check_text
from tests.playbook.build import text_of

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "playbooks").glob("*.yaml"))
VALIDATOR = Draft202012Validator(schema())

LOCK = 'lock: {title: L, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}'
TELL = "tell: {title: T, do: notices.send, with: {template: t, audience: a}"
LOOK = "look: {title: L, manual: x"
ASK = 'ask: {title: A, decide: "Well?", options: [a, b]'

MISTAKES = {
    "an unknown key": LOOK + ", need: [a]}",
    "no title": "look: {manual: x}",
    "an empty title": 'look: {title: "", manual: x}',
    "a title of two lines": 'look: {title: "a\\nb", manual: x}',
    "a title that is no text": "look: {title: 3, manual: x}",
    "no kind": "look: {title: L}",
    "two kinds": LOOK + ", wait: 30m}",
    "a key of another kind": LOOK + ", options: [a, b]}",
    "facts of a step that asks nothing": LOOK + ", facts: [a]}",
    "one option": "ask: {title: A, decide: Well, options: [a]}",
    "no options": "ask: {title: A, decide: Well}",
    "the same option twice": "ask: {title: A, decide: Well, options: [a, a]}",
    "a need that is no text": LOOK + ", needs: [3]}",
    "the same need twice": LOOK + ", needs: [a, a]}",
    "an unknown action": "lock: {title: L, do: accounts.lok}",
    "an undo as a step": 'lock: {title: L, do: accounts.unlock, with: {accounts: ["a"]}}',
    "an action of the program's own": "page: {title: P, do: people.page}",
    "an unknown argument": "lock: {title: L, do: accounts.lock, with: {accounts: [a], reson: x}}",
    "no argument": "lock: {title: L, do: accounts.lock}",
    "an argument that is no list": "lock: {title: L, do: accounts.lock, with: {accounts: a}}",
    "an empty list": "lock: {title: L, do: accounts.lock, with: {accounts: []}}",
    "a foreign undo": LOCK + ", undo: run.undo}",
    "an undo of what has none": TELL + ", approval: {count: 1}, undo: accounts.unlock}",
    "nobody who approves the irreversible": TELL + "}",
    "an approval by nobody": TELL + ", approval: {count: 0}}",
    "an approval and the reason why there is none": TELL
    + ", approval: {count: 1, none_because: x}}",
    "an approval of what a person does": LOOK + ", approval: {count: 1}}",
    "an unknown word for what is partial": LOCK + ", on_partial: stop}",
    "a wait without a unit": "rest: {title: R, wait: 30}",
    "a wait in weeks": "rest: {title: R, wait: 2w}",
    "a name with a hyphen": LOOK.replace("look", "look-here", 1) + "}",
    "no steps": "{}",
}
INPUT_MISTAKES = {
    "no type": "accounts: {required: true}",
    "an unknown type": "accounts: {type: account}",
    "a choice of nothing": "accounts: {type: choice}",
    "options of a text": "accounts: {type: text, options: [a, b]}",
    "a default that is never used": "accounts: {type: text, required: true, default: a}",
    "an unknown key": "accounts: {type: text, defualt: a}",
}
TOP_MISTAKES = {
    "an unknown key": "stpes: {}",
    "a role without a word": "roles: {boss: }",
    "a playbook to take instead without a word": 'instead: {other: ""}',
    "a name under instead that is none": "instead: {Other One: x}",
    "quiet that is no flag": 'quiet: "yes"',
}


def errors_of(text: str) -> list[Any]:
    return list(VALIDATOR.iter_errors(YAML(typ="safe", pure=True).load(text)))


def refused(text: str) -> None:
    _, problems = check_text(text, "small.yaml", Known())
    assert problems, "the program refuses it"
    assert errors_of(text), "and so does the schema"


def test_schema_is_valid_and_current() -> None:
    Draft202012Validator.check_schema(schema())
    assert json.loads(as_text()) == schema()
    written = (ROOT / "playbooks" / "schema.json").read_text(encoding="utf-8")
    assert written == as_text(), "write it anew: make docs"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_playbooks_fit_and_name_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert errors_of(text) == []
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("steps", [LOCK + "}", TELL + ", approval: {count: 1}}", ASK + "}"])
def test_a_sound_playbook_fits_the_schema(steps: str) -> None:
    text = text_of(steps)
    assert check_text(text, "small.yaml", Known())[1] == []
    assert errors_of(text) == []


@pytest.mark.parametrize("steps", MISTAKES.values(), ids=MISTAKES.keys())
def test_the_schema_refuses_a_mistake_in_a_step(steps: str) -> None:
    refused(text_of(steps))


@pytest.mark.parametrize("inputs", INPUT_MISTAKES.values(), ids=INPUT_MISTAKES.keys())
def test_the_schema_refuses_a_mistake_in_an_input(inputs: str) -> None:
    refused(text_of(LOOK + "}", inputs))


@pytest.mark.parametrize("more", TOP_MISTAKES.values(), ids=TOP_MISTAKES.keys())
def test_the_schema_refuses_a_mistake_at_the_top(more: str) -> None:
    refused(text_of(LOOK + "}") + more + "\n")


@pytest.mark.parametrize("key", ["playbook", "version", "title", "use_when", "steps"])
def test_the_schema_misses_what_must_be_there(key: str) -> None:
    kept = [line for line in text_of(LOOK + "}").splitlines() if not line.startswith(f"{key}:")]
    refused("\n".join(line for line in kept if key != "steps" or not line.startswith("  look")))
