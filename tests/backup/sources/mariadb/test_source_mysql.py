"""MySQL, simulated by recorded answers of 9.7.4 and its own programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup.errors import SourceFailed
from backup.sources.mariadb.dump_source import MariadbSource
from backup.sources.mariadb.server import MariadbServer
from tests.backup.site import Site
from tests.servers.mariadb import Mariadb

# Answers of MySQL 9.7.4 and its programs, for a database with generated columns and a role.
VERSION = "{} Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
EVERYTHING = "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON *.* TO `reader`@`localhost`"
ON_SHOP = """GRANT USAGE ON *.* TO `reader`@`localhost`
GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `shop`.* TO `reader`@`localhost`"""
SHOW_ROUTINE = "GRANT SHOW_ROUTINE,SYSTEM_USER ON *.* TO `reader`@`localhost`"
CLIENT = """case "$*" in
--version) echo "{program}";;
*"SELECT VERSION()"*) echo "{server}";;
*schemata*) printf 'shop\\tutf8mb4\\tutf8mb4_0900_ai_ci\\n';;
*"SHOW GRANTS"*) cat <<'END'
{grants}
END
;;
*generation_expression*) printf 'shop\\tcustomers\\nshop\\torders\\n';;
*role_edges*) echo 1;;
esac"""
DUMP = """case "$*" in
--version) echo "{program}";;
*--help*) echo "{helps}";;
*) echo "$@" >> "{noted}"; echo "-- of MySQL"; echo "-- Dump completed";;
esac"""


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir(mode=0o700)
    yield folder
    assert list(folder.iterdir()) == []


def mysql(
    folder: Path,
    *,
    names: tuple[str, str] = ("mysql", "mysqldump"),
    server: str = "9.7.4-2",
    grants: str = EVERYTHING,
    helps: str = "  --users             Dump user accounts as logical definitions",
    **more: Any,
) -> MariadbServer:
    """Make a server with recorded program output; `noted` lists the dumps."""
    folder.mkdir()
    client, dump = names
    scripts = {
        client: CLIENT.format(program=VERSION.format(client), server=server, grants=grants),
        dump: DUMP.format(program=VERSION.format(dump), helps=helps, noted=folder / "noted"),
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return MariadbServer(**{"host": "/run/s.sock", "user": "reader", "programs": folder, **more})


def test_mysql_programs_dump_database_and_users(tmp_path: Path, site: Site, scratch: Path) -> None:
    source = MariadbSource("shop", mysql(tmp_path / "bin"))
    assert source.obstacles(scratch) == []
    assert site.back_up(source).complete
    database, users = (tmp_path / "bin" / "noted").read_text().splitlines()
    assert database.endswith("--set-gtid-purged=OFF -- shop")
    assert "--single-transaction" in database
    assert "--users --single-transaction --set-gtid-purged=OFF" in users
    site.restore("latest", tmp_path / "out")
    first = (tmp_path / "out" / "shop" / "shop.sql").read_text().splitlines()[0]
    assert first == "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;"


def test_mariadb_dump_of_mysql_makes_no_complete_point(
    tmp_path: Path, site: Site, scratch: Path
) -> None:
    source = MariadbSource("shop", mysql(tmp_path / "bin", names=("mariadb", "mariadb-dump")))
    generated, roles = source.obstacles(scratch)
    assert "values into the generated columns of customers and 1 more tables" in generated.problem
    assert "accepts no role that mariadb-dump wrote" in roles.problem
    for told in (generated, roles):
        assert told.prevents
        assert "set `programs` to a folder with MySQL's own mysql and mysqldump" in told.problem
    result = site.back_up(source)
    assert sorted(item.path for item in result.unread) == ["shop/shop.sql", "shop/users.grants"]
    assert result.files == 2  # the dumps are kept, because a MariaDB server could load them


@pytest.mark.parametrize(
    ("host", "tls", "ours", "theirs"),
    [
        ("db.example.com", None, "--ssl --ssl-verify-server-cert", "--ssl-mode=VERIFY_IDENTITY"),
        (
            "db.example.com",
            "verify",
            "--ssl --ssl-verify-server-cert",
            "--ssl-mode=VERIFY_IDENTITY",
        ),
        ("db.example.com", "require", "--ssl --skip-ssl-verify-server-cert", "--ssl-mode=REQUIRED"),
        ("db.example.com", "disable", "--skip-ssl", "--ssl-mode=DISABLED --get-server-public-key"),
        ("127.0.0.1", None, "--skip-ssl-verify-server-cert", "--ssl-mode=PREFERRED"),
        ("/run/s.sock", None, "--skip-ssl-verify-server-cert", "--ssl-mode=PREFERRED"),
    ],
)
def test_each_makers_programs_get_own_tls_options(
    tmp_path: Path, scratch: Path, host: str, tls: Any, ours: str, theirs: str
) -> None:
    of_mariadb = ("mariadb", "mariadb-dump")
    for names, words in ((of_mariadb, ours), (("mysql", "mysqldump"), theirs)):
        one = mysql(tmp_path / names[0], names=names, host=host, tls=tls)
        with one.connect(scratch) as programs:
            for program in ("mariadb", "mariadb-dump"):
                _, defaults, *options = programs.command(program, "--quick").arguments
                assert defaults.startswith("--defaults-file=")
                assert " ".join(options).startswith(words)
                assert options[-1] == "--quick"


def test_older_mariadb_is_not_taken_for_mysql(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    said = "mysqldump  Ver 10.19 Distrib 10.3.39-MariaDB, for debian-linux-gnu (x86_64)"
    (folder / "mysqldump").write_text(f"#!/bin/sh\necho '{said}'\n")
    (folder / "mysqldump").chmod(0o755)
    one = MariadbServer(host="/run/s.sock", user="reader", programs=folder)
    with one.connect(scratch) as programs:
        assert not programs.is_mysql("mariadb-dump")


def test_mysqls_own_dump_of_a_mariadb_is_refused(tmp_path: Path, scratch: Path) -> None:
    source = MariadbSource("shop", mysql(tmp_path / "bin", server="11.8.9-MariaDB-0+deb13u1"))
    (obstacle,) = source.obstacles(scratch)
    assert "the server is MariaDB 11.8.9" in obstacle.problem
    assert "Install the package mariadb-client" in (obstacle.problem)


def test_mysqldump_without_users_is_reported(tmp_path: Path, scratch: Path) -> None:
    one = mysql(tmp_path / "bin", helps="  -u, --user=name     User for login")
    (obstacle,) = MariadbSource("shop", one).obstacles(scratch)
    assert "this mysqldump cannot dump the users" in obstacle.problem
    assert "`users = false`" in obstacle.problem
    assert MariadbSource("shop", one, users=False).obstacles(scratch) == []


def test_database_rights_alone_would_lose_routines(
    tmp_path: Path, site: Site, scratch: Path
) -> None:
    lacks = MariadbSource("shop", mysql(tmp_path / "lacks", grants=ON_SHOP), users=False)
    (obstacle,) = lacks.obstacles(scratch)
    message = "may not see the routines of database shop"
    assert message in obstacle.problem
    assert "GRANT SHOW_ROUTINE ON *.*" in obstacle.problem
    with pytest.raises(SourceFailed, match=message), lacks.opened(scratch, site.clock):
        pytest.fail("it was opened")
    one = mysql(tmp_path / "has", grants=f"{ON_SHOP}\n{SHOW_ROUTINE}")
    assert MariadbSource("shop", one, users=False).obstacles(scratch) == []


def test_right_revoked_on_one_database_is_missing_there(tmp_path: Path, scratch: Path) -> None:
    revoked = "REVOKE TRIGGER ON `shop`.* FROM `reader`@`localhost`"
    one = mysql(tmp_path / "bin", grants=f"{EVERYTHING}\n{revoked}")
    (obstacle,) = MariadbSource("shop", one).obstacles(scratch)
    assert "lacks TRIGGER on database shop" in obstacle.problem
    elsewhere = mysql(tmp_path / "other", grants=f"{EVERYTHING}\n{revoked}".replace("shop", "old"))
    assert MariadbSource("shop", elsewhere).obstacles(scratch) == []


@pytest.mark.parametrize(
    ("more", "problems"),
    [((), 1), (("SELECT ON mysql.*",), 0), (("SELECT ON mysql.proc",), 0)],
)
def test_hidden_mariadb_routines_are_reported(
    mariadb_server: Mariadb, scratch: Path, more: tuple[str, ...], problems: int
) -> None:
    with mariadb_server.database() as shop:
        name, password = mariadb_server.user(
            f"SELECT, SHOW VIEW, TRIGGER, EVENT ON `{shop}`.*", *more
        )
        one = MariadbServer(host=str(mariadb_server.socket), user=name, password=lambda: password)
        found = MariadbSource("shop", one, [shop], users=False).obstacles(scratch)
    assert len(found) == problems
    assert all(f"routines of database {shop}" in obstacle.problem for obstacle in found)
