"""Order of steps as text and as a drawing."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from standfast.playbook.rendering.svg_graph import as_svg
from standfast.playbook.rendering.text_graph import as_graph
from standfast.playbook.step_graph import all_needs, direct_needs
from standfast.usecases.playbooks.library import SHIPPED, read
from tests.playbook.build import playbook_of

SVG = "{http://www.w3.org/2000/svg}"
EVERY_KIND = """
lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
look: {title: Look, manual: x, by: [boss]}
ask: {title: Ask, needs: [lock, look], decide: "Well?", options: ["yes", "no"]}
rest: {title: Rest, needs: [lock], wait: 90s}
tell:
  title: Tell <all> & sundry
  needs: [ask, lock]
  when: answers.ask == "yes"
  do: notices.send
  with: {template: t, audience: a}
  approval: {count: 2, roles: [legal]}
end: {title: End, needs: [tell, rest], manual: x}
"""
each = pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)


def test_branches_stand_side_by_side_and_come_together() -> None:
    assert as_graph(playbook_of(EVERY_KIND)) == (
        "■    lock  Lock\n"
        "│          program\n"
        "│ ○  look  Look\n"
        "│ │        person (boss)\n"
        "├─◆  ask   Ask\n"
        "│ │        decision: yes / no\n"
        "◷ │  rest  Rest\n"
        "│ │        wait: 90 seconds\n"
        "│ ■  tell  Tell <all> & sundry\n"
        "│ │        program\n"
        "│ │        needs 2 × approval: legal\n"
        "│ │        only if the answer to ask is “yes”\n"
        "○─╯  end   End\n"
        "           person\n"
    )


def test_transitive_need_is_not_drawn() -> None:
    needs = direct_needs(playbook_of(EVERY_KIND))
    assert needs["tell"] == {"ask"}
    assert needs["end"] == {"tell", "rest"}


@each
def test_every_step_has_a_row_and_branches_end(path: Path) -> None:
    playbook = read(path)
    graph = as_graph(playbook)
    marked = [line for line in graph.splitlines() if re.search("[■○◆◷]", line)]
    assert len(marked) == len(playbook.steps)
    assert not re.match(r"[^a-z]*│", graph.splitlines()[-1]), "nothing hangs in the air"


def test_who_acts_shows_by_shape_and_word() -> None:
    root = ET.fromstring(as_svg(playbook_of(EVERY_KIND)))
    boxes = [one for one in root.iter(f"{SVG}g") if one.get("transform") is None]
    shapes = {str(one.get("class")): [inner.tag for inner in one] for one in boxes}
    assert shapes["decide"][0] == f"{SVG}polygon"
    corners = {str(one.get("class")): one.find(f"{SVG}rect[@class='box']") for one in boxes}
    radii = {kind: box.get("rx") for kind, box in corners.items() if box is not None}
    assert len(set(radii.values())) == 3, "program, person and wait differ without colour"
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    for word in ("Program", "Person (boss)", "Decision", "WAIT 90 seconds", "2 approval: legal"):
        assert word in words
    assert "Tell <all> & sundry" in words


@each
def test_boxes_stand_below_their_needs_without_overlap(path: Path) -> None:
    playbook = read(path)
    svg = as_svg(playbook)
    assert svg == as_svg(playbook)
    root = ET.fromstring(svg)
    assert [one for one in root.iter() if one.get("href") or one.tag == f"{SVG}image"] == []
    width, height = (float(root.get(key, 0)) for key in ("width", "height"))
    tops = {}
    spans = []
    for one in root.iter(f"{SVG}g"):
        if one.get("transform"):
            continue
        lines = one.findall(f"{SVG}text")
        title = " ".join(line.text or "" for line in lines if line.get("class") == "title")
        x, y = float(lines[0].get("x", 0)), float(lines[0].get("y", 0))
        tops[title] = y
        spans.append((x - 112, x + 112, y, float(lines[-1].get("y", 0))))
        assert x - 112 >= 0
        assert x + 112 <= width
        assert spans[-1][3] <= height
    assert len(tops) == len(playbook.steps)
    for place, (left, right, top, bottom) in enumerate(spans):
        for other in spans[place + 1 :]:
            apart = right <= other[0] or other[1] <= left or bottom < other[2] or other[3] < top
            assert apart
    for step in playbook.steps:
        for need in all_needs(playbook)[step.name]:
            assert tops[playbook.step(need).title] < tops[step.title]


def test_unsound_playbook_is_drawn_as_far_as_possible() -> None:
    playbook = playbook_of(
        "a: {title: A, needs: [b], manual: x}\nb: {title: B, needs: [a, gone], manual: x}\n"
        "c: {title: C, needs: [c], manual: x}\n"
    )
    assert [line.split()[-1] for line in as_graph(playbook).splitlines()[::2]] == ["A", "B", "C"]
    assert ET.fromstring(as_svg(playbook)).tag == f"{SVG}svg"
