import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError, TemplateInvalid
from standfast.notices.template_folder import SHIPPED, Templates, read_templates, template_names
from standfast.notices.template_renderer import Template, prepare
from tests.notices.test_template_renderer import files_of

TEMPLATES = read_templates()
LANGUAGES = {"en", "es", "fr", "de"}
each_template = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())


def laid(root: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def test_the_shipped_notices_are_these() -> None:
    assert TEMPLATES.keys() == {
        "agents-call-script",
        "approval-request",
        "approvers-changed",
        "backup-alarm",
        "business-clients",
        "call-out",
        "customers-account-takeover",
        "customers-all-clear",
        "customers-data-theft",
        "customers-service-outage",
        "deadline-reminder",
        "glass-broken",
        "host-missing",
        "incident-opened",
        "incident-waits",
        "partners",
        "passkey-added",
        "practice-reminder",
        "press-line",
        "regulator-notice",
        "staff-heads-up",
        "wrong-notice-correction",
    }


@each_template
@pytest.mark.parametrize("banner", [False, True])
def test_every_shipped_template_renders_in_every_language(template: Template, banner: bool) -> None:
    prepared = prepare(template, template.example_context(), banner=banner)
    assert prepared.languages.keys() == LANGUAGES
    assert prepared.warnings == ()
    for language in LANGUAGES:
        filled = prepared.fill(language, template.example_slots(), "t", address="a@shop.test")
        for part in (filled.subject, filled.text, filled.html):
            assert not re.search(r"[{}]|https?:|www\.|slot[0-9a-f]{64}", part)
        assert_elements_are_nested(filled.html)


def assert_elements_are_nested(page: str) -> None:
    """Check that elements are closed, and that lists and entries are complete."""
    closed = page.removeprefix("<!doctype html>").replace('"utf-8">', '"utf-8"/>')
    tree = ElementTree.fromstring(closed.replace("<br>", "<br/>"))
    parents = {child: parent for parent in tree.iter() for child in parent}
    assert {parents[entry].tag for entry in tree.iter("li")} <= {"ul"}
    assert all(len(listed) for listed in tree.iter("ul"))


@each_template
def test_shipped_templates_render_with_required_values(template: Template) -> None:
    examples = template.example_context()
    prepared = prepare(template, {name: examples[name] for name in template.required})
    assert prepared.warnings == ()
    for language in LANGUAGES:
        filled = prepared.fill(language, {}, "t", address="a@shop.test")
        assert_elements_are_nested(filled.html)


@each_template
def test_both_bodies_name_contact_and_subject(template: Template) -> None:
    context = template.example_context()
    is_over = {"is_over": False} if "is_over" in context else {}
    context = {**context, **is_over}
    ways = (
        ("incident_id",),
        ("passkey", "command"),
        ("person", "changed_by"),
        ("subject", "host"),
    )
    about = next(names for names in ways if names[0] in context)
    prepared = prepare(template, context)
    for language in LANGUAGES:
        filled = prepared.fill(language, template.example_slots(), "t", address="a@shop.test")
        for body in (filled.text, filled.html):
            assert str(context["contact_line"]) in body
            assert all(str(context[name]) in body for name in about)
            assert str(context["organisation"]) in body


@each_template
def test_text_and_html_say_the_same_words(template: Template) -> None:
    prepared = prepare(template, template.example_context())
    for language in LANGUAGES:
        filled = prepared.fill(language, template.example_slots(), "t", address="a@shop.test")
        shown = html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"</?bdi>", "", filled.html)))
        plain = re.sub(r"(?m)^- ", "", filled.text)
        assert shown.split() == plain.split()


def test_only_the_name_comes_from_the_audience() -> None:
    assert {template.slots for template in TEMPLATES.values()} == {frozenset({"name"})}


def test_the_shipped_folder_holds_data_only() -> None:
    suffixes = {path.suffix for path in SHIPPED.rglob("*") if path.is_file()}
    assert suffixes == {".toml", ".txt"}


def test_own_templates_precede_the_shipped(tmp_path: Path) -> None:
    laid(tmp_path / "extra", files_of())
    laid(tmp_path / "staff-heads-up", files_of())
    templates = read_templates(tmp_path)
    assert template_names(tmp_path) == templates.keys()
    assert templates["extra"].description == "A small notice."
    assert templates["staff-heads-up"].description == "A small notice."
    assert templates["approval-request"] == TEMPLATES["approval-request"]


def test_what_editors_leave_and_links_are_passed_over(tmp_path: Path) -> None:
    laid(tmp_path / "small", files_of())
    laid(tmp_path / "small", {".DS_Store": "", "context.toml~": "", "__pycache__/x.pyc": ""})
    laid(tmp_path / ".git", {"config": ""})
    (tmp_path / "small" / "fr").symlink_to("/etc")
    (tmp_path / "linked").symlink_to("/etc")
    assert dict(Templates(tmp_path)).keys() == {"small"}


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    laid(tmp_path / "small", files_of())
    (tmp_path / "small" / "en" / "body.txt").write_bytes(b"Garc\xeda")
    with pytest.raises(TemplateInvalid, match=r"small/en/body\.txt: is not UTF-8"):
        dict(Templates(tmp_path))


def test_broken_template_blocks_no_other(tmp_path: Path) -> None:
    laid(tmp_path / "small", files_of())
    laid(tmp_path / "broken", {"context.toml": "nothing that fits"})
    templates = read_templates(tmp_path)
    assert templates["small"].description == "A small notice."
    with pytest.raises(TemplateInvalid, match="broken"):
        templates["broken"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        Templates(tmp_path / "nowhere")


@each_template
def test_no_notice_needs_a_screen(template: Template) -> None:
    for language, parts in template.languages.items():
        assert not re.search(
            r"\bclick|this message has no|enlace, a prop|absichtlich", parts.body
        ), language


def test_mistyped_code_is_warned_of() -> None:
    template = TEMPLATES["customers-data-theft"]
    context = {**template.example_context(), "data_concerned": ["bank-detials", "your shoe size"]}
    (warned,) = [one for one in prepare(template, context).warnings if "not a code" in one]
    assert warned == (
        "customers-data-theft: 'data_concerned' has 'bank-detials', which is not a code and is "
        "shown as written; did you mean 'bank-details'?"
    )
    correction = TEMPLATES["wrong-notice-correction"]
    wrong = {**correction.example_context(), "what_happened": "not-concernd"}
    (warned,) = [one for one in prepare(correction, wrong).warnings if "not a code" in one]
    assert warned.endswith("; did you mean 'not-concerned'?")
    assert not [
        one
        for each in TEMPLATES.values()
        for one in prepare(each, each.example_context()).warnings
        if "not a code" in one
    ]


# In English those of the California Civil Code, 1798.82(d)(1), under its title.
HEADINGS = {
    "en": (
        "What happened",
        "What information was involved",
        "What we are doing",
        "What you can do",
        "For more information",
    ),
    "es": (
        "Qué ha ocurrido",
        "Qué datos suyos están afectados",
        "Qué estamos haciendo",
        "Qué puede hacer usted",
        "Cómo contactarnos",
    ),
    "fr": (
        "Ce qui s’est passé",
        "Quelles données sont concernées",
        "Ce que nous faisons",
        "Ce que vous pouvez faire",
        "Comment nous joindre",
    ),
    "de": (
        "Was geschehen ist",
        "Welche Ihrer Daten betroffen sind",
        "Was wir tun",
        "Was Sie tun können",
        "So erreichen Sie uns",
    ),
}


@pytest.mark.parametrize("name", ["customers-account-takeover", "customers-data-theft"])
@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_breach_notices_use_the_legal_headings(name: str, language: str) -> None:
    template = TEMPLATES[name]
    filled = prepare(template, template.example_context()).fill(
        language, template.example_slots(), "t", address="a@shop.test"
    )
    lines = filled.text.splitlines()
    places = [lines.index(heading) for heading in HEADINGS[language]]
    assert places == sorted(places)
    assert all(lines[place + 1].strip() for place in places)
    titles = re.findall(r"<h2[^>]*>([^<]*)</h2>", filled.html)
    assert [one for one in titles if one in HEADINGS[language]] == [*HEADINGS[language]]
    assert language != "en" or filled.subject.startswith("Notice of data breach: ")
