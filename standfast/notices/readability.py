"""Readability of notices, by the usual formula of each language.

A notice is a message to the people that an incident concerns. This module defines the limits and
selects the sentences. The library textstat (extra `readability`) has the formulas and counts
syllables. Only functions that need no network are used. The English formulas that count syllables
download a dictionary, so English is measured by letters per word.

Rules
- Only sentences are measured. Headings, greetings and list entries without a full stop at the end
  are omitted. A slot (the place of a recipient's value) is measured with its example.
- A notice is rendered with all its examples, and again with only the examples of required values.
  The two results may have different branches of an `if`, and each branch is sent in some incidents.
  The sentences of both results are measured together.
- Sentences in labels (translations of codes) are not part of the score. They are used only to find
  the hardest and the longest sentence.
- For a language without a formula here, only the longest sentence is checked, and the result states
  this.

Sources: Smith and Senter 1967 (English), Fernández Huerta 1959 (Spanish), Kandel and Moles 1958
(French), Bamberger and Vanecek 1984 (German). `docs/notices.md` has the reasons for the limits.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from standfast.errors import ExtraMissing
from standfast.notices.template_renderer import Template, prepare

if TYPE_CHECKING:
    from textstat.textstat import textstatistics

LONGEST_SENTENCE = 30  # words
_FEWEST_SCORED_WORDS = 8  # the score of a shorter sentence is not meaningful

_ENDS = re.compile(r"[.!?:][”“»\"'’\s]*$")
_BETWEEN = re.compile(r"(?<=[.!?])[”“»\"'’\u00a0]*\s+")


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A readability formula: a low school grade or a high ease is better."""

    name: str
    limit: float
    is_grade: bool


FORMULAS: Mapping[str, Formula] = {
    "en": Formula(name="Automated Readability Index", limit=8.0, is_grade=True),
    "es": Formula(name="Fernández Huerta", limit=70.0, is_grade=False),
    "fr": Formula(name="Kandel-Moles", limit=70.0, is_grade=False),
    "de": Formula(name="Wiener Sachtextformel 1", limit=8.0, is_grade=True),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result for one language of a notice.

    `score` is None if there is no formula for the language.
    """

    language: str
    formula: Formula | None
    score: float | None
    sentences: int  # number of sentences in the score
    hardest: str  # the sentence with the worst score; without a formula, the longest sentence
    longest: str
    longest_words: int

    @property
    def problems(self) -> list[str]:
        """Return the reasons why the text is too hard to read; [] if it is not."""
        found = []
        if not self.sentences:
            found.append("there is no whole sentence to measure")
        elif self.formula and self.score is not None:
            limit, is_grade = self.formula.limit, self.formula.is_grade
            if self.score > limit if is_grade else self.score < limit:
                side = "at most" if is_grade else "at least"
                found.append(
                    f"{self.formula.name} is {self.score:.1f}, and should be {side} {limit:g}"
                )
        if self.longest_words > LONGEST_SENTENCE:
            found.append(
                f"a sentence has {self.longest_words} words, and should have at most "
                f"{LONGEST_SENTENCE}: {self.longest}"
            )
        return found


def measure(template: Template) -> list[Measured]:
    """Measure every language of a notice; ExtraMissing without textstat."""
    examples = template.example_context()
    contexts = [examples, {name: examples[name] for name in template.required}]
    all_prepared = [prepare(template, context) for context in contexts]
    measured = []
    for language in sorted(template.languages):
        whole: dict[str, None] = {}
        for prepared in all_prepared:
            filled = prepared.fill(language, template.example_slots(), "", address="")
            whole |= dict.fromkeys(sentences(filled.text))
        label_sentences = dict.fromkeys(
            sentence for words in template.words_in(language) for sentence in sentences(words)
        )
        measured.append(measured_text([*whole], [*label_sentences], language))
    return measured


def measured_text(whole: list[str], other_sentences: list[str], language: str) -> Measured:
    """Return the result for the sentences in `whole`.

    The sentences in `other_sentences` are used only to find the hardest and the longest sentence.
    """
    spoken = language.partition("-")[0]
    formula = FORMULAS.get(spoken)
    single = [*whole, *other_sentences]
    longest = max(single, key=_words, default="")
    if formula is None:
        score, hardest = None, longest
    else:
        counter = _counter(spoken)
        worse = 1 if formula.is_grade else -1
        score = _score(counter, " ".join(whole), spoken)
        scored = [sentence for sentence in single if _words(sentence) >= _FEWEST_SCORED_WORDS]
        hardest = max(
            scored or single,
            key=lambda sentence: worse * _score(counter, sentence, spoken),
            default="",
        )
    return Measured(
        language=language,
        formula=formula,
        score=score,
        sentences=len(whole),
        hardest=hardest,
        longest=longest,
        longest_words=_words(longest),
    )


def sentences(text: str) -> list[str]:
    """Split a text into sentences; omit a line without an end mark."""
    return [
        sentence
        for line in text.splitlines()
        if _ENDS.search(line)
        for sentence in _BETWEEN.split(line.strip().removeprefix("- "))
        if _words(sentence)
    ]


def _words(sentence: str) -> int:
    return len(re.findall(r"\w[\w’'.-]*", sentence))


def _score(counter: "textstatistics", text: str, spoken: str) -> float:
    if not _words(text):
        return 0.0
    if spoken == "en":
        return float(counter.automated_readability_index(text))
    if spoken == "de":
        return float(counter.wiener_sachtextformel(text, 1))
    return float(counter.flesch_reading_ease(text))  # Spanish and French by their own constants


@cache
def _counter(spoken: str) -> "textstatistics":
    try:
        from textstat.textstat import textstatistics
    except ImportError as error:
        raise ExtraMissing(
            "readability check: textstat is not installed. Run `pip install -r "
            "requirements/extras/readability.txt`."
        ) from error
    counter = textstatistics()
    counter.set_lang(spoken)
    return counter
