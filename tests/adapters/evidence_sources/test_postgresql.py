"""The log and audit tables of a real PostgreSQL server as evidence."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.postgresql import PostgresqlEvidence
from standfast.config.sections.evidence_sources import PostgresqlEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.collected_file import CollectedFile
from standfast.evidence.manifest import Item
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    SealedContract,
    order,
    sealed_folder,
    sealed_manifest,
)
from tests.adapters.settings import settings_of
from tests.pages.blocks import blocks
from tests.servers.postgres import Postgres, postgres_server
from tests.servers.postgres_cluster import Cluster, cluster_folder

__all__ = ["postgres_server"]
QUERIES = {
    "sign-ins": "SELECT * FROM sign_ins WHERE at BETWEEN %(since)s AND %(until)s "
    "AND account = ANY(%(accounts)s) ORDER BY at"
}
HOSTILE = "caf\u00e9 \x1b[2J =HYPERLINK() " + "x" * 10_000_000


def rights_of_the_page() -> list[str]:
    """Return the statements of docs/evidence.md that create the role."""
    (rights,) = [block.text for block in blocks("docs/evidence.md") if block.language == "sql"]
    return rights.splitlines()


@pytest.fixture(scope="module")
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    with cluster_folder(postgres_server.programs) as cluster:
        cluster.initialise()
        cluster.configure(
            {
                "logging_collector": "on",
                "log_destination": "csvlog,jsonlog",
                "log_connections": "all",
                "log_statement": "ddl",
            }
        )
        with cluster.started():
            cluster.execute(
                "CREATE TABLE sign_ins (at timestamptz, account text, note text)",
                "INSERT INTO sign_ins VALUES"
                " (now() - interval '5 minutes', 'm.keller', 'ours'),"
                " (now() - interval '5 minutes', 'a.silva', 'of another account'),"
                " (now() - interval '9 days', 'm.keller', 'too old'),"
                " (now() + interval '1 hour', 'm.keller', 'after the freeze')",
                *rights_of_the_page(),
                "GRANT SELECT ON sign_ins TO evidence",
                "CREATE ROLE stranger LOGIN",
            )
            yield cluster


def source_of(cluster: Cluster, **settings: object) -> PostgresqlEvidence:
    values = {"host": str(cluster.folder), "accounts": ["m.keller"], "queries": QUERIES}
    config = settings_of(PostgresqlEvidenceConfig, **{**values, **settings})
    now = datetime.now(UTC)  # the records have the time of the server's clock
    return PostgresqlEvidence("logs", config, replace(CONTEXT, clock=lambda: now))


def items_of(custody: Custody) -> dict[str, Item]:
    return {item.path: item for item in sealed_manifest(custody).items}


def table(custody: Custody, name: str) -> bytes:
    return (sealed_folder(custody) / "files/tables" / f"{name}.csv").read_bytes()


class TestPostgresqlEvidence(SealedContract):
    @pytest.fixture
    def source(self, cluster: Cluster) -> PostgresqlEvidence:
        return source_of(cluster)


def test_log_files_are_read_over_the_protocol(cluster: Cluster, custody: Custody) -> None:
    cluster.execute("CREATE TABLE stolen_customers ()")
    source_of(cluster).collect(order(), custody)
    logs = sealed_folder(custody) / "files/log"
    kinds = {file.suffix: file for file in logs.glob("postgresql-*")}
    lines = kinds[".json"].read_text().splitlines()
    assert any("stolen_customers" in json.loads(line).get("message", "") for line in lines)
    with kinds[".csv"].open(newline="") as file:
        assert any("stolen_customers" in field for row in csv.reader(file) for field in row)
    original = next((cluster.data / "log").glob("*.json")).read_bytes()
    assert original.startswith(kinds[".json"].read_bytes())


def test_rows_of_window_and_accounts_are_kept(cluster: Cluster, custody: Custody) -> None:
    source_of(cluster, logs=False).collect(order(), custody)
    header, *rows = csv.reader(table(custody, "sign-ins").decode().splitlines())
    assert header == ["at", "account", "note"]
    assert [row[1:] for row in rows] == [["m.keller", "ours"]]


def test_hostile_rows_are_kept_unchanged(cluster: Cluster, custody: Custody) -> None:
    text = HOSTILE.replace("x" * 10_000_000, "") + "' || repeat('x', 10000000) || '"
    queries = {"notes": f"SELECT '{text}' AS note"}
    source_of(cluster, logs=False, queries=queries).collect(order(), custody)
    assert HOSTILE.encode() in table(custody, "notes")


def test_failing_query_is_named_and_rest_collected(cluster: Cluster, custody: Custody) -> None:
    queries = {
        "broken": "SELECT * FROM nowhere",
        "half": "SELECT 1 / (100000 - n) FROM generate_series(1, 100000) AS n",
        "long": "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
        **QUERIES,
    }
    source = source_of(cluster, logs=False, queries=queries, limit_mib=1)
    result = source.collect(order(), custody)
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
    items = items_of(custody)
    assert "42P01" in items["/tables/broken.csv"].reason
    assert "22012" in items["/tables/half.csv"].reason
    assert "1 MiB" in items["/tables/long.csv"].reason
    assert items["/tables/sign-ins.csv"].reason == ""
    assert len(table(custody, "long")) <= 1024 * 1024


def test_writing_query_changes_nothing(cluster: Cluster, custody: Custody) -> None:
    queries = {"bad": "DELETE FROM sign_ins RETURNING *", **QUERIES}
    source_of(cluster, logs=False, queries=queries, user="postgres").collect(order(), custody)
    assert "25006" in items_of(custody)["/tables/bad.csv"].reason
    assert cluster.rows("SELECT count(*) FROM sign_ins") == [(4,)]


def test_role_without_rights_is_named(cluster: Cluster, custody: Custody) -> None:
    source = source_of(cluster, user="stranger")
    assert source.collect(order(), custody).state is EffectState.FAILED
    with pytest.raises(Unavailable):
        source.describe()


def test_rotated_log_is_recorded_as_incomplete(
    cluster: Cluster, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cluster.data / "log/first.csv").write_bytes(b"first\n")
    (cluster.data / "log/second.csv").write_bytes(b"second, before its rotation\n")
    write = CollectedFile.write

    def rotate_and_write(file: CollectedFile, block: bytes) -> None:
        if block == b"first\n":
            (cluster.data / "log/second.csv").write_bytes(b"second\n")
        write(file, block)

    monkeypatch.setattr(CollectedFile, "write", rotate_and_write)
    assert source_of(cluster).collect(order(), custody).facts["incomplete"] == 1
    assert items_of(custody)["/log/second.csv"].size_bytes == len(b"second\n")
    assert items_of(custody)["/log/second.csv"].reason


def test_unreachable_server_is_tried_again(custody: Custody, tmp_path: Path) -> None:
    config = settings_of(PostgresqlEvidenceConfig, host=str(tmp_path))
    result = PostgresqlEvidence("logs", config, CONTEXT).collect(order(), custody)
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds
