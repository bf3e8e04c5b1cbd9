"""MariaDB databases, from a running server into the repository and back."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup.errors import Damaged, SourceFailed, TargetFailed, UnsafePath
from backup.sources import Found
from backup.sources.mariadb.dump_source import MariadbSource
from backup.sources.mariadb.server import MariadbServer
from backup.targets import TargetResult
from backup.targets.mariadb import MariadbTarget
from tests.backup.programs_twin import wrapped
from tests.backup.site import Site
from tests.servers import find_program
from tests.servers.mariadb import Mariadb

pytestmark = pytest.mark.xdist_group("databases")

SCHEMA = (
    """CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(80) CHARACTER SET utf8mb4,
    photo BLOB, at TIMESTAMP(6)) ENGINE=InnoDB""",
    """INSERT INTO customers SELECT seq, CONCAT('Ünal ☎ \\'\\n', seq), UNHEX(MD5(seq)),
    '2026-01-02 03:04:05.678901' FROM seq_1_to_20000""",
    "CREATE TABLE calls (id INT AUTO_INCREMENT PRIMARY KEY, customer INT) ENGINE=InnoDB",
    "INSERT INTO calls (customer) SELECT seq FROM seq_1_to_500",
    "CREATE VIEW names AS SELECT name FROM customers",
    "CREATE TRIGGER next BEFORE INSERT ON calls FOR EACH ROW SET NEW.customer = NEW.customer + 1",
    "CREATE PROCEDURE tidy() DELETE FROM calls WHERE customer IS NULL",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO CALL tidy()",
)
CUSTOMERS = "SELECT id, HEX(name), HEX(photo), at FROM customers ORDER BY id"
CALLS = "SELECT id, customer FROM calls ORDER BY id"
RIGHTS = "SELECT, SHOW VIEW, TRIGGER, EVENT ON *.*"


@pytest.fixture
def shop(mariadb_server: Mariadb) -> Iterator[str]:
    with mariadb_server.database("CHARACTER SET latin1 COLLATE latin1_german2_ci") as name:
        mariadb_server.execute(*SCHEMA, database=name)
        yield name


@pytest.fixture
def spare(shop: str, mariadb_server: Mariadb) -> Iterator[str]:
    """The name of a new database, which is dropped afterwards."""
    yield f"{shop}`2"
    mariadb_server.execute(f"DROP DATABASE IF EXISTS `{shop}``2`")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o700)
    yield folder
    assert list(folder.iterdir()) == []


def server(mariadb: Mariadb, user: str = "root", **more: Any) -> MariadbServer:
    return MariadbServer(host=str(mariadb.socket), user=user, **more)


def reader(mariadb: Mariadb, *grants: str) -> tuple[MariadbServer, str]:
    name, password = mariadb.user(*grants or (RIGHTS,))
    return server(mariadb, name, password=lambda: password), password


def restored(
    site: Site, mariadb: Mariadb, shop: str, into: str, scratch: Path, **more: Any
) -> TargetResult:
    repository = site.repository()
    point = repository.resolve("latest")
    return MariadbTarget(server(mariadb), scratch).restore(
        into, shop, lambda: repository.stream(point, f"shop/{shop}.sql"), **more
    )


def test_database_is_restored_under_another_name(
    site: Site, mariadb_server: Mariadb, shop: str, spare: str, scratch: Path
) -> None:
    as_reader, _ = reader(mariadb_server)
    result = site.back_up(MariadbSource("shop", as_reader, [shop]))
    assert (result.unread, result.files) == ((), 2)
    taken = restored(site, mariadb_server, shop, spare, scratch)
    assert taken.problems_total == 0
    for query in (
        CUSTOMERS,
        CALLS,
        "SELECT COUNT(*) FROM names",
        "SELECT @@collation_database",
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
        "SELECT event_name FROM information_schema.events WHERE event_schema = DATABASE()",
        "SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()",
    ):
        before = mariadb_server.rows(query, database=shop)
        assert before
        assert mariadb_server.rows(query, database=spare) == before


VERSIONED = (
    "CREATE TABLE prices (id INT PRIMARY KEY, price INT) ENGINE=InnoDB WITH SYSTEM VERSIONING",
    "INSERT INTO prices VALUES (1, 10)",
    "UPDATE prices SET price = 20",
    "INSERT INTO prices VALUES (2, 5)",
    "DELETE FROM prices WHERE id = 2",
)
HISTORY = "SELECT *, row_start, row_end FROM prices FOR SYSTEM_TIME ALL ORDER BY id, row_start"


def test_versioned_table_is_restored_with_history(
    site: Site, mariadb_server: Mariadb, shop: str, spare: str, scratch: Path
) -> None:
    mariadb_server.execute(*VERSIONED, database=shop)
    as_reader, _ = reader(mariadb_server)
    source = MariadbSource("shop", as_reader, [shop])
    assert source.obstacles(scratch) == []
    assert site.back_up(source).complete
    restored(site, mariadb_server, shop, spare, scratch)
    before = mariadb_server.rows(HISTORY, database=shop)
    assert len(before) == 3
    assert mariadb_server.rows(HISTORY, database=spare) == before


def test_undumpable_history_is_reported_and_rows_kept(
    tmp_path: Path, site: Site, mariadb_server: Mariadb, shop: str, spare: str, scratch: Path
) -> None:
    real = find_program("mariadb-dump")
    assert real is not None
    script = 'case "$*" in *--help*) ;; *--dump-history*) exit 2;; *) exec "$REAL" "$@";; esac'
    programs = wrapped(tmp_path / "bin", Path(real).parent, {"mariadb-dump": script})
    by_transaction = (
        """CREATE TABLE orders (id INT PRIMARY KEY,
        a BIGINT UNSIGNED GENERATED ALWAYS AS ROW START,
        b BIGINT UNSIGNED GENERATED ALWAYS AS ROW END,
        PERIOD FOR SYSTEM_TIME (a, b)) ENGINE=InnoDB WITH SYSTEM VERSIONING""",
    )
    cases = {
        "Install mariadb-dump of MariaDB 10.11": (
            server(mariadb_server, programs=programs),
            VERSIONED,
        ),
        "keeps it by transactions": (server(mariadb_server), by_transaction),
    }
    for message, (one, tables) in cases.items():
        mariadb_server.execute(*tables, database=shop)
        source = MariadbSource("shop", one, [shop])
        (obstacle,) = source.obstacles(scratch)
        assert (obstacle.prevents, message in obstacle.problem) == (True, True)
        result = site.back_up(source)
        (lacking,) = result.unread
        assert (lacking.path, message in lacking.reason) == (f"shop/{shop}.sql", True)
        restored(site, mariadb_server, shop, spare, scratch, replace=True)
        now = "SELECT * FROM prices"
        assert mariadb_server.rows(now, database=spare) == mariadb_server.rows(now, database=shop)


def test_a_changed_row_costs_little(site: Site, mariadb_server: Mariadb, shop: str) -> None:
    source = MariadbSource("shop", server(mariadb_server), [shop])
    first = site.back_up(source)
    mariadb_server.execute("UPDATE customers SET name = 'new' WHERE id = 9000", database=shop)
    second = site.back_up(source)
    assert second.bytes_read > 500_000
    assert second.bytes_new < first.bytes_new / 2


def test_all_but_system_databases_are_backed_up(
    site: Site, mariadb_server: Mariadb, shop: str
) -> None:
    with mariadb_server.database() as left_out:
        source = MariadbSource("all", server(mariadb_server), exclude_databases=[left_out])
        assert site.back_up(source).complete
    repository = site.repository()
    names = {entry.text for entry in repository.entries(repository.resolve("latest"))}
    assert {"all/users.grants", f"all/{shop}.sql"} <= names
    assert not names & {"all/mysql.sql", "all/sys.sql", f"all/{left_out}.sql"}


def test_dump_is_of_one_moment_during_writes(
    site: Site, mariadb_server: Mariadb, shop: str, spare: str, scratch: Path
) -> None:
    mariadb_server.execute(
        "CREATE TABLE accounts (id INT PRIMARY KEY, amount INT) ENGINE=InnoDB",
        "INSERT INTO accounts VALUES (1, 100), (2, 100)",
        database=shop,
    )
    move = (
        "BEGIN; UPDATE accounts SET amount = amount - 1 WHERE id = 1;"
        " INSERT INTO calls (customer) VALUES (1);"
        " UPDATE accounts SET amount = amount + 1 WHERE id = 2; COMMIT;"
    )
    has_ended = threading.Event()

    def move_money() -> None:
        while not has_ended.is_set():
            mariadb_server.execute(move * 20, database=shop)

    writer = threading.Thread(target=move_money)
    writer.start()
    try:
        assert site.back_up(MariadbSource("shop", server(mariadb_server), [shop])).complete
    finally:
        has_ended.set()
        writer.join()
    restored(site, mariadb_server, shop, spare, scratch)
    query = """SELECT SUM(amount), 100 - MIN(amount) - (SELECT COUNT(*) - 500 FROM calls)
    FROM accounts"""
    assert mariadb_server.rows(query, database=spare) == [["200", "0"]]


def test_password_is_in_private_file_nothing_on_disk(
    tmp_path: Path, site: Site, mariadb_server: Mariadb, shop: str, scratch: Path
) -> None:
    noted = tmp_path / "noted"
    real = find_program("mariadb-dump")
    assert real is not None
    script = f'printf "%s\\n" "$*" >> {noted}; env >> {noted}; exec "$REAL" "$@"'
    names = ("mariadb", "mariadb-dump")
    programs = wrapped(tmp_path / "bin", Path(real).parent, dict.fromkeys(names, script))
    name, password = mariadb_server.user(RIGHTS)
    as_reader = server(mariadb_server, name, password=lambda: password, programs=programs)
    source = MariadbSource("shop", as_reader, [shop])
    with source.opened(scratch, site.clock) as opened:
        for found in opened.scan():
            if isinstance(found, Found) and found.kind == "file":
                with opened.read(found) as content:
                    while content.readinto(memoryview(bytearray(100_000))):
                        (options,) = scratch.iterdir()
                        assert options.stat().st_mode & 0o077 == 0
                        assert options.stat().st_size < 1000
    arguments = noted.read_text()
    assert "--single-transaction" in arguments
    assert "--system=users" in arguments
    assert password not in arguments
    assert password not in repr(as_reader)


@pytest.mark.parametrize("lines", [1, 40, 10_000])
def test_dump_cut_after_a_statement_is_discarded(
    tmp_path: Path, site: Site, mariadb_server: Mariadb, shop: str, lines: int
) -> None:
    real = find_program("mariadb-dump")
    assert real is not None
    # A script that runs the program on another machine ends with its own exit status.
    script = f'"$REAL" "$@" | head -n {lines} | sed "$ d"'
    programs = wrapped(tmp_path / "bin", Path(real).parent, {"mariadb-dump": script})
    name, password = mariadb_server.user(RIGHTS)
    as_reader = server(mariadb_server, name, password=lambda: password, programs=programs)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "note.txt").write_text("who called")
    result = site.back_up(MariadbSource("shop", as_reader, [shop]), tmp_path / "beside")
    problems = {item.path: item.reason for item in result.unread}
    for file in (f"shop/{shop}.sql", "shop/users.grants"):
        assert "mariadb-dump: it ended with success" in problems[file]
    repository = site.repository()
    left = [entry.text for entry in repository.entries(repository.resolve("latest"))]
    assert left == ["files1", "files1/note.txt", "shop"]


@pytest.mark.parametrize("lacking", ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"])
def test_missing_right_fails_only_its_source(
    tmp_path: Path, scratch: Path, site: Site, mariadb_server: Mariadb, shop: str, lacking: str
) -> None:
    rights = [right for right in ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT") if right != lacking]
    as_stranger, password = reader(mariadb_server, f"{', '.join(rights)} ON *.*")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "note.txt").write_text("kept")
    source = MariadbSource("shop", as_stranger, [shop], users=False)
    result = site.back_up(source, tmp_path / "tree")
    problems = {item.path: item.reason for item in result.unread}
    if lacking == "SELECT":
        assert "source shop: " in problems["shop"]
    else:
        assert f"lacks {lacking} on database {shop}" in problems["shop"]
    assert password not in str(problems)
    site.restore("latest", tmp_path / "out")
    assert (tmp_path / "out" / "files1" / "note.txt").read_text() == "kept"
    assert source.obstacles(scratch)[0].prevents


def test_rights_on_the_database_are_sufficient(
    site: Site, mariadb_server: Mariadb, shop: str, scratch: Path
) -> None:
    pattern = shop.replace("_", "\\_")
    as_reader, _ = reader(
        mariadb_server,
        f"SELECT, SHOW VIEW, TRIGGER, EVENT, SHOW CREATE ROUTINE ON `{pattern}`.*",
    )
    source = MariadbSource("shop", as_reader, users=False)
    assert source.obstacles(scratch) == []
    assert site.back_up(source).complete
    repository = site.repository()
    names = [entry.text for entry in repository.entries(repository.resolve("latest"))]
    assert names == ["shop", f"shop/{shop}.sql"]
    dump = b"".join(repository.stream(repository.resolve("latest"), names[1]))
    assert b"PROCEDURE `tidy`" in dump


def test_nontransactional_tables_are_reported_before_the_backup(
    mariadb_server: Mariadb, shop: str, scratch: Path
) -> None:
    mariadb_server.execute("CREATE TABLE moving (n INT) ENGINE=MyISAM", database=shop)
    (found,) = MariadbSource("shop", server(mariadb_server), [shop]).obstacles(scratch)
    assert (found.prevents, f"{shop}.moving" in found.problem) == (False, True)


def test_a_missing_program_database_or_server_is_named(
    tmp_path: Path, site: Site, mariadb_server: Mariadb, scratch: Path
) -> None:
    (tmp_path / "empty").mkdir()
    cases = {
        "Install the package mariadb-client": server(mariadb_server, programs=tmp_path / "empty"),
        "database absent: it does not exist": server(mariadb_server),
        "source shop: mariadb ended with 1": MariadbServer(host=str(tmp_path / "s"), user="root"),
    }
    for message, one in cases.items():
        with (
            pytest.raises(SourceFailed, match=message),
            MariadbSource("shop", one, ["absent"]).opened(scratch, site.clock),
        ):
            pass


def test_incompatible_server_is_named_before_the_dump(
    tmp_path: Path, site: Site, mariadb_server: Mariadb, shop: str, scratch: Path
) -> None:
    real = find_program("mariadb")
    assert real is not None
    # The answer of the MySQL server of that version.
    script = 'case "$*" in *"VERSION()"*) echo 5.6.24;; *) exec "$REAL" "$@";; esac'
    programs = wrapped(tmp_path / "bin", Path(real).parent, {"mariadb": script})
    source = MariadbSource("shop", server(mariadb_server, programs=programs), [shop])
    (obstacle,) = source.obstacles(scratch)
    assert "MySQL 5.6.24, but mariadb-dump supports 5.7" in obstacle.problem
    with (
        pytest.raises(SourceFailed, match="own mysqldump"),
        source.opened(scratch, site.clock),
    ):
        pytest.fail("it was opened")


def test_nonempty_database_is_refused_or_replaced_completely(
    site: Site, mariadb_server: Mariadb, shop: str, scratch: Path
) -> None:
    assert site.back_up(MariadbSource("shop", server(mariadb_server), [shop])).complete
    before = mariadb_server.rows(CALLS, database=shop)
    mariadb_server.execute("DELETE FROM calls", "CREATE TABLE newer (n INT)", database=shop)
    with pytest.raises(UnsafePath, match=f"{shop} is not empty"):
        restored(site, mariadb_server, shop, shop, scratch)
    assert mariadb_server.rows(CALLS, database=shop) == []
    restored(site, mariadb_server, shop, shop, scratch, replace=True)
    assert mariadb_server.rows(CALLS, database=shop) == before
    assert mariadb_server.rows("SHOW TABLES LIKE 'newer'", database=shop) == []


def test_a_database_of_routines_only_is_not_empty(
    site: Site, mariadb_server: Mariadb, shop: str, spare: str, scratch: Path
) -> None:
    assert site.back_up(MariadbSource("shop", server(mariadb_server), [shop])).complete
    name = spare.replace("`", "``")
    mariadb_server.execute(f"CREATE DATABASE `{name}`")
    mariadb_server.execute("CREATE PROCEDURE tidy() SELECT 'mine'", database=spare)
    with pytest.raises(UnsafePath, match="is not empty"):
        restored(site, mariadb_server, shop, spare, scratch)
    assert mariadb_server.rows("CALL tidy()", database=spare) == [["mine"]]
    assert mariadb_server.rows("SHOW TABLES", database=spare) == []
    restored(site, mariadb_server, shop, spare, scratch, replace=True)
    assert mariadb_server.rows(CALLS, database=spare) == mariadb_server.rows(CALLS, database=shop)


def test_damaged_vault_is_noticed_before_any_drop(
    mariadb_server: Mariadb, shop: str, spare: str, scratch: Path
) -> None:
    def damaged() -> Iterator[bytes]:
        yield b"CREATE TABLE half (n INT);\n" * 2
        raise Damaged("a pack is not what was written")

    target = MariadbTarget(server(mariadb_server), scratch)
    before = mariadb_server.rows(CUSTOMERS, database=shop)
    with pytest.raises(Damaged):
        target.restore(shop, shop, damaged, replace=True)
    assert mariadb_server.rows(CUSTOMERS, database=shop) == before
    with pytest.raises(Damaged):
        target.restore(spare, shop, damaged)
    assert [spare] not in mariadb_server.rows("SHOW DATABASES")


def test_refused_statement_is_named_without_data(
    mariadb_server: Mariadb, spare: str, scratch: Path
) -> None:
    sql = b"CREATE TABLE t (n INT PRIMARY KEY);\nINSERT INTO t VALUES (4711), (4711);\n"
    target = MariadbTarget(server(mariadb_server), scratch)
    with pytest.raises(TargetFailed, match=r"error 1062 \(23000\) in line 2") as refused:
        target.restore(spare, spare, lambda: iter([sql]))
    assert "4711" not in str(refused.value)
    assert [spare] not in mariadb_server.rows("SHOW DATABASES")


def test_oversize_row_names_the_setting_to_raise(
    mariadb_server: Mariadb, spare: str, scratch: Path
) -> None:
    ((largest,),) = mariadb_server.rows("SELECT @@GLOBAL.max_allowed_packet")
    sql = b"SET @row = '%s';\n" % (b"x" * int(largest))
    target = MariadbTarget(server(mariadb_server), scratch)
    with pytest.raises(TargetFailed, match=r"line 1 .*max_allowed_packet"):
        target.restore(spare, spare, lambda: iter([sql]))
    assert [spare] not in mariadb_server.rows("SHOW DATABASES")


def test_users_are_restored_with_grants_and_passwords(
    site: Site, mariadb_server: Mariadb, shop: str, scratch: Path
) -> None:
    clerk, password = mariadb_server.user(f"SELECT ON {shop}.calls")
    mariadb_server.execute("CREATE ROLE IF NOT EXISTS clerks", f"GRANT clerks TO {clerk}@localhost")
    as_reader, _ = reader(mariadb_server)
    assert site.back_up(MariadbSource("shop", as_reader, [shop])).complete
    mariadb_server.execute(f"DROP USER {clerk}@localhost", "DROP ROLE clerks")
    repository = site.repository()
    point = repository.resolve("latest")
    taken = MariadbTarget(server(mariadb_server), scratch).restore_globals(
        lambda: repository.stream(point, "shop/users.grants")
    )
    assert taken.problems == ()
    with server(mariadb_server, clerk, password=lambda: password).connect(scratch) as programs:
        assert programs.column(f"SELECT COUNT(*) FROM {shop}.calls") == ["500"]
        assert any("clerks" in grant for grant in programs.column("SHOW GRANTS"))
    mariadb_server.execute(f"DROP USER {clerk}@localhost")  # other tests restore users, too
