"""A review of frozen logs: one timeline, masked, sealed files only."""

import csv
import ipaddress
import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from standfast import __version__
from standfast.config.sections.review import RecordPatternConfig
from standfast.errors import ExitStatus, Refused, StandfastError, UsageError
from standfast.evidence.custody import Act, read_custody
from standfast.evidence.item_file import FILES_FOLDER
from standfast.evidence.review.indicator_list import read_indicator_list
from standfast.evidence.review.log_timeline import Selection
from standfast.evidence.review.yara_rules import load_rules
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import frozen, verify_frozen
from standfast.usecases.evidence.log_review import InClear, LogReview, ReviewRequest, review_logs
from standfast.usecases.evidence.log_review_report import write_review_page
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.servers import need, refused_to_root
from tests.usecases.backup_installation import full_disk
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK as KEEP_LOGS
from tests.usecases.installations import enrol_newcomer, enrol_people, furnish, installation_at

LOGS = {
    "web.log": (
        '203.0.113.9 - alice@example.net [25/Nov/2026:02:13:44 +0000] "GET /pay?pan='
        '4111111111111111 HTTP/1.1" 200 5\n'
        '10.0.0.7 - bob [25/Nov/2026:02:13:50 +0000] "GET /customers/7 HTTP/1.1" 200 5\n'
        "no record\n"
    ),
    "app.jsonl": (
        '{"time": "2026-11-25T02:13:47Z", "user": "bob", '
        '"action": "=cmd\\u001b[2J", "ip": "10.0.0.7"}\n'
    ),
}


class Case:
    """An incident that froze the logs."""

    def __init__(self, installation: Installation, logs: Path) -> None:
        self.installation, self._logs = installation, logs
        for log in logs.iterdir():
            log.unlink()
        self.freeze(**LOGS)

    def freeze(self, **logs: str) -> None:
        """Freeze the logs for another incident; some have other content."""
        for name, content in logs.items():
            (self._logs / name).write_text(content)
        opened = open_incident(self.installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
        self.incident = opened.incident
        advance(self.installation, opened.incident, "direct")
        (self.sealed,) = (found.folder for found in frozen(self.installation.config, self.incident))

    def review(self, selection: Selection | None = None, **more: Any) -> LogReview:
        request = ReviewRequest(selection=selection or Selection(), **more)
        return review_logs(self.installation, self.incident, request)

    def events(self) -> list[Any]:
        timeline = self.installation.ledger.timeline(self.incident)
        return [event for event in timeline if event.action == "evidence.reviewed"]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    config_file = furnish(tmp_path)
    config_file.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "keep-logs.yaml").write_text(KEEP_LOGS)
    with installation_at(config_file) as installation:
        enrol_people(installation)
        yield installation


@pytest.fixture
def case(installation: Installation, tmp_path: Path) -> Case:
    return Case(installation, tmp_path / "logs")


def test_timeline_is_ordered_across_logs(case: Case) -> None:
    found = case.review()
    assert [row["line"] for row in found.rows] == [1, 1, 2]
    assert "1111 HTTP" in str(found.rows[0]["text"])
    assert "41111111" not in str(found.as_json())
    (unparsed,) = [log for log in found.logs if log.unparsed]
    assert (unparsed.unparsed, unparsed.first_unparsed) == (1, [3])
    assert found.exit_status is ExitStatus.DONE


def test_account_is_followed_by_its_pseudonym(case: Case) -> None:
    alice, bob, again = (str(row["account"]) for row in case.review().rows)
    assert alice != bob == again
    shown = str(case.review().as_json())
    assert not re.search(r"\b(bob|alice)\b", shown)  # a pseudonym may contain "bob"
    assert "***@example.net" not in shown
    for name in (bob, "bob"):
        assert case.review(Selection(accounts=frozenset({name}))).selected == 2
    assert case.review(Selection(contains="bob")).selected == 0
    assert case.review(Selection(contains=bob)).selected == 2
    case.freeze(**{"web.log": LOGS["web.log"]})  # in another incident, with other pseudonyms
    assert str(case.review().rows[1]["account"]) not in (alice, bob)


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(accounts=frozenset({"alice@example.net"})), 1),
        (Selection(networks=(ipaddress.ip_network("10.0.0.0/24"),)), 2),
        (Selection(since=datetime(2026, 11, 25, 2, 13, 47, tzinfo=UTC)), 2),
        (Selection(until=datetime(2026, 11, 25, 2, 13, 47, tzinfo=UTC)), 2),
        (Selection(contains="customers/"), 1),
    ],
)
def test_selection_limits_what_is_shown(case: Case, selection: Selection, selected: int) -> None:
    found = case.review(selection, limit=1)
    assert (found.selected, len(found.rows)) == (selected, 1)


def test_value_is_masked_before_it_is_cut(case: Case, tmp_path: Path) -> None:
    card, mail = "4111111111111111", f"{'m' * 280}@example.net"  # the masked form is short
    lines = [
        f"2026-11-25T02:13:44Z {before} {'x' * count} {card}"
        for before, counts in (("", range(440, 1_000, 7)), (f"{mail} {mail}", range(160, 200, 2)))
        for count in counts
    ]
    lines += [json.dumps({"time": 5, "user": "é" * count + card}) for count in range(960, 1_040, 5)]
    case.freeze(**{"web.log": "\n".join(lines)})
    table = tmp_path / "rows.csv"
    shown = str(case.review(csv=table).as_json()) + table.read_text()
    assert "411111" not in shown
    assert all(len(str(row["text"])) <= 500 for row in case.review().rows)


def test_search_does_not_reveal_masked_values(case: Case, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("m.keller\n")
    case.freeze(**{"web.log": "2026-11-25T02:13:44Z opened by m.keller@example.net\n"})
    contains, indicators = Selection(contains="m.keller"), read_indicator_list(listed)
    assert case.review(contains).selected == 0
    assert case.review(indicators=indicators).selected == 0
    assert case.review(Selection(contains="@example.net")).selected > 0
    in_clear = InClear(person="lee", reason="court order")
    assert case.review(contains, in_clear=in_clear).selected == 1
    assert case.review(indicators=indicators, in_clear=in_clear).selected == 1


def test_search_reads_all_lines_only_to_mask(case: Case, tmp_path: Path) -> None:
    case.freeze(**{"web.log": LOGS["web.log"] + "2026-11-25T02:14:00Z bob from 198.51.100.7\n"})
    listed = tmp_path / "list"

    def search(value: str, **more: Any) -> tuple[LogReview, bool]:
        listed.write_text(value)
        found = case.review(indicators=read_indicator_list(listed), **more)
        return found, bool(found.as_json()["detections_applied"])

    found, has_detections = search("198.51.100.7")
    assert [row["line"] for row in found.rows] == [4]
    assert has_detections
    assert "bob" not in str(found.as_json())  # it is the account of another record
    found, has_detections = search("198.51.100.7", in_clear=InClear(person="lee", reason="court"))
    assert ([row["line"] for row in found.rows], has_detections) == ([4], False)
    found, has_detections = search("192.0.2.1")
    assert (found.rows, found.exit_status, has_detections) == ([], ExitStatus.DONE, False)
    page = write_review_page(case.installation, case.incident, found, tmp_path / "p.html")
    assert "No detections were applied" in page.read_text()
    (log,) = (case.sealed / FILES_FOLDER).rglob("web.log")
    log.chmod(0o600)
    log.write_text(log.read_text().replace("bob", "eve"))  # lines that are not parsed differ too
    assert search("192.0.2.1")[0].exit_status is ExitStatus.DAMAGED


def test_rules_select_records_and_name_their_hash(case: Case, tmp_path: Path) -> None:
    need("yara_x", "requirements/extras/yara.txt")
    file = tmp_path / "rules.yar"
    rule = 'rule %s { strings: $text = "%s" condition: $text }'
    file.write_text(f"{rule % ('card', '4111111111111111')} {rule % ('access', '/customers/')}")
    rules = load_rules(file, "rules")
    found = case.review(indicators=rules)
    assert [row["indicators"] for row in found.rows] == ["access"]
    assert found.as_json()["indicators_sha256"] == rules.digest
    (event,) = case.events()
    assert event.detail["indicators_sha256"] == rules.digest
    in_clear = InClear(person="lee", reason="court order")
    assert case.review(indicators=rules, in_clear=in_clear).selected == 2


def test_record_of_any_year_is_on_the_page(case: Case, tmp_path: Path) -> None:
    case.freeze(**{"web.log": "9999-12-31T23:59:59Z a\n1970-01-01T00:00:00Z b\n"})
    page = write_review_page(case.installation, case.incident, case.review(), tmp_path / "p.html")
    assert "1970-01-01" in page.read_text()


def test_cut_records_are_counted(case: Case) -> None:
    case.freeze(**{"web.log": f"2026-11-25T02:13:44Z {'x' * 70_000}\n"})
    found = case.review()
    assert found.cut == 1
    assert [row["cut"] for row in found.rows] == [True, False]


def test_unknown_source_is_refused(case: Case) -> None:
    with pytest.raises(UsageError):
        case.review(Selection(sources=frozenset({"elsewhere"})))


def test_csv_has_no_formula(case: Case, tmp_path: Path) -> None:
    written = tmp_path / "rows.csv"
    case.review(csv=written, limit=0)
    with written.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["action"] for row in rows] == ["GET", "'=cmd\N{REPLACEMENT CHARACTER}[2J", "GET"]
    assert written.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError):
        case.review(csv=written)


def test_other_accounts_are_masked_everywhere(case: Case, tmp_path: Path) -> None:
    case.freeze(
        **{
            "web.log": LOGS["web.log"] + "2026-11-25T02:14:00Z call passed from bob to alice.\n",
            "desk.log": f"2026-11-25T02:15:00Z {'x ' * 248}alice\nno record\n",
        }
    )
    table, page = tmp_path / "rows.csv", tmp_path / "page.html"
    found = case.review(csv=table)
    write_review_page(case.installation, case.incident, found, page)
    shown = str(found.as_json()) + table.read_text() + page.read_text()
    assert "call passed from account-" in shown
    assert " alic" not in shown
    for name in ("bob", "alice", "from bo"):
        assert not re.search(rf"\b{name}\b", shown)
        assert case.review(Selection(contains=name)).selected == 0
    in_clear = case.review(in_clear=InClear(person="lee", reason="court order"))
    assert "from bob to alice" in str(in_clear.as_json())


def test_review_in_clear_is_recorded(case: Case) -> None:
    found = case.review(in_clear=InClear(person="lee", reason="court order"))
    assert found.rows[0]["account"] == "alice@example.net"
    line = read_custody(case.sealed)[-1]
    assert (line.act, line.who) == (Act.VIEWED, "lee")
    assert "court order" in line.detail
    (event,) = case.events()
    assert (event.actor, event.detail["reason"]) == ("lee", "court order")
    assert event.detail["version"] == __version__
    assert [*event.detail["custody"].values()] == [line.hash]
    assert verify_frozen(case.installation, case.incident).exit_status is ExitStatus.DONE


def test_person_without_role_sees_masked_values(case: Case) -> None:
    enrol_newcomer(case.installation)
    with pytest.raises(Refused):
        case.review(in_clear=InClear(person="newcomer", reason="curious"))
    assert case.events() == []


def test_altered_log_is_left_out(case: Case) -> None:
    (log,) = (case.sealed / FILES_FOLDER).rglob("app.jsonl")
    log.chmod(0o600)
    log.write_text(LOGS["app.jsonl"].replace("bob", "eve"))
    found = case.review()
    assert found.exit_status is ExitStatus.DAMAGED
    assert [row["path"] for row in found.rows] == [found.rows[0]["path"]] * 2
    assert str(found.rows[0]["path"]).endswith("web.log")


def test_full_disk_ends_review_until_space_is_free(
    installation: Installation, tmp_path: Path
) -> None:
    custody = installation.config.custody.folder
    with full_disk(custody, "1m") as is_mounted:
        if not is_mounted:
            refused_to_root("no file system may be mounted here")
        case = Case(installation, tmp_path / "logs")
        lines = [f"2026-11-25T02:13:44Z app: {random.randbytes(40).hex()}" for _ in range(2_000)]
        case.freeze(**{"web.log": "\n".join(lines)})
        others = custody / "others"
        others.write_bytes(bytes(shutil.disk_usage(custody).free - 32_768))
        with pytest.raises(StandfastError, match="No space left"):
            case.review()
        assert len(case.events()) == 1  # recorded; the records could not be sorted
        others.unlink()
        assert case.review().records == len(lines) + 1
        assert verify_frozen(installation, case.incident).exit_status is ExitStatus.DONE


def test_page_is_masked_and_shows_counts(case: Case, tmp_path: Path) -> None:
    page = tmp_path / "review.html"
    write_review_page(case.installation, case.incident, case.review(), page)
    text = page.read_text()
    assert "alice" not in text
    assert "account-" in text
    assert "2026-11-25 02:00: 3" in text  # the only column of the chart
    assert "10.0.0.7" in text
    in_clear = case.review(in_clear=InClear(person="lee", reason="court order"))
    with pytest.raises(UsageError):
        write_review_page(case.installation, case.incident, in_clear, page)


def find_records(case: Case, pattern: str) -> None:
    """Configure the pattern of the records `crm`."""
    settings = RecordPatternConfig(pattern=pattern, exposed="name")
    review = case.installation.config.review.model_copy(update={"records": {"crm": settings}})
    config = case.installation.config.model_copy(update={"review": review})
    case.installation = replace(case.installation, config=config)


@pytest.mark.parametrize(
    ("pattern", "shown", "before"),
    [
        (r"opened (?P<record>[\w.]+)@", "crm ***", ""),
        (r"opened (?P<record>[\w.]+)@", "crm ***", 300 * "x "),
        (r"opened (?P<record>\S+)", "crm m***@example.net", ""),
        (r"example[.](?P<record>\w+)", "crm net", ""),
        (r"pan=\d{4}(?P<record>\d+)", "crm ***", ""),
    ],
)
def test_record_does_not_reveal_masked_values(
    case: Case, pattern: str, shown: str, before: str
) -> None:
    text = f"2026-11-25T02:13:44Z {before}opened m.keller@example.net pan=4111111111111111\n"
    case.freeze(**{"web.log": text})
    find_records(case, pattern)
    assert shown in [row["records"] for row in case.review().rows]
    in_clear = case.review(in_clear=InClear(person="lee", reason="court order"))
    (clear,) = filter(None, (str(row["records"]) for row in in_clear.rows))
    assert clear.removeprefix("crm ") in text


def test_used_records_are_named_and_counted(case: Case, tmp_path: Path) -> None:
    find_records(case, r"/customers/(?P<record>\d+)")
    found = case.review()
    assert [row["records"] for row in found.rows] == ["", "", "crm 7"]
    page = write_review_page(case.installation, case.incident, found, tmp_path / "page.html")
    text = page.read_text()
    assert "Records of customers that were used" in text
    assert text.count("2026-11-25 02:00: 1") == 1
