"""Hostile values in every notice stay text in their own message."""

import re
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.errors import Refused, TemplateInvalid
from standfast.notices.mail_addresses import parse_address
from standfast.notices.prepared_notice import LONGEST_VALUE, Prepared
from standfast.notices.template_context import Variable
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import Template, prepare
from standfast.records import Json

TEMPLATES = read_templates()
LANGUAGES = ("de", "en", "es", "fr")
each = pytest.mark.parametrize("name", TEMPLATES)

CRAFTED = [
    "</p></body><script>alert(1)</script><img src=//track.test>",
    "&lt;b&gt; <!-- ]]> \" onload='x' <bdi>",
    "{{ recipient.name }}{% for x in y %}{{ self }}{% endfor %}{# #}",
    *("- entry", "# heading", "    typed"),
    "=?utf-8?q?=0D=0ABcc:_all=40customers.test?= Bcc: all@c.test",
]
UNFIT = ["a\r\nBcc: all@customers.test", "a\nb", "\u202egnp.exe", "a\x00b", "\u2066x", "x" * 10**7]
hostile = st.one_of(
    st.sampled_from([*CRAFTED, *UNFIT[:-1], "", " ", "ö" * LONGEST_VALUE]),
    st.text(max_size=LONGEST_VALUE),
)


@cache
def prepared(name: str) -> Prepared:
    return prepare(TEMPLATES[name], TEMPLATES[name].example_context())


@cache
def shape(name: str, language: str) -> tuple[tuple[str, ...], int]:
    """Return the tags of a harmless message, and the lines of its text."""
    filled = prepared(name).fill(language, {"name": "Ana"}, "t", address="ana@customers.test")
    return tags(filled.html), filled.text.count("\n")


def tags(html: str) -> tuple[str, ...]:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(f"{tag} {sorted(attrs)}")

        def handle_endtag(self, tag: str) -> None:
            found.append(f"/{tag}")

        def handle_comment(self, data: str) -> None:
            found.append("comment")

    reader = Reader()
    reader.feed(html)
    reader.close()
    return tuple(found)


def headers_of(subject: str) -> list[bytes]:
    """Name a mail's headers as they are written out."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = subject
    mail.set_content("body")
    written = mail.as_bytes().split(b"\r\n\r\n")[0]
    lines = re.sub(rb"\r\n[ \t]", b" ", written).split(b"\r\n")
    return [line.partition(b":")[0] for line in lines]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*TEMPLATES]), st.sampled_from(LANGUAGES), hostile)
def test_recipient_value_changes_no_header(name: str, language: str, value: str) -> None:
    filled = prepared(name).fill(language, {"name": value}, "t", address="eve@customers.test")
    assert (tags(filled.html), filled.text.count("\n")) == shape(name, language)
    assert "\n" not in filled.subject
    assert "\r" not in filled.subject + filled.text
    assert headers_of(filled.subject) == headers_of("Hello")
    # The later recipients get the same message as without the hostile one.
    again = prepared(name).fill(language, {"name": "Ana"}, "t", address="ana@customers.test")
    assert (tags(again.html), again.text.count("\n")) == shape(name, language)
    assert "Ana" in again.text


@each
def test_huge_name_is_refused_in_every_notice(name: str) -> None:
    for language in LANGUAGES:
        with pytest.raises(Refused, match="'name' of a recipient: longer"):
            prepared(name).fill(language, {"name": "x" * 10**7}, "t", address="a@customers.test")


@cache
def with_values(name: str, words: str) -> Prepared:
    """The notice with `words` wherever an incident's values may hold any."""
    return prepare(
        TEMPLATES[name], {n: said(v, words) for n, v in TEMPLATES[name].variables.items()}
    )


@each
@pytest.mark.parametrize("crafted", CRAFTED, ids=range(len(CRAFTED)))
def test_crafted_incident_values_stay_text(name: str, crafted: str) -> None:
    for language in LANGUAGES:
        quiet, loud = (
            with_values(name, words).fill(language, {"name": "Ana"}, "t", address="ana@c.test")
            for words in ("words", crafted)
        )
        assert tags(loud.html) == tags(quiet.html)
        assert loud.text.count("\n") == quiet.text.count("\n")
        assert loud.text.count("Ana") == quiet.text.count("Ana") > 0  # no value became a slot
        assert crafted in loud.text
        assert "=?" not in loud.subject
        assert headers_of(loud.subject) == headers_of("Hello")


@each
@pytest.mark.parametrize("value", UNFIT, ids=range(len(UNFIT)))
def test_invisible_or_breaking_value_is_refused(name: str, value: str) -> None:
    template = TEMPLATES[name]
    examples = template.example_context()
    lines = [n for n, v in template.variables.items() if v.type in {"text", "list"}]
    assert lines
    with pytest.raises(TemplateInvalid) as caught:
        prepare(template, {**examples, **dict.fromkeys(lines, value)})
    refused = str(caught.value)
    assert all(f"'{one}' must be" in refused for one in lines)
    assert "customers.test" not in refused  # refused values are not shown


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=80), st.from_regex(r"[^@\s]{1,20}@[^@\s]{1,40}", fullmatch=True)))
def test_address_is_one_mailbox_or_rejected(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    local, _, domain = address.text.rpartition("@")
    assert local
    assert domain.isascii()
    assert not re.search(r"[\s\x00-\x1f\x7f,;<>()\[\]]", domain)
    assert not re.search(r"[\r\n\x00]", local)


def said(variable: Variable, words: str) -> Json:
    """Return a value of the variable's type that contains `words`."""
    match variable.type:
        case "list":
            return [words, words]
        case "text" | "lines":
            return words
        case _:
            example: Json = variable.example
            return example


def test_every_shipped_notice_is_among_them() -> None:
    assert len(TEMPLATES) >= 15
    assert all(isinstance(one, Template) for one in TEMPLATES.values())
