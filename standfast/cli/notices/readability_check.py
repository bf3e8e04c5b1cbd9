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
    from standfast.notices.banned_phrases import Said
    from standfast.notices.readability import Measured
    from standfast.notices.template_renderer import Template


@command(
    "check",
    exits={
        ExitStatus.DONE: "the notices are easy to read and say nothing that they should not",
        ExitStatus.FAILED: "one is too hard to read in a language, or says what it should not",
        ExitStatus.USAGE: "there is no such notice, or the extra `readability` is missing",
    },
    example="standfast notice check customers-data-theft",
    needs_ledger=False,
)
@click.argument("name", nargs=-1, metavar="[TEMPLATE]...")
@click.pass_obj
def check(call: Call, name: tuple[str, ...]) -> ExitStatus:
    """Check the readability and banned phrases of notices."""
    from standfast.notices.banned_phrases import banned
    from standfast.notices.readability import measure

    chosen = selected_templates(call, name)
    with call.progress() as tell:
        found = []
        for number, template in enumerate(chosen.values(), 1):
            tell("reading notices", number, len(chosen))
            found.append((template.name, measure(template), banned(template)))
    bad = [name for name, measured, said in found if said or any(one.problems for one in measured)]
    rows = [
        [shown, one.language, *_scored(one), f"{one.longest_words} words at most"]
        for shown, measured, _ in found
        for one in measured
    ]
    lines: list[Line] = [Table(rows=rows)]
    for shown, measured, said in found:
        lines += [f"{shown}: {line}" for line in (*_too_hard(measured), *map(_banned_line, said))]
    checked = counted(len(found), "notice")
    lines.append(
        f"{checked} checked; {len(bad)} to be mended." if bad else f"{checked} checked, all good."
    )
    call.say(
        {
            "notices": [
                {
                    "notice": shown,
                    "languages": [_measured_json(one) for one in measured],
                    "banned": [_said_json(one) for one in said],
                }
                for shown, measured, said in found
            ],
            "is_good": not bad,
            **({"exit_status": int(ExitStatus.FAILED)} if bad else {}),
        },
        lines,
    )
    return ExitStatus.FAILED if bad else ExitStatus.DONE


def selected_templates(call: Call, names: Sequence[str]) -> Mapping[str, "Template"]:
    """Load all notices or those named; UsageError for an unknown one."""
    from standfast.notices.template_folder import read_templates

    config = call.config_if_any()
    there = read_templates(config.notices.templates if config else None)
    for name in names:
        if name not in there:
            raise UsageError(f"there is no notice {name!r}; {known_names_hint(name, there)}")
    return {name: there[name] for name in names} if names else there


def _scored(one: "Measured") -> list[str]:
    if one.formula is None or one.score is None:
        return ["no formula for this language", ""]
    side = "at most" if one.formula.is_grade else "at least"
    return [one.formula.name, f"{one.score:.1f}, {side} {one.formula.limit:g}"]


def _too_hard(measured: "list[Measured]") -> list[str]:
    return [
        f"{one.language}: {problem}; the hardest sentence: {one.hardest}"
        for one in measured
        for problem in one.problems
    ]


def _banned_line(one: "Said") -> str:
    return f"{one.file}: {one.words!r} {one.rule}: {one.why}"


def _measured_json(one: "Measured") -> JsonObject:
    problems: list[Json] = [*one.problems]
    return {
        "language": one.language,
        "formula": one.formula.name if one.formula else None,
        "score": None if one.score is None else f"{one.score:.1f}",
        "limit": f"{one.formula.limit:g}" if one.formula else None,
        "lower_is_easier": one.formula.is_grade if one.formula else None,
        "hardest_sentence": one.hardest,
        "longest_sentence": one.longest,
        "longest_sentence_words": one.longest_words,
        "problems": problems,
    }


def _said_json(one: "Said") -> JsonObject:
    return {
        "file": one.file,
        "language": one.language,
        "words": one.words,
        "rule": one.rule,
        "why": one.why,
    }
