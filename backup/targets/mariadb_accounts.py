"""Limited accounts of a MariaDB server, and the rights of other accounts.

- A dump is loaded with a limited account, which has rights on one database only. So a dump cannot
  reach another database, and cannot name another definer.
- Restored data are checked with queries, also by a limited account. So a view that a query reads
  cannot act with the rights of an administrator.
- The account is removed at the end of the block. A killed process may leave its account. Nobody
  knows the password of this account, and the next recovery of the same database removes it. Each
  account has a new name, so that an event of an earlier load does not run with the rights of a
  later account.
- Like every account, a limited account also has the rights of PUBLIC and of anonymous accounts.
- The server may log statements in clear text. So only a hash of the password is sent, if the server
  accepts a hash.
"""

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from backup.sources.client_programs import ProgramFailed
from backup.sources.mariadb.server import MariadbPrograms, identifier, literal
from backup.system.durable_files import make_private_folder
from backup.targets.mariadb_code import execute
from backup.targets.mariadb_dump import Account, unquoted

ALL_RIGHTS, READ_RIGHTS = "ALL PRIVILEGES", "SELECT, SHOW VIEW, EXECUTE"
_FOLDER = "limited"
_PATTERN_CHARACTERS = 64
_ON_DATABASE = re.compile(r"GRANT .+? ON (`(?:[^`]|``)*`)\.(?:\*|`(?:[^`]|``)*`) TO ")
_NO_RIGHT = "GRANT USAGE ON *.* TO "
_GRANT_OPTION = " WITH GRANT OPTION"
# The name of a database in a grant is a pattern. % and _ are wildcards, unless a backslash precedes
# them.
_GRANTED = """SELECT CONCAT(user, '@', host), CONVERT({schema} USING utf8mb4) FROM (
SELECT user, host FROM mysql.db
WHERE CONVERT({schema} USING utf8mb4) COLLATE utf8mb4_general_ci LIKE db
UNION SELECT user, host FROM mysql.tables_priv WHERE db = {schema}
UNION SELECT user, host FROM mysql.columns_priv WHERE db = {schema}
UNION SELECT user, host FROM mysql.procs_priv
WHERE db = CONVERT(_latin1 {schema} USING utf8mb4)) granted LIMIT 1"""


@contextmanager
def limited_account(
    programs: MariadbPrograms, databases: Sequence[str], rights: str, *, purpose: str
) -> Iterator[MariadbPrograms]:
    """Create an account with rights on these databases; remove it at the end.

    `purpose` is the database that is recovered. Accounts that earlier calls for it have left are
    removed too.
    """
    start = f"standfast_{hashlib.sha256(purpose.encode()).hexdigest()[:16]}_"
    (address,), *left = execute(
        programs,
        "SELECT SUBSTRING_INDEX(USER(), '@', -1)",
        f"SELECT user, host FROM mysql.user WHERE LEFT(user, {len(start)}) = '{start}'",  # noqa: S608 - a digest
    )
    name = start + secrets.token_hex(4)
    account = _sql(Account(user=name, host=address))
    # Plugins that check passwords may demand characters of four kinds.
    password = f"aA1!{secrets.token_urlsafe(24)}"
    folder = programs.options.parent / _FOLDER
    make_private_folder(folder)
    try:
        execute(
            programs,
            *(f"DROP USER {_sql(Account(user=user, host=host))}" for user, host in left),
        )
        _create(programs, account, password)
        execute(
            programs,
            *(
                f"GRANT {rights} ON {identifier(_pattern(programs, database))}.* TO {account}"
                for database in databases
            ),
        )
        server = replace(programs.server, user=name, password=lambda: password)
        with server.connect(folder) as limited:
            yield limited
    finally:
        execute(programs, f"DROP USER IF EXISTS {account}", ignores_errors=True)


def _create(programs: MariadbPrograms, account: str, password: str) -> None:
    """Create an account; keep its password out of the server's general log."""
    create = f"CREATE USER {account} IDENTIFIED BY"
    # The hash of mysql_native_password. It is weak, but safe for a long random password.
    digest = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest()  # noqa: S324
    try:
        execute(programs, f"{create} PASSWORD '*{digest.upper()}'")
    except ProgramFailed:  # a plugin that checks passwords makes the server refuse a hash
        execute(programs, "SET sql_log_off = 1", f"{create} '{password}'")


def grant_obstacle(programs: MariadbPrograms, *names: str) -> str:
    """Return which account has rights on one of these database names, or ""."""
    queries = [_GRANTED.format(schema=literal(name)) for name in names]
    if granted := execute(programs, *queries) if queries else []:
        account, name = granted[0]
        return (
            f"account {account} has rights on the name {name}, which the recovery needs. Grant"
            " rights on names of databases without wildcards."
        )
    return ""


def definer_obstacle(programs: MariadbPrograms, definer: Account, database: str) -> str:
    """Return why stored code of a dump must not run as an account, or ""."""
    user, host = literal(definer.user), literal(definer.host)
    found = f"SELECT 1 FROM mysql.user WHERE user = {user} AND host = {host}"  # noqa: S608 - quoted
    if not execute(programs, found):
        return f"its dump has code of the account {definer}, which does not exist"
    for (line,) in execute(programs, f"SHOW GRANTS FOR {_sql(definer)}"):
        if line.startswith(_NO_RIGHT) and _GRANT_OPTION not in line:
            continue
        on = _ON_DATABASE.match(line)
        # Accept a grant in which _ is not escaped: few people escape it, although it then matches
        # any character.
        covered = (_escaped(database), database if "%" not in database else None)
        if on is None or unquoted(on[1]) not in covered:
            return (
                f"its dump has code that runs as {definer}, and this account has rights outside of"
                " the database"
            )
    return ""


def _sql(account: Account) -> str:
    return f"{identifier(account.user)}@{identifier(account.host)}"


def _pattern(programs: MariadbPrograms, database: str) -> str:
    """Return the pattern of a grant that covers one database only."""
    escaped = _escaped(database)
    if len(escaped) <= _PATTERN_CHARACTERS:
        return escaped
    # The escaped name is too long for the server. In the name without escapes, each _ matches any
    # character. So this name must match no other database.
    matching = (
        "SELECT schema_name FROM information_schema.schemata"  # noqa: S608 - quoted
        f" WHERE schema_name LIKE {literal(database)}"
    )
    if execute(programs, matching) != [[database]]:
        raise ProgramFailed(f"the name {database} is too long for a grant of its own")
    return database


def _escaped(database: str) -> str:
    return re.sub(r"([\\_%])", r"\\\1", database)
