"""Affected people from frozen logs: the owners of the accessed records."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.errors import UsageError
from standfast.evidence.review.log_timeline import Selection
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence import affected_records
from standfast.usecases.evidence.affected_records import add_affected_by_records
from standfast.usecases.incidents.lifecycle import advance, open_incident
from standfast.usecases.notices.affected_people import Listing, listed_people
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK as KEEP_LOGS
from tests.usecases.installations import enrol_people, furnish, installation_at

SETTINGS = """
[playbooks]
folder = "playbooks"

[audiences.holders]
kind = "csv"
path = "holders.csv"
why = "you are our customer"

[audiences.holders.columns]
address = "email"
key = "id"

[review.records.crm]
pattern = '/customers/(?P<record>\\d+)'
exposed = "name; iban"
audience = "holders"

[review.records.call]
pattern = ',call,(?P<record>\\d+)'
exposed = "recording"
"""
LOG = "".join(
    f'10.0.0.7 - {account} [25/Nov/2026:0{hour}:13:50 +0000] "GET /customers/{key} X" 200 -\n'
    for account, hour, key in [("bob", 2, 7), ("bob", 2, 7), ("bob", 3, 9), ("eve", 3, 8)]
)
BY_BOB = Selection(accounts=frozenset({"bob"}))


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    config_file = furnish(tmp_path)
    config_file.write_text(config_file.read_text() + SETTINGS)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "keep-logs.yaml").write_text(KEEP_LOGS)
    (tmp_path / "holders.csv").write_text("id,email\n7,ana@example.net\n8,cem@example.net\n")
    (tmp_path / "logs" / "web.log").write_text(LOG)
    with installation_at(config_file) as installation:
        enrol_people(installation)
        yield installation


@pytest.fixture
def incident(installation: Installation) -> str:
    opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
    advance(installation, opened.incident, "direct")
    return opened.incident


def test_people_of_used_records_are_listed(installation: Installation, incident: str) -> None:
    found = add_affected_by_records(installation, incident, Listing(), BY_BOB)
    (added,) = found.added
    assert (added.report.people, added.report.cannot_be_notified) == (2, 1)
    assert added.report.fields == {"name": 2, "iban": 2}
    (person,) = listed_people(installation, incident)
    assert (person.address, person.key) == ("ana@example.net", "7")
    again = add_affected_by_records(installation, incident, Listing(), BY_BOB)
    assert again.added[0].report.people == 2


def test_rows_of_an_audit_table_name_records(installation: Installation, tmp_path: Path) -> None:
    # As the source `postgresql` writes the result of a query.
    rows = "at,account,action,kind,record\n" + "".join(
        f"2026-11-25 02:13:50.5+00,{account},{action},call,{key}\n"
        for account, action, key in [("bob", "read", 4), ("bob", "change", 5), ("eve", "read", 6)]
    )
    (tmp_path / "logs" / "audit.csv").write_text(rows)
    opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
    advance(installation, opened.incident, "direct")
    found = add_affected_by_records(installation, opened.incident, Listing(), BY_BOB)
    assert [added.listed.people for added in found.added if added.listed] == [2, 2]
    assert found.added[0].report.fields == {"recording": 2}


@pytest.mark.parametrize("selection", [Selection(), Selection(accounts=frozenset({"nobody"}))])
def test_review_without_people_lists_nobody(
    installation: Installation, incident: str, selection: Selection
) -> None:
    with pytest.raises(UsageError):
        add_affected_by_records(installation, incident, Listing(), selection)


@pytest.mark.parametrize("limit", ["MOST_RECORDS", "MOST_CHARACTERS"])
def test_too_many_records_are_listed_in_parts(
    installation: Installation, incident: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affected_records, limit, 1)
    with pytest.raises(UsageError):
        add_affected_by_records(installation, incident, Listing(), BY_BOB)
    until = datetime(2026, 11, 25, 3, tzinfo=UTC)
    for part in (replace(BY_BOB, until=until), replace(BY_BOB, since=until)):
        (added,) = add_affected_by_records(installation, incident, Listing(), part).added
    assert added.report.people == 2
