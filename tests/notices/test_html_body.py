"""Structure of the HTML body: from template lines, never from a value."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.errors import TemplateInvalid
from standfast.notices.html_body import html_body
from standfast.notices.template_renderer import LARGEST_RESULT, prepare
from standfast.records import JsonObject
from tests.notices.test_template_renderer import loaded, texts

NOTICE = loaded(
    text="""Dear {{ recipient.name }},

# What happened
{{ story }}
It was in R&D <{{ city }}>.

# What you can do
{% for thing in things %}
- {{ thing }}
{% endfor %}
{% if is_final %}
- Type:
{% endif %}

    standfast status
    {{ city }}
"""
)
# Each begins a line of NOTICE, or follows the mark of its list entry.
HOSTILE = [
    "- x",
    "# x",
    "    x",
    "<p>x</p>",
    "&lt;",
    "\n",
    "x\n\n# y\n- z\n\n    w",
    "",
    "{% if %}",
]


def tags(html: str) -> list[str]:
    """Return the tags of a page without its line breaks."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag != "br":
                found.append(f"{tag} {attrs}")

        def handle_endtag(self, tag: str) -> None:
            found.append(f"/{tag}")

        def handle_comment(self, data: str) -> None:
            found.append("comment")

    reader = Reader()
    reader.feed(html)
    reader.close()
    return found


def test_lines_become_their_elements() -> None:
    context: JsonObject = {"city": "Rome", "story": "a\nb", "things": ["c"], "is_final": True}
    _, text, html = texts(NOTICE, context)
    assert html.partition(">\n<p>")[2] == (
        "Dear <bdi>Ana</bdi>,</p>\n"
        '<h2 style="font-size:1.1em">What happened</h2>\n'
        "<p>a<br>b<br>It was in R&amp;D &lt;Rome&gt;.</p>\n"
        '<h2 style="font-size:1.1em">What you can do</h2>\n'
        "<ul>\n<li>c</li>\n<li>Type:</li>\n</ul>\n"
        '<pre style="white-space:pre-wrap">standfast status\nRome</pre>\n'
        "</body>\n</html>\n"
    )
    assert text == (
        "Dear Ana,\n\nWhat happened\na\nb\nIt was in R&D <Rome>.\n\n"
        "What you can do\n- c\n- Type:\n\n    standfast status\n    Rome\n"
    )


def test_page_names_its_language() -> None:
    assert '<html lang="de" dir="ltr">' in texts(NOTICE, {"city": "Rome"}, "de")[2]


@pytest.mark.parametrize("language", ["ar", "fa-IR", "he", "az-Arab"])
def test_right_to_left_notice_keeps_direction_in_exercises(language: str) -> None:
    page = html_body("word\n", language, "[EXERCISE] Latin words")
    assert f'<html lang="{language}" dir="rtl">' in page


@pytest.mark.parametrize("language", ["es-AR", "en-PS", "arn", "ur-Latn"])
def test_region_or_script_does_not_reverse_a_notice(language: str) -> None:
    assert f'<html lang="{language}" dir="ltr">' in html_body("word\n", language)


def test_value_does_not_change_the_direction() -> None:
    _, _, html = texts(loaded(text="{{ city }} words\n"), {"city": "\u05e9\u05dc\u05d5\u05dd"})
    assert 'dir="ltr"' in html
    assert 'dir="auto"' not in html


def test_indented_entry_stays_in_its_list() -> None:
    text = "{% for thing in things %}\n    - {{ thing }}\n{% endfor %}\n\t- last\n"
    _, _, html = texts(loaded(text=text), {"city": "Rome", "things": ["a", "b"]})
    assert "<ul>\n<li>a</li>\n<li>b</li>\n<li>last</li>\n</ul>" in html


def test_value_after_blanks_is_no_list_entry() -> None:
    _, _, html = texts(loaded(text="  {{ city }}\n    {{ city }}\n"), {"city": "- x"})
    assert "<li>" not in html


def test_line_after_a_tab_is_a_command() -> None:
    _, _, html = texts(loaded(text="\tstandfast  status\n"), {"city": "Rome"})
    assert ">standfast  status</pre>" in html


def test_list_without_entries_is_left_out() -> None:
    assert "<ul>" not in texts(NOTICE, {"city": "Rome"})[2]


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("name", ["city", "story", "things"])
def test_value_becomes_no_structure(name: str, words: str) -> None:
    def made(words: str) -> tuple[str, str]:
        value = [words] if name == "things" else words
        _, text, html = texts(NOTICE, {"city": "Rome", "things": ["t"], name: value})
        return text, html

    if name != "story" and "\n" in words:
        with pytest.raises(TemplateInvalid):
            made(words)
        return
    text, html = made(words)
    _, harmless = made("word")
    assert tags(html) == tags(harmless)
    assert html.count("<br>") == harmless.count("<br>") + words.count("\n")
    assert words in text


@given(st.text(alphabet="-# \n<>&{}%x'\"", max_size=20))
def test_any_value_stays_text(story: str) -> None:
    try:
        _, text, html = texts(NOTICE, {"city": "Rome", "story": story})
    except TemplateInvalid:
        return
    assert text == texts(NOTICE, {"city": "Rome", "story": "@"})[1].replace("@", story)
    assert tags(html) == tags(texts(NOTICE, {"city": "Rome"})[2])


def test_value_may_begin_with_a_mark() -> None:
    _, text, html = texts(loaded(text="{{ '# 7' }}\n"), {"city": "Rome"})
    assert text == "# 7\n"
    assert "<p># 7</p>" in html


def test_size_of_the_html_is_bounded() -> None:
    template = loaded(text="{{ story }}" * 5)
    with pytest.raises(TemplateInvalid, match=r"small/en/body\.txt: its HTML is too large"):
        prepare(template, {"city": "Rome", "story": "<" * (LARGEST_RESULT // 10)})
