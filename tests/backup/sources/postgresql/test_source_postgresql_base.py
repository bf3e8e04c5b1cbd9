"""PostgreSQL base backups and log archives, restored to a moment."""

import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup.errors import SourceFailed
from backup.sources.postgresql.base_backup import PostgresqlBaseSource
from backup.sources.postgresql.server import PostgresqlServer
from backup.sources.postgresql.wal_archive import PostgresqlWalSource
from tests.backup.programs_twin import wrapped
from tests.backup.site import Site
from tests.servers import wait_until
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster, cluster_folder, hand_over, told

pytestmark = pytest.mark.xdist_group("postgresql")


@pytest.fixture
def cluster(postgres_server: Postgres) -> Iterator[Cluster]:
    """A running server that archives its log into `spool`."""
    with cluster_folder(postgres_server.programs) as cluster:
        cluster.initialise()
        spool = cluster.new_folder("spool")
        cluster.configure(
            {
                "archive_mode": "on",
                "archive_command": told("archive_command", "/srv/crm-wal", spool),
            }
        )
        with cluster.started():
            cluster.execute(
                "CREATE ROLE backup LOGIN REPLICATION",
                "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO backup",
                "CREATE TABLE calls (id int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())",
            )
            yield cluster


def spool_of(cluster: Cluster) -> Path:
    return cluster.folder / "spool"


def segments(spool: Path) -> set[str]:
    return {path.name for path in spool.iterdir() if len(path.name) == 24}


def names_of(site: Site, point: str, folder: str) -> set[str]:
    repository = site.repository()
    entries = repository.entries(repository.resolve(point))
    return {entry.text.removeprefix(folder) for entry in entries}


def server(cluster: Cluster, programs: Path | None = None) -> PostgresqlServer:
    return PostgresqlServer(
        host=str(cluster.folder), user="backup", programs=programs or cluster.programs
    )


def base(cluster: Cluster, programs: Path | None = None) -> PostgresqlBaseSource:
    return PostgresqlBaseSource("base", server(cluster, programs), spool_of(cluster))


def wal(cluster: Cluster, wait_seconds: float = 30.0) -> PostgresqlWalSource:
    return PostgresqlWalSource("log", server(cluster), spool_of(cluster), wait_seconds=wait_seconds)


def add(cluster: Cluster, *ids: int) -> datetime:
    """Add rows, one per transaction; return a moment after them."""
    cluster.execute(*(f"INSERT INTO calls VALUES ({number})" for number in ids))
    ((moment,),) = cluster.rows("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


def recovered(postgres: Postgres, base_tar: Path, log: Path, until: datetime | None) -> list[int]:
    """Start a server from a restored base, replay the log, return its rows."""
    with cluster_folder(postgres.programs) as cluster:
        cluster.new_folder("data")
        with tarfile.open(base_tar) as archive:
            archive.extractall(cluster.data, filter="data")
        hand_over(cluster.folder)
        archived = cluster.folder / "log-files"
        archived.mkdir()
        for path in log.iterdir():
            (archived / path.name).write_bytes(path.read_bytes())
        hand_over(archived)
        (cluster.data / "recovery.signal").touch()
        cluster.configure(
            {
                "archive_mode": "off",
                "restore_command": told("restore_command", "/srv/restored-log/log", archived),
                "recovery_target_action": "promote",
            }
        )
        if until is not None:
            cluster.configure({"recovery_target_time": until.isoformat()})
        with cluster.started():
            wait_until(
                lambda: cluster.rows("SELECT pg_is_in_recovery()") == [(False,)], "it is recovered"
            )
            return [number for (number,) in cluster.rows("SELECT id FROM calls ORDER BY id")]


def test_server_is_replayed_to_a_chosen_moment(
    site: Site, postgres_server: Postgres, cluster: Cluster, tmp_path: Path
) -> None:
    add(cluster, 1, 2)
    first = site.back_up(base(cluster))
    assert (first.unread, first.complete) == ((), True)
    moment = add(cluster, 3, 4)
    add(cluster, 5)
    second = site.back_up(wal(cluster), set_name="log")
    assert second.complete
    add(cluster, 6)  # no point contains this row; it is lost with the server
    assert site.restore(first.point, tmp_path / "base").problems == ()
    assert site.restore(second.point, tmp_path / "log").problems == ()
    tar, log = tmp_path / "base" / "base" / "base.tar", tmp_path / "log" / "log"
    assert recovered(postgres_server, tar, log, moment) == [1, 2, 3, 4]
    assert recovered(postgres_server, tar, log, None) == [1, 2, 3, 4, 5]


def test_base_backup_starts_with_its_own_log(
    site: Site, postgres_server: Postgres, cluster: Cluster, tmp_path: Path
) -> None:
    add(cluster, 1, 2)
    result = site.back_up(PostgresqlBaseSource("base", server(cluster)))
    assert (result.complete, result.files) == (True, 1)
    add(cluster, 3)
    site.restore("latest", tmp_path / "out")
    with cluster_folder(postgres_server.programs) as restored:
        restored.new_folder("data")
        with tarfile.open(tmp_path / "out" / "base" / "base.tar") as archive:
            archive.extractall(restored.data, filter="data")
        hand_over(restored.folder)
        restored.configure({"archive_mode": "off"})
        with restored.started():
            assert restored.rows("SELECT id FROM calls ORDER BY id") == [(1,), (2,)]


def test_log_is_pruned_only_after_a_committed_base(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    spool = spool_of(cluster)
    one = base(cluster)
    site.back_up(one)
    one.on_committed()
    kept = segments(spool)
    (spool / "notes.txt").write_text("somebody's")
    add(cluster, 1)
    assert site.back_up(wal(cluster), set_name="log").complete
    assert segments(spool) > kept, "the log by itself is never pruned"
    before = segments(spool)

    # A run in which pg_basebackup fails: the point contains the log, which also stays in the
    # folder.
    script = """case "$*" in *--version*) exec "$REAL" "$@";; esac
    head -c 300000 /dev/zero; exit 1"""
    programs = wrapped(tmp_path / "bin", cluster.programs, {"pg_basebackup": script})
    broken = base(cluster, programs)
    result = site.back_up(broken)
    broken.on_committed()
    problems = {item.path: item.reason for item in result.unread}
    assert set(problems) == {"base", "base/base.tar"}
    assert "pg_basebackup ended with 1" in problems["base/base.tar"]
    assert segments(spool) >= before

    # A run in which pg_basebackup is interrupted and reports no error.
    script = """case "$*" in *--version*) exec "$REAL" "$@";; esac
    "$REAL" "$@" | head -c 3000000"""
    cut = base(cluster, wrapped(tmp_path / "cut", cluster.programs, {"pg_basebackup": script}))
    result = site.back_up(cut)
    cut.on_committed()
    assert any("breaks off before the end" in item.reason for item in result.unread)
    assert segments(spool) >= before

    new = base(cluster)
    second = site.back_up(new)
    assert segments(spool) >= before, "nothing is committed before the caller says so"
    new.on_committed()
    # pg_basebackup does not wait until the server has archived the segment that the base ends in.
    wait_until(lambda: bool(segments(spool)), "the newest segment is archived")
    left = segments(spool)
    assert not left & before
    assert (spool / "notes.txt").exists()
    # The point contains the pruned segments, which are all between the two bases, and later ones.
    assert before <= names_of(site, second.point, "base/wal/")
    # The next point contains the other segments.
    third = site.back_up(wal(cluster), set_name="log")
    assert left <= names_of(site, third.point, "log/")


def test_segments_that_are_known_are_not_read_again(site: Site, cluster: Cluster) -> None:
    add(cluster, 1)
    first = site.back_up(wal(cluster), set_name="log")
    second = site.back_up(wal(cluster), set_name="log")
    assert second.complete
    assert second.files_unchanged == first.files
    assert second.bytes_read <= first.bytes_read


def test_log_of_lost_server_is_incomplete_at_end(
    site: Site, postgres_server: Postgres, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    gone = PostgresqlServer(host=str(tmp_path), user="backup", programs=postgres_server.programs)
    source = PostgresqlWalSource("log", gone, spool)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with (
        pytest.raises(SourceFailed, match="newest changes are missing"),
        source.opened(scratch, site.clock),
    ):
        pass
    segment = spool / ("0" * 23 + "1")
    segment.write_bytes(b"log" * 1000)
    result = site.back_up(source)
    assert (result.files, result.complete) == (1, False)
    assert "newest changes are missing: psql ended with 2" in result.unread[0].reason
    assert result.consistent_at.timestamp() == pytest.approx(segment.stat().st_mtime)


def test_segment_in_progress_is_replayed_to_last_commit(
    site: Site, postgres_server: Postgres, cluster: Cluster, tmp_path: Path
) -> None:
    received = cluster.new_folder("received")
    cluster.execute("SELECT pg_create_physical_replication_slot('vault', true)")
    receiver = cluster.background(
        "pg_receivewal",
        *("-h", str(cluster.folder), "-U", "backup", "-D", str(received), "-S", "vault"),
        *("--synchronous", "--no-password"),
    )
    try:
        add(cluster, 1)
        source = PostgresqlBaseSource("base", server(cluster), received)
        cluster.execute(
            "ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'",
            "SELECT pg_reload_conf()",
        )
        wait_until(lambda: any(received.iterdir()), "the log is received")
        result = site.back_up(source)
        assert result.complete
        # The receiver gets a row at its commit: no segment is switched, and the row is in the
        # .partial file.
        add(cluster, 2)
        second = site.back_up(_receiving(cluster, received), set_name="log")
    finally:
        receiver.terminate()
        receiver.wait(timeout=60)
    assert second.files
    site.restore(result.point, tmp_path / "base")
    site.restore(second.point, tmp_path / "log")
    log = tmp_path / "log" / "log"
    assert any(path.name.endswith(".partial") for path in log.iterdir())
    tar = tmp_path / "base" / "base" / "base.tar"
    assert recovered(postgres_server, tar, log, None) == [1, 2]


def _receiving(cluster: Cluster, folder: Path) -> PostgresqlWalSource:
    """Return a source that cannot connect to the server to switch segments."""
    nowhere = PostgresqlServer(host=str(folder), user="backup", programs=cluster.programs)
    return PostgresqlWalSource("log", nowhere, folder)


def test_missing_base_settings_are_reported_before_the_backup(
    cluster: Cluster, postgres_server: Postgres, tmp_path: Path
) -> None:
    assert base(cluster).obstacles(tmp_path) == []
    assert wal(cluster).obstacles(tmp_path) == []
    cluster.execute("CREATE ROLE nobody LOGIN")
    as_nobody = PostgresqlServer(host=str(cluster.folder), user="nobody", programs=cluster.programs)
    found = PostgresqlBaseSource("base", as_nobody, tmp_path / "absent").obstacles(tmp_path)
    assert "may not replicate" in found[0].problem
    assert ": not found" in found[1].problem
    found = PostgresqlWalSource("log", as_nobody, spool_of(cluster)).obstacles(tmp_path)
    assert "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO nobody" in found[0].problem
    cluster.execute(f"CREATE TABLESPACE other LOCATION '{cluster.new_folder('other')}'")
    (told,) = base(cluster).obstacles(tmp_path)
    assert "tablespaces, which pg_basebackup cannot stream" in told.problem
    with (
        pytest.raises(SourceFailed, match="tablespaces"),
        base(cluster).opened(tmp_path, lambda: datetime.now(UTC)),
    ):
        pass
