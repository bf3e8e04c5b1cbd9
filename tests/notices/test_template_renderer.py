import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.errors import TemplateInvalid
from standfast.notices.template_grammar import LARGEST_SOURCE
from standfast.notices.template_renderer import (
    EXERCISE_BANNER,
    LARGEST_RESULT,
    Template,
    load,
    prepare,
)
from standfast.records import Json, JsonObject

SPEC = """
description = "A small notice."
[variables.city]
type = "text"
description = "Where it happened."
example = "Lisbon"
[variables.story]
type = "lines"
description = "What happened."
example = { en = "A\\nB", de = "C\\nD" }
default = ""
[variables.things]
type = "list"
description = "What is concerned."
example = ["name"]
default = []
labels.name = { en = "your name", de = "Ihr Name" }
[variables.to_do]
type = "list"
description = "What the reader can do."
example = ["name"]
default = []
follows = "things"
labels.name = { en = "Take care.", de = "Geben Sie acht." }
labels.mail = { en = "Take care.", de = "Geben Sie acht." }
[variables.count]
type = "number"
description = "How many."
example = 3
default = 0
[variables.is_final]
type = "flag"
description = "Whether it is the last notice."
example = true
default = false
[slots.name]
description = "The reader's name."
example = "Ana"
when_empty = { en = "customer", de = "Kundin" }
[slots.plan]
description = "Their contract."
example = "Gold"
"""


def files_of(spec: str = SPEC, **parts: str) -> dict[str, str]:
    """Make a template in English and German; keywords replace English parts."""
    made = {"context.toml": spec}
    for language in ("en", "de"):
        made[f"{language}/subject.txt"] = "About {{ city }}\n"
        made[f"{language}/body.txt"] = "Dear {{ recipient.name }},\n{{ story }}\n"
    names = {"subject": "en/subject.txt", "text": "en/body.txt"}
    return made | {names[part]: text for part, text in parts.items()}


def loaded(**parts: str) -> Template:
    return load(files_of(**parts), "small")


def texts(template: Template, context: JsonObject, language: str = "en") -> tuple[str, str, str]:
    filled = prepare(template, context).fill(
        language, {"name": "Ana", "plan": "Gold"}, "token", address="ana@customers.test"
    )
    return filled.subject, filled.text, filled.html


def test_a_template_knows_what_it_needs() -> None:
    template = loaded(text="{{ recipient.name }} {{ recipient.plan }} {{ count }}")
    assert template.required == {"city"}
    assert template.slots == {"name", "plan"}
    assert set(template.languages) == {"en", "de"}


def test_values_are_escaped_only_in_html() -> None:
    subject, text, html = texts(loaded(), {"city": "A & B", "story": "<b>\nsecond"})
    assert subject == "About A & B"
    assert text == "Dear Ana,\n<b>\nsecond\n"
    assert "<p>Dear <bdi>Ana</bdi>,<br>&lt;b&gt;<br>second</p>" in html


def test_conditions_and_one_loop_work() -> None:
    template = loaded(
        text="{% for thing in things %}\n- {{ thing | upper }}{{ '' if loop.last else ';' }}\n"
        "{% else %}\nnothing\n{% endfor %}\n{% if is_final and count > 1 %}\nlast\n{% endif %}\n"
    )
    context: JsonObject = {"city": "x", "things": ["name", "other"], "is_final": True, "count": 2}
    assert texts(template, context)[1] == "- YOUR NAME;\n- OTHER\nlast\n"
    assert texts(template, {"city": "x"})[1] == "nothing\n"


def test_codes_and_prose_come_in_the_readers_language() -> None:
    german = "{{ story }}|{% for thing in things %}{{ thing }}{% endfor %}"
    files = files_of() | {"de/body.txt": german}
    context: JsonObject = {
        "city": "x",
        "story": {"en": "English", "de": "Deutsch"},
        "things": ["name"],
    }
    assert texts(load(files, "small"), context, "de")[1] == "Deutsch|Ihr Name"


def test_untranslated_prose_warns_for_each_language() -> None:
    prepared = prepare(loaded(), {"city": "x", "story": "only English", "things": ["odd"]})
    assert len(prepared.warnings) == 4
    assert "'story'" in prepared.warnings[0]
    assert prepare(loaded(), {"city": "x", "things": ["name"]}).warnings == ()
    partly = prepare(loaded(), {"city": "x", "story": {"en": "English"}})
    assert len(partly.warnings) == 1
    assert "de" in partly.warnings[0]


@pytest.mark.parametrize("language", ["en", "de"])
def test_exercise_is_marked_in_subject_and_bodies(language: str) -> None:
    live = prepare(loaded(), {"city": "x"})
    exercise = prepare(loaded(), {"city": "x"}, banner=True)
    filled = exercise.fill(language, {"name": "Ana"}, "token", address="a@customers.test")
    assert filled.subject.startswith(EXERCISE_BANNER)
    assert filled.text.startswith(EXERCISE_BANNER)
    assert re.search(r"<body[^>]*>\s*<p style=[^>]*>" + re.escape(EXERCISE_BANNER), filled.html)
    assert exercise.digest != live.digest


@pytest.mark.parametrize(
    ("parts", "file", "line", "message"),
    [
        ({"text": "a\n{{ ctiy }}"}, "en/body.txt", 2, "did you mean 'city'?"),
        ({"text": "{{ recipient.nmae }}"}, "en/body.txt", 1, "did you mean 'name'?"),
        ({"text": "a\n\n{% if %}"}, "en/body.txt", 3, "xpected an expression"),
        ({"text": "{{ recipient.name | upper }}"}, "en/body.txt", 1, "stand alone"),
        ({"text": "{% if recipient.name %}x{% endif %}"}, "en/body.txt", 1, "stand alone"),
        ({"text": "{{ recipient }}"}, "en/body.txt", 1, "stand alone"),
        ({"text": "{{ recipient['name'] }}"}, "en/body.txt", 1, "not allowed"),
        ({"text": "{{ city.__class__ }}"}, "en/body.txt", 1, "'__class__' is not allowed"),
        ({"text": "{{ city.upper() }}"}, "en/body.txt", 1, "'call' is not allowed"),
        ({"text": "{{ range(9) }}"}, "en/body.txt", 1, "'call' is not allowed"),
        ({"text": "{{ 'a' * 99999999999 }}"}, "en/body.txt", 1, "'mul' is not allowed"),
        ({"text": "{{ 9 ** 9 ** 9 }}"}, "en/body.txt", 1, "'pow' is not allowed"),
        ({"text": "{{ '%99999999999d' | format(1) }}"}, "en/body.txt", 1, "'format' is not"),
        ({"text": "{{ city | safe }}"}, "en/body.txt", 1, "'safe' is not allowed"),
        ({"text": "{% include 'x' %}"}, "en/body.txt", 1, "'include' is not allowed"),
        ({"text": "{% set a = 1 %}"}, "en/body.txt", 1, "'assign' is not allowed"),
        ({"text": "{% macro a() %}{% endmacro %}"}, "en/body.txt", 1, "'macro' is not allowed"),
        ({"text": "{% autoescape false %}x{% endautoescape %}"}, "en/body.txt", 0, "'scope' is"),
        ({"text": "{% for a in city %}{% endfor %}"}, "en/body.txt", 1, "type list"),
        (
            {
                "text": "{% for a in things %}{% for b in things %}{% endfor %}{% endfor %}",
            },
            "en/body.txt",
            1,
            "no loop within a loop",
        ),
        (
            {"text": "{% for a in things recursive %}{{ loop(a) }}{% endfor %}"},
            "en/body.txt",
            1,
            "loop",
        ),
        ({"text": "{% for a in things %}{{ loop.cycle }}{% endfor %}"}, "en/body.txt", 1, "cycle"),
        ({"text": "{{ a }}{% for a in things %}{% endfor %}"}, "en/body.txt", 1, "'a' is not"),
        ({"subject": "{{ story }}"}, "en/subject.txt", 1, "a subject has one"),
        ({"subject": ""}, "en/subject.txt", 0, "one line"),
        ({"subject": "a\nb"}, "en/subject.txt", 0, "one line"),
        ({"subject": "a\u202eb"}, "en/subject.txt", 0, "one line"),
        ({"text": "{{ " + "(" * 20_000 + " }}"}, "en/body.txt", 0, "nested"),
        ({"text": "{{ " + "9" * 5_000 + " }}"}, "en/body.txt", 0, "too many digits"),
        ({"text": "x" * (LARGEST_SOURCE + 1)}, "en/body.txt", 0, "longer"),
        ({"text": "half \ud800"}, "en/body.txt", 0, "UTF-8"),
    ],
)
def test_forbidden_construct_is_named_with_its_place(
    parts: Mapping[str, str], file: str, line: int, message: str
) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        loaded(**parts)
    place = f"small/{file}:{line}:" if line else f"small/{file}:"
    assert place in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no context.toml"),
        ({"context.toml": SPEC}, "there is no language"),
        (files_of() | {"en/notes.md": ""}, "small/en/notes.md: does not belong here"),
        (files_of() | {"en/body.html": ""}, "small/en/body.html: does not belong here"),
        (files_of() | {"../x": ""}, "does not belong here"),
        ({k: v for k, v in files_of().items() if k != "de/body.txt"}, "de/body.txt: is missing"),
        (files_of("a = 1\nx y"), "small/context.toml:2: not TOML"),
        (files_of("description = 'x'\nextra = 1"), "extra: unknown key"),
        (
            files_of("description = 'x'\n[values.city]"),
            "the file has description, [variables.NAME]",
        ),
        (files_of(SPEC.replace('"Lisbon"', "5")), "'city' must be one line"),
        (files_of(SPEC.replace('"Lisbon"', '"a\\nb"')), "'city' must be one line"),
        (files_of(SPEC.replace("variables.city", "variables.recipient")), "reserved"),
        (files_of(SPEC.replace("variables.city", "variables.City")), "City"),
        (files_of(SPEC.replace(', de = "Ihr Name"', "")), "labels.name lacks de"),
        (files_of(SPEC.replace(', de = "Kundin"', "")), "slots.name.when_empty lacks de"),
    ],
)
def test_an_incomplete_template_is_not_loaded(files: dict[str, str], message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        load(files, "small")
    assert message in str(caught.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(TemplateInvalid) as caught:
        loaded(subject="{{ one }}", text="{{ two }}\n{{ three }}")
    assert all(word in str(caught.value) for word in ("'one'", "'two'", "'three'"))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "'city' is missing: Where it happened."),
        ({"city": "x", "cyti": "y"}, "'cyti' is not a value of this template"),
        ({"city": "two\nlines"}, "'city' must be one line"),
        ({"city": "turned \u202eround"}, "'city' must be one line"),
        ({"city": "x" * 1_001}, "'city' must be one line"),
        ({"city": 5}, "'city' must be one line"),
        ({"city": None}, "'city' must be one line"),
        ({"city": {}}, "'city' must be one line"),
        ({"city": {"en": "a\nb"}}, "'city' must be one line"),
        ({"city": "x", "count": True}, "'count' must be a whole number"),
        ({"city": "x", "is_final": 1}, "'is_final' must be true or false"),
        ({"city": "x", "things": 7}, "'things' must be a list"),
        ({"city": "x", "things": "a, b\rc"}, "'things' must be a list"),
        ({"city": "x", "things": ["a\rb"]}, "'things' must be a list"),
        ({"city": "x", "things": ["a"] * 201}, "'things' must be a list"),
        ({"city": "x", "story": "a\x00b"}, "'story' must be text"),
    ],
)
def test_unfit_values_are_named_and_not_shown(context: dict[str, Json], message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        prepare(loaded(), context)
    assert message in str(caught.value)
    assert "\u202e" not in str(caught.value)


def test_too_large_part_is_refused() -> None:
    line = "{{ story }}" * 200
    template = loaded(text="{% for thing in things %}" + line + "{% endfor %}")
    with pytest.raises(TemplateInvalid, match=r"small/en/body\.txt: does not render: TooLarge"):
        prepare(template, {"city": "x", "story": "s" * 8_000, "things": ["x"] * 200})
    assert len(line) * 200 > LARGEST_RESULT


def test_digest_depends_on_the_values() -> None:
    one = prepare(loaded(), {"city": "x"})
    assert one.digest == prepare(loaded(), {"city": "x"}).digest
    assert one.digest != prepare(loaded(), {"city": "y"}).digest
    assert one.digest != prepare(loaded(text="other"), {"city": "x"}).digest


@given(
    city=st.text(max_size=50),
    story=st.text(max_size=80) | st.sampled_from(["{{ recipient.name }}", "slotnameend", "<body>"]),
)
def test_incident_value_never_becomes_a_template(city: str, story: str) -> None:
    template = loaded(text="{{ city }}|{{ story }}|{{ recipient.name }}")
    try:
        prepared = prepare(template, {"city": city, "story": story})
    except TemplateInvalid:
        return
    filled = prepared.fill("en", {"name": "Ana"}, "token", address="ana@customers.test")
    assert filled.text == f"{city}|{story}|Ana"


@given(st.text(max_size=120) | st.text(alphabet="{}%#'\"|.()[]*+- ifnorecpt=\n", max_size=60))
def test_no_template_text_fails_in_another_way(source: str) -> None:
    try:
        template = loaded(text=source)
    except TemplateInvalid:
        return
    prepare(template, template.example_context())


def test_list_may_be_comma_separated_text() -> None:
    template = loaded(text="{{ things | join('; ') }}")
    _, text, _ = texts(template, {"city": "Rome", "things": " name, a photo ,, "})
    assert text == "your name; a photo"


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ({"things": ["name", "mail", "shoes"]}, "Take care."),
        ({"things": "shoes, mail"}, "Take care."),
        ({"things": ["shoes"]}, ""),
        ({}, ""),
        ({"things": ["name"], "to_do": ["Ask."]}, "Ask."),
        ({"things": ["name"], "to_do": []}, ""),
    ],
)
def test_advice_follows_its_codes_once(context: JsonObject, text: str) -> None:
    template = loaded(text="{{ to_do | join(' ') }}")
    assert texts(template, {"city": "Rome", **context})[1] == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('follows = "things"', 'follows = "thing"', "must be lists"),
        ('follows = "things"', 'follows = "city"', "must be lists"),
        ('follows = "things"', 'follows = "to_do"', "must not follow another"),
        ("default = []\nfollows", "follows", "needs a default"),
    ],
)
def test_a_list_follows_another_list(old: str, new: str, message: str) -> None:
    with pytest.raises(TemplateInvalid, match=message):
        load(files_of(SPEC.replace(old, new)), "small")
