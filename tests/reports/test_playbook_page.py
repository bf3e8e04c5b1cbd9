"""Printed playbooks: usable without the program, and up to date."""

import re
from pathlib import Path

import pytest

from standfast.playbook.actions import ACTIONS
from standfast.playbook.model import StepKind
from standfast.playbook.rendering.step_labels import paragraphs
from standfast.reports.playbook_page import playbook_page
from standfast.usecases.playbooks.library import SHIPPED, read
from tests.playbook.build import playbook_of

ROOT = Path(__file__).parents[2]
each = pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)


def words(html: str) -> str:
    text = re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    for entity, letter in (("&#39;", "'"), ("&#34;", '"'), ("&lt;", "<"), ("&amp;", "&")):
        text = text.replace(entity, letter)
    return " ".join(text.split())


@each
def test_page_in_docs_is_current(path: Path) -> None:
    written = (ROOT / "docs" / "playbooks" / f"{path.stem}.html").read_text(encoding="utf-8")
    assert written == playbook_page(read(path)), "write them anew: make docs"


def test_docs_have_no_page_of_removed_playbooks() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "playbooks").glob("*.html")}
    assert pages == {path.stem for path in SHIPPED.glob("*.yaml")}


@each
def test_page_is_sufficient_without_the_program(path: Path) -> None:
    playbook = read(path)
    html = playbook_page(playbook)
    text = words(html)
    assert playbook.use_when in text
    for name, when in playbook.instead.items():
        assert f"Use {name} instead if:{when}" in text.replace(": ", ":")
    for role, does in playbook.roles.items():
        assert role in text
        assert does in text
    for step in playbook.steps:
        assert step.title in text
        for part in paragraphs(step.instructions):
            assert " ".join(part.removeprefix("- ").replace("`", "").split()) in text
        for fact in step.facts:
            assert fact.replace("`", "") in text
    for given in playbook.inputs:
        assert given.name in text
        assert given.description.rstrip(".").replace("`", "") in text.replace("`", "")
    boxes = html.count('class="box" aria-hidden')
    tasks = sum(
        part.startswith("- ") for s in playbook.steps for part in paragraphs(s.instructions)
    )
    asked = [step for step in playbook.steps if step.kind is StepKind.DECIDE]
    ticks = sum(len(step.facts) + len(step.options) for step in asked)
    assert boxes == len(playbook.steps) + tasks + ticks, "a box for each thing to do"


@each
def test_page_states_roles_approvals_and_undo(
    path: Path,
) -> None:
    playbook = read(path)
    parts = re.split(r'<li class="step ', playbook_page(playbook))[1:]
    steps = {step.name: step for step in playbook.steps}
    assert len(parts) == len(steps)
    for part in parts:
        (name,) = re.findall(r"<code>(\w+)</code></p>", part.split("</h3>")[1].split("\n<p>")[0])
        step, text = steps.pop(name), words(f"<i {part}")
        assert all(role in text for role in (*step.by, *step.roles))
        assert ("may answer." in text) is bool(step.roles)
        assert ("with any result of " in text) is bool(step.after)
        assert ("Undone by one command" in text) is (step.undo is not None)
        assert (f"undo --step {name}" in text) is (step.undo is not None)
        is_final = step.action is not None and ACTIONS[step.action].is_irreversible
        assert ("Cannot be undone." in text) is is_final
        assert ("Wait 30 minutes." in text) is (step.kind is StepKind.WAIT)
        assert all(option in text for option in step.options)
        asks = step.approval
        assert ("Needs" in text and "for" in text and "minutes" in text) is (asks is not None)
        if asks is not None:
            assert f"Needs {asks.count} other" in text
            assert all(role in text for role in asks.roles)
            assert asks.reason in text
            assert f"for {asks.escalate_after_minutes} minutes" in text
        assert step.no_approval_because in text


@each
def test_a_page_asks_for_nothing_from_outside(path: Path) -> None:
    html = playbook_page(read(path))
    assert not re.search(r"(?:src|href)=", html)
    assert "default-src 'none'" in html
    assert re.findall(r"https?://[^\"' ]+", html) == ["http://www.w3.org/2000/svg"]


def test_what_a_playbook_says_cannot_become_markup() -> None:
    steps = 'look: {title: "<b>&", manual: "- <script>x</script>", by: ["<i>"]}'
    html = playbook_page(playbook_of(steps))
    assert "<script" not in html
    assert "<b>" not in html
    assert "<i>" not in html
