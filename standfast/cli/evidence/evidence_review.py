"""`standfast evidence review`: one timeline of the sealed logs.

An incident copies logs and seals them: a signature covers the list of the copied files.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import second
from standfast.plurals import counted, first_names
from standfast.records import JsonObject, moment

if TYPE_CHECKING:
    from standfast.evidence.review.indicator_list import IndicatorList
    from standfast.evidence.review.yara_rules import YaraRules
    from standfast.usecases.evidence.log_review import LogReview

_MAX_SHOWN_ROWS = 20
_MAX_TEXT_LENGTH = 120  # characters


@command(
    "review",
    exits={
        ExitStatus.DONE: "the timeline is shown; it may be empty",
        ExitStatus.FAILED: "no evidence is valid, or a file cannot be written",
        ExitStatus.USAGE: "there is no such incident, source or evidence, or a value is not valid",
        ExitStatus.PARTIAL: "a folder was disposed of or does not open; the others are reviewed",
        ExitStatus.REFUSED: "the person may not see values in clear, or no folder can be opened",
        ExitStatus.DAMAGED: "a log or key differs from its seal; the others are reviewed",
    },
    example="standfast evidence review inc-2026-0001 --account m.keller@example.com --csv rows.csv",
)
@click.argument("incident", help="The incident.")
@click.option("--account", "accounts", multiple=True, help="Only records of this account.")
@click.option(
    "--address", "addresses", multiple=True, help="Only records from this address or network."
)
@click.option(
    "--from", "since", default="", metavar="TIME", help="From this time on (ISO 8601, UTC)."
)
@click.option("--until", default="", metavar="TIME", help="Up to this time (ISO 8601, UTC).")
@click.option("--source", "sources", multiple=True, help="Only records of this source.")
@click.option("--contains", default="", metavar="TEXT", help="Only records with this text.")
@click.option(
    "--indicators",
    type=FilePath(),
    metavar="FILE",
    help="Only records with an indicator of this list or STIX 2.1 bundle, or of these YARA rules.",
)
@click.option("--csv", type=FilePath(), help="Write all selected records to a new CSV file.")
@click.option("--html", type=FilePath(), help="Write a page with charts and findings, masked.")
@click.option(
    "--limit", type=click.IntRange(0, 100_000), default=100, help="Show at most this many records."
)
@click.option("--unmask", is_flag=True, help="Show values in clear; needs --as and --reason.")
@click.option("--reason", default="", help="The reason for --unmask; it is recorded.")
@click.option(
    "--identity",
    type=FilePath(),
    metavar="FILE",
    help="The age identity or SSH key of a custodian, if the evidence is encrypted.",
)
@sign_in_options("Sign in as this person, who has a role.")
@click.pass_obj
def review(
    call: Call,
    incident: str,
    accounts: tuple[str, ...],
    addresses: tuple[str, ...],
    since: str,
    until: str,
    sources: tuple[str, ...],
    contains: str,
    indicators: Path | None,
    csv: Path | None,
    html: Path | None,
    limit: int,
    unmask: bool,
    reason: str,
    identity: Path | None,
) -> ExitStatus:
    """Show the records of the sealed logs in order of time.

    Card numbers, social-security numbers and mail addresses are masked. Accounts have pseudonyms.
    """
    from standfast.usecases.evidence.log_review import InClear, ReviewRequest, review_logs
    from standfast.usecases.evidence.log_review_report import write_review_page
    from standfast.usecases.evidence.log_review_selection import read_selection

    if unmask != bool(reason.strip()):
        raise UsageError("arguments: --unmask and --reason TEXT need each other. Give both")
    if unmask and html:
        raise UsageError("arguments: a page is always masked. Leave out --unmask or --html")
    if unmask and call.as_person is None:
        raise UsageError("arguments: --unmask needs --as PERSON, a person with a role")
    selection = read_selection(
        accounts=accounts,
        addresses=addresses,
        since=since,
        until=until,
        sources=sources,
        contains=contains,
    )
    with call.installation() as installation:
        person = signed_in(call, installation)
        request = ReviewRequest(
            selection=selection,
            limit=limit,
            viewer=person or "",
            in_clear=InClear(person=person, reason=reason.strip()) if unmask and person else None,
            identity=identity,
            csv=csv.absolute() if csv else None,
            indicators=_read_indicators(indicators) if indicators else None,
        )
        found = review_logs(installation, incident, request)
        if html:
            write_review_page(installation, incident, found, html.absolute())
    document = found.as_json()
    return call.print_result(
        {"incident": incident, **document},
        _lines(found, document, incident, csv),
        found.exit_status,
    )


def _read_indicators(path: Path) -> "IndicatorList | YaraRules":
    from standfast.evidence.review.indicator_list import read_indicator_list
    from standfast.evidence.review.yara_rules import SUFFIXES, load_rules

    is_rules = path.is_dir() or path.suffix in SUFFIXES
    return load_rules(path, "--indicators") if is_rules else read_indicator_list(path)


def _lines(found: "LogReview", document: Any, incident: str, csv: Path | None) -> list[Line]:
    rows = [
        [
            second(moment(str(row["at"])), "UTC") + ("?" if row["zone_assumed"] else ""),
            str(row["source"]),
            str(row["account"]),
            str(row["address"]),
            _event(row),
            f"{_name(row['path'])}:{row['line']}",
        ]
        for row in found.rows
    ]
    headings = ("time", "source", "account", "address", "event", "log")
    lines: list[Line] = [Table(headings=headings, rows=rows)] if rows else []
    more = found.selected - len(rows)
    if document["findings"]:
        headings = ("finding", "account", "address", "first", "lines", "threshold")
        cells = [
            [
                item["rule"],
                item["account"],
                item["address"],
                second(moment(item["first"]), "UTC"),
                _lines_of(item),
                item["threshold"],
            ]
            for item in document["findings"][:_MAX_SHOWN_ROWS]
        ]
        lines += ["", Table(headings=headings, rows=cells)]
    lines += [
        "",
        f"{counted(found.selected, 'record')} selected of {document['records']:,} read"
        + (f"; --limit hides {more:,}" if more else "")
        + (f"; {csv} has all of them" if csv else "")
        + ("." if found.is_masked else ", IN CLEAR."),
    ]
    lines += [
        f"NOT PARSED: {counted(log['lines'], 'line')} of {log['source']}, {_name(log['path'])}, "
        f"from line {log['first'][0]} on"
        for log in document["unparsed"][:_MAX_SHOWN_ROWS]
    ]
    lines += [
        f"CUT: {counted(log['lines'], 'record')} of {log['source']}, {_name(log['path'])}, from "
        f"line {log['first'][0]} on: too long to be read whole"
        for log in document["cut"][:_MAX_SHOWN_ROWS]
    ]
    if (others := len(document["cut"]) - _MAX_SHOWN_ROWS) > 0:
        lines.append(f"CUT: records of {others:,} more logs; see --json")
    if (others := len(document["unparsed"]) - _MAX_SHOWN_ROWS) > 0:
        lines.append(f"NOT PARSED: lines of {others:,} more logs; see --json")
    if (more := len(document["findings"]) - _MAX_SHOWN_ROWS) > 0:
        lines.append(f"{more:,} more findings; see --json")
    if not found.has_detections:
        lines.append(
            "NO DETECTIONS: only lines that may contain an indicator were read. For detections, "
            "leave out --indicators."
        )
    if not found.is_complete:
        lines.append(
            "INCOMPLETE: the logs have too many accounts, addresses or events; some were not "
            "followed or not masked."
        )
    if found.indicators_sha256:
        lines.append(f"Indicators: the file or rule set with SHA-256 {found.indicators_sha256}")
    if found.not_applied:
        lines.append(f"NOT APPLIED: indicators {first_names(found.not_applied, _MAX_SHOWN_ROWS)}")
    lines += [f"LEFT OUT: {each.folder}: {each.reason}" for each in found.left_out]
    lines += [
        f"DAMAGED: {log['source']}, {_name(log['path'])}: {log['problem']}"
        for log in document["altered"][:_MAX_SHOWN_ROWS]
    ]
    if found.exit_status is ExitStatus.DAMAGED:
        lines.append(f"To see the cause: `standfast evidence verify {incident}`.")
    return lines


def _event(row: JsonObject) -> str:
    """Return action, object and result of a log record, or else its text."""
    if not row["action"]:
        text = str(row["text"])
        return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}…"
    return " ".join(filter(None, (str(row[name]) for name in ("action", "object", "result"))))


def _lines_of(finding: Any) -> str:
    first = finding["lines"][0]
    return f"{finding['count']:,} from {_name(first['path'])}:{first['line']}"


def _name(path: object) -> str:
    return str(path).rpartition("/")[2]
