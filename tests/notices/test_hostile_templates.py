"""Templates that try to break out or exhaust the machine are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.errors import TemplateInvalid
from standfast.notices.template_renderer import LARGEST_RESULT, prepare
from tests.notices.test_template_renderer import loaded, texts

JOIN = " | join('aaaaaaaaaa')"
REFUSED = [
    "{{ city.__class__.__mro__ }}",
    "{{ city['__class__'] }}",
    "{{ city | attr('__class__') }}",
    "{{ city | format(1) }}",
    "{{ ''.__class__ }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ namespace(a=1) }}",
    "{{ range(999999999) }}",
    "{{ lipsum(n=99999) }}",
    "{{ dict(a=1) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ 'a' * 999999999 }}",
    "{{ [0] * 999999999 }}",
    "{{ 'a' ~ city }}",
    "{{ " + "9" * 5_000 + " }}",
    "{{ things" + JOIN * 12 + " }}",
    "{{ things | join | join }}",
    "{{ city | join('-') }}",
    "{{ ['a', 'b'] | join('-') }}",
    "{{ things | join('" + "a" * 30_000 + "') }}",
    "{{ things | join(city) }}",
    "{{ things | join(d=', ') }}",
    "{{ things | join(', ', 'name') }}",
    "{% for a in things %}{{ a | join('-') }}{% endfor %}",
    "{% for a in things %}{% for b in things %}x{% endfor %}{% endfor %}",
    "{% for a in things recursive %}{{ loop(things) }}{% endfor %}",
    "{% for a in city %}x{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% set a = city %}",
    "{% include 'en/body.txt' %}",
    "{% extends 'en/body.txt' %}",
    "{% import 'os' as os %}",
    "{% filter upper %}x{% endfilter %}",
    "{% autoescape false %}{{ city }}{% endautoescape %}",
    "{{ story | safe }}",
    "{{ city" + " | upper" * 8_000 + " }}",
    "{% if " + "not " * 8_000 + "is_final %}x{% endif %}",
    "{% if " + " and ".join(["is_final"] * 5_000) + " %}x{% endif %}",
    "{% if is_final %}" * 300 + "x" + "{% endif %}" * 300,
    "{{ " + "(" * 3_000 + "city" + ")" * 3_000 + " }}",
    "{{ " + "1 if is_final else " * 2_000 + "1 }}",
    # Says nothing, and would take minutes over it.
    "{% for a in things %}"
    + "{% if story | upper | lower == a %}{% endif %}" * 60
    + "{% endfor %}",
    "{% for a in things %}{% if story" + " | upper" * 300 + " == a %}x{% endif %}{% endfor %}",
    "{% for a in things %}{{ a | upper }}, {% endfor %}" * 80,
]


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_escaping_or_growing_template_is_refused(text: str) -> None:
    with pytest.raises(TemplateInvalid):
        loaded(text=text)


def test_a_list_is_joined_by_a_short_text() -> None:
    template = loaded(text="{{ things | join(', ') }} {{ things | join | upper }}")
    _, text, _ = texts(template, {"city": "Rome", "things": ["a", "b"]})
    assert text == "a, b AB"


def test_loop_over_a_list_is_accepted() -> None:
    one = "{% if loop.first %}{{ a | upper }}{% else %}, {{ a }}{% endif %}"
    template = loaded(text="{% for a in things %}" + one * 20 + "{% endfor %}")
    _, text, _ = texts(template, {"city": "Rome", "things": ["a", "b"]})
    assert text == "A" * 20 + ", b" * 20


def test_rendered_size_is_bounded() -> None:
    loop = "{% for a in things %}{{ a }}{{ a }}{{ things | join(', ') }}{% endfor %}"
    with pytest.raises(TemplateInvalid, match="TooLarge"):
        prepare(loaded(text=loop), {"city": "Rome", "things": ["x" * 1_000] * 200})
    assert LARGEST_RESULT < 200 * 1_000


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [
                *("{{", "}}", "{%", "%}", "{#", "#}", "city", "things", "count", "is_final", "a"),
                *("recipient.name", "recipient", "loop", ".first", ".__class__", "['a']", "self"),
                *("for", "in", "endfor", "if", "elif", "else", "endif", "not", "and", "is", "true"),
                *("|", "join", "upper", "length", "attr", "(", ")", "'x'", ",", "=", "==", "**"),
                *("*", "~", "%", "9", "9999", "[", "]", "set", "macro", "include", "call", "raw"),
            ]
        ),
        max_size=40,
    ).map(" ".join)
)
def test_random_tokens_are_bounded_or_refused(text: str) -> None:
    try:
        template = loaded(text=text)
        _, filled, _ = texts(template, {"city": "c" * 900, "things": ["t" * 900] * 20})
    except TemplateInvalid:
        return
    assert len(filled) <= LARGEST_RESULT
    assert "<class" not in filled
    assert "object at 0x" not in filled
