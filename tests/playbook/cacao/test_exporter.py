import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.errors import PlaybookInvalid
from standfast.playbook.cacao.document import read_document
from standfast.playbook.cacao.exporter import export_cacao
from standfast.playbook.cacao.importer import import_cacao
from standfast.playbook.cacao.step_extension import EXTENSION
from standfast.playbook.model import Playbook, StepKind
from standfast.playbook.parser.playbook_file import load
from tests.playbook.build import playbook_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHIPPED = sorted((Path(__file__).parents[3] / "playbooks").glob("*.yaml"))


def without_lines(playbook: Playbook) -> Playbook:
    return replace(
        playbook,
        source="",
        digest="",
        file="",
        inputs=tuple(replace(one, line=0) for one in playbook.inputs),
        steps=tuple(replace(one, line=0) for one in playbook.steps),
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_exported_playbook_imports_as_the_same(path: Path) -> None:
    playbook = load(path.read_text(), path.name)
    document = export_cacao(playbook, NOW)
    done = import_cacao(document, "x.json")
    assert done.warnings == ()
    assert without_lines(load(done.text, "x.yaml")) == without_lines(playbook)
    assert export_cacao(load(done.text, "x.yaml"), NOW) == document


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_export_without_extensions_works_by_hand(path: Path) -> None:
    playbook = load(path.read_text(), path.name)
    document = json.loads(export_cacao(playbook, NOW))
    del document["playbook_extensions"], document["extension_definitions"]
    for step in document["workflow"].values():
        step.pop("step_extensions", None)
    foreign = load(import_cacao(json.dumps(document), "x.json").text, "x.yaml")
    titles = {step.title for step in playbook.steps}
    assert titles <= {step.title for step in foreign.steps}


def test_condition_becomes_an_if_with_declared_variables() -> None:
    playbook = playbook_of(
        'ask: {title: Ask, decide: "Well?", options: ["yes", "no"]}\n'
        'go: {title: Go, needs: [ask], when: \'answers.ask == "yes" and inputs.reason != "and"\','
        " manual: Go.}\n"
    )
    document = read_document(export_cacao(playbook, NOW), "x.json")
    (choice,) = [one for one in document["workflow"].values() if one["type"] == "if-condition"]
    assert choice["condition"] == (
        '__answers_ask__:value = "yes" AND __inputs_reason__:value != "and"'
    )
    assert {"__answers_ask__", "__inputs_reason__"} <= set(document["playbook_variables"])


def test_an_extension_that_was_cut_is_refused() -> None:
    document = json.loads(export_cacao(playbook_of("a: {title: A, manual: Do.}"), NOW))
    for step in document["workflow"].values():
        step.pop("step_extensions", None)
    with pytest.raises(PlaybookInvalid, match="is missing"):
        import_cacao(json.dumps(document), "x.json")
    document["playbook_extensions"][EXTENSION] = {"head": 3}
    with pytest.raises(PlaybookInvalid, match="lacks"):
        import_cacao(json.dumps(document), "x.json")


_WITHOUT_ORDER = [
    ("a: {title: A, manual: Do., needs: [gone]}", "needs `gone`, which is not a step"),
    (
        "a: {title: A, manual: Do., needs: [b]}\nb: {title: B, manual: Do., needs: [a]}",
        "these steps wait for each other",
    ),
]


@pytest.mark.parametrize(("steps", "why"), _WITHOUT_ORDER, ids=["dangling", "cycle"])
def test_cyclic_steps_are_refused_by_name_and_line(steps: str, why: str) -> None:
    with pytest.raises(PlaybookInvalid, match=why) as caught:
        export_cacao(playbook_of(steps), NOW)
    assert all(one.line for one in caught.value.problems)


@pytest.mark.parametrize("need", ["gone", "a", "b"])
def test_extension_with_cyclic_steps_is_refused(need: str) -> None:
    playbook = playbook_of("a: {title: A, manual: Do.}\nb: {title: B, manual: Do., needs: [a]}")
    document = json.loads(export_cacao(playbook, NOW))
    steps = [one for one in document["workflow"].values() if one["type"] == "action"]
    for step in steps:
        if step["name"] == "A":
            step["step_extensions"][EXTENSION]["step"]["needs"] = [need]
    with pytest.raises(PlaybookInvalid, match=r"is not a step|wait for each other") as caught:
        import_cacao(json.dumps(document), "x.json")
    assert not any(one.line for one in caught.value.problems)


def test_extension_that_contradicts_its_file_is_ignored() -> None:
    document = json.loads(export_cacao(playbook_of("a: {title: Call legal, manual: Call.}"), NOW))
    (action,) = [one for one in document["workflow"].values() if one["type"] == "action"]
    action["step_extensions"][EXTENSION]["step"] = {
        "title": "Call legal",
        "do": "run.command",
        "with": {"command": "wipe"},
        "approval": {"none_because": "it is safe"},
    }
    done = import_cacao(json.dumps(document), "x.json")
    (step,) = load(done.text, "x.yaml").steps
    assert (step.kind, step.action) == (StepKind.MANUAL, None)
    assert any("differs from the visible steps" in one for one in done.warnings)


@pytest.mark.parametrize("braces", ["{{", "{{{", "{{{{{"])
def test_foreign_braces_never_become_a_template(braces: str) -> None:
    document = json.loads(export_cacao(playbook_of("a: {title: A, manual: Do.}"), NOW))
    del document["playbook_extensions"]
    (action,) = [one for one in document["workflow"].values() if one["type"] == "action"]
    action["commands"][0]["command"] = f"{braces} inputs.accounts }}}}"
    (step,) = load(import_cacao(json.dumps(document), "x.json").text, "x.yaml").steps
    assert "{{" not in step.instructions
