"""`standfast notice check`: readability and banned phrases of notices.

Scores are texts in JSON, as are all numbers of Standfast that are not integers.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json, JsonObject
from standfast.suggestions import known_names_hint

if TYPE_CHECKING:
    from standfast.notices.banned_phrases import BannedUse
    from standfast.notices.readability import Measured
    from standfast.notices.template_renderer import Template


@command(
    "check",
    exits={
        ExitStatus.DONE: "the notices are easy to read and contain no banned phrase",
        ExitStatus.FAILED: "a notice is too hard to read, or contains a banned phrase",
        ExitStatus.USAGE: "there is no such notice, or the extra `readability` is not installed",
    },
    example="standfast notice check customers-data-theft",
    needs_ledger=False,
)
@click.argument(
    "name", nargs=-1, metavar="[TEMPLATE]...", help="Names from `notice list`; by default all."
)
@click.pass_obj
def check(call: Call, name: tuple[str, ...]) -> ExitStatus:
    """Check the readability and banned phrases of notices."""
    from standfast.notices.banned_phrases import find_banned_uses
    from standfast.notices.readability import measure

    chosen = selected_templates(call, name)
    with call.progress() as show_progress:
        found = []
        for number, template in enumerate(chosen.values(), 1):
            show_progress("reading notices", number, len(chosen))
            found.append((template.name, measure(template), find_banned_uses(template)))
    bad = [
        name
        for name, measured, banned_uses in found
        if banned_uses or any(result.problems for result in measured)
    ]
    rows = [
        [
            shown,
            result.language,
            *_score_text(result),
            f"longest sentence {result.longest_words} words",
        ]
        for shown, measured, _ in found
        for result in measured
    ]
    lines: list[Line] = [Table(rows=rows)]
    for shown, measured, banned_uses in found:
        lines += [
            f"{shown}: {line}" for line in (*_too_hard(measured), *map(_banned_line, banned_uses))
        ]
    checked = counted(len(found), "notice")
    lines.append(
        f"{checked} checked; {len(bad)} to improve." if bad else f"{checked} checked, all good."
    )
    return call.print_result(
        {
            "notices": [
                {
                    "notice": shown,
                    "languages": [_measured_json(result) for result in measured],
                    "banned": [_phrase_json(phrase) for phrase in banned_uses],
                }
                for shown, measured, banned_uses in found
            ],
            "is_good": not bad,
            **({"exit_status": int(ExitStatus.FAILED)} if bad else {}),
        },
        lines,
        ExitStatus.FAILED if bad else ExitStatus.DONE,
    )


def selected_templates(call: Call, names: Sequence[str]) -> Mapping[str, "Template"]:
    """Load all notices or the named ones; UsageError for an unknown name."""
    from standfast.notices.template_folder import read_templates

    config = call.config_if_any()
    templates = read_templates(config.notices.templates if config else None)
    for name in names:
        if name not in templates:
            raise UsageError(f"notice {name!r}: unknown; {known_names_hint(name, templates)}")
    return {name: templates[name] for name in names} if names else templates


def _score_text(measured: "Measured") -> list[str]:
    if measured.formula is None or measured.score is None:
        return ["no formula for this language", ""]
    side = "at most" if measured.formula.is_grade else "at least"
    return [measured.formula.name, f"{measured.score:.1f}, {side} {measured.formula.limit:g}"]


def _too_hard(measured: "list[Measured]") -> list[str]:
    return [
        f"{result.language}: {problem}; the hardest sentence: {result.hardest}"
        for result in measured
        for problem in result.problems
    ]


def _banned_line(phrase: "BannedUse") -> str:
    return f"{phrase.file}: {phrase.words!r} {phrase.rule}: {phrase.why}"


def _measured_json(measured: "Measured") -> JsonObject:
    problems: list[Json] = [*measured.problems]
    return {
        "language": measured.language,
        "formula": measured.formula.name if measured.formula else None,
        "score": None if measured.score is None else f"{measured.score:.1f}",
        "limit": f"{measured.formula.limit:g}" if measured.formula else None,
        "lower_is_easier": measured.formula.is_grade if measured.formula else None,
        "hardest_sentence": measured.hardest,
        "longest_sentence": measured.longest,
        "longest_sentence_words": measured.longest_words,
        "problems": problems,
    }


def _phrase_json(phrase: "BannedUse") -> JsonObject:
    return {
        "file": phrase.file,
        "language": phrase.language,
        "words": phrase.words,
        "rule": phrase.rule,
        "why": phrase.why,
    }
