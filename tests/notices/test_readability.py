"""The gate that a notice passes before anyone is asked to read it."""

import sys

import pytest

from standfast.errors import ExtraMissing
from standfast.notices import readability
from standfast.notices.readability import (
    FORMULAS,
    LONGEST_SENTENCE,
    measure,
    measured_text,
    sentences,
)
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import Template
from tests.notices.test_template_renderer import loaded

TEMPLATES = read_templates()
HARD = {
    "en": "Notwithstanding comprehensive organisational precautions, unauthorised individuals "
    "demonstrably circumvented authentication infrastructure.",
    "es": "No obstante las exhaustivas precauciones organizativas, individuos no autorizados "
    "eludieron demostrablemente infraestructuras de autenticación.",
    "fr": "Nonobstant d’exhaustives précautions organisationnelles, des individus non autorisés "
    "ont manifestement contourné les infrastructures d’authentification.",
    "de": "Ungeachtet umfassender organisatorischer Vorsichtsmaßnahmen umgingen unbefugte "
    "Einzelpersonen nachweislich Authentifizierungsinfrastrukturen.",
}
EASY = {
    "en": "A stranger saw your name. We shut him out. You can call us today.",
    "es": "Alguien vio su nombre. Ya no puede entrar. Puede llamarnos hoy.",
    "fr": "Un inconnu a vu votre nom. Il ne peut plus entrer. Vous pouvez nous appeler.",
    "de": "Ein Fremder sah Ihren Namen. Er kommt nicht mehr hinein. Rufen Sie uns an.",
}
by_language = pytest.mark.parametrize("language", FORMULAS)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse downloads, which some functions of textstat try."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a measure reached for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_shipped_notices_are_easy_to_read(template: Template) -> None:
    measured = measure(template)
    assert [one.language for one in measured] == ["de", "en", "es", "fr"]
    assert [problem for one in measured for problem in one.problems] == []
    assert all(one.score is not None and one.hardest for one in measured)


@by_language
def test_officialese_does_not_pass_and_plain_words_do(language: str) -> None:
    (problem,) = measured_text([HARD[language]], [], language).problems
    assert FORMULAS[language].name in problem
    assert measured_text(sentences(EASY[language]), [], language).problems == []


@by_language
def test_hardest_sentence_is_named_even_in_labels(language: str) -> None:
    easy = sentences(EASY[language])
    assert measured_text([*easy, HARD[language]], [], language).hardest == HARD[language]
    beside = measured_text(easy, [HARD[language]], language)
    assert beside.hardest == HARD[language]
    assert beside.score == measured_text(easy, [], language).score


def test_endless_sentence_is_too_long() -> None:
    long = "we write " * (LONGEST_SENTENCE // 2) + "more."
    for language in ("en", "pt-BR"):
        measured = measured_text([long], [], language)
        assert any(f"has {LONGEST_SENTENCE + 1} words" in one for one in measured.problems)
    assert measured.formula is None
    assert measured.score is None


def test_notice_without_sentences_is_not_easy() -> None:
    (german, english) = measure(loaded(text="Dear {{ recipient.name }},\nstill all words\n"))
    assert english.language == "en"
    assert english.problems == ["there is no whole sentence to measure"]
    assert german.language == "de"


def test_headings_and_greetings_are_not_measured() -> None:
    text = (
        "Dear Ana,\n\nWhat happened\n- your name\n- We know: it left.\nSay: “All is done.” Go on.\n"
    )
    assert sentences(text) == ["We know: it left.", "Say: “All is done.", "Go on."]


def test_both_sides_of_a_condition_are_measured() -> None:
    text = "{% if is_final %}\nWe are done.\n{% else %}\n" + HARD["en"] + "\n{% endif %}\n"
    english = measure(loaded(text=text))[1]
    assert english.hardest == HARD["en"]


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    readability._counter.cache_clear()
    monkeypatch.setitem(sys.modules, "textstat.textstat", None)
    with pytest.raises(ExtraMissing, match=r"extras/readability\.txt"):
        measured_text(["We write to you."], [], "en")
