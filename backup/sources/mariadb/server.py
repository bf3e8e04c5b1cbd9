"""MariaDB or MySQL server, reached through its client programs.

- MySQL's `mysql` and `mysqldump` need other TLS options than MariaDB's programs. MariaDB before
  10.5 has programs with the same names. So the output of `--version` decides which options are
  used.
- Settings in the environment, and option files of users, are ignored. The password is in a file in
  the private folder of the run. The file is removed when the block ends.
- Over a network, the connection is encrypted and the server's certificate is verified, unless
  `MariadbServer.tls` has another value.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from backup.sources.client_programs import (
    Command,
    ProgramFailed,
    bare_environment,
    find_program,
    program_output,
)

Tls = Literal["disable", "require", "verify"]
Program = Literal["mariadb", "mariadb-dump"]

_CONNECT_SECONDS = 15
_ESCAPED = re.compile(r"\\(.)")
_CONTROL: Mapping[str, str] = {"n": "\n", "t": "\t", "0": "\0"}
_NAMES: Mapping[Program, tuple[str, ...]] = {
    "mariadb": ("mariadb", "mysql"),
    "mariadb-dump": ("mariadb-dump", "mysqldump"),
}
_PACKAGE = "mariadb-client, or for MySQL its own mysql-client"
_MARIADB_TLS: Mapping[Tls | None, tuple[str, ...]] = {
    "disable": ("--skip-ssl",),
    "require": ("--ssl", "--skip-ssl-verify-server-cert"),
    "verify": ("--ssl", "--ssl-verify-server-cert"),
    None: ("--skip-ssl-verify-server-cert",),
}
_MYSQL_TLS: Mapping[Tls | None, tuple[str, ...]] = {
    # Without TLS, the client encrypts a password for caching_sha2_password with a public key that
    # it requests from the server.
    "disable": ("--ssl-mode=DISABLED", "--get-server-public-key"),
    "require": ("--ssl-mode=REQUIRED",),
    "verify": ("--ssl-mode=VERIFY_IDENTITY",),
    None: ("--ssl-mode=PREFERRED",),
}


@dataclass(frozen=True, kw_only=True)
class MariadbServer:
    """Address and user of a server; `host` is a name or a socket file."""

    host: str
    user: str
    port: int = 3306
    password: Callable[[], str] | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: verify, or for a server on this machine, TLS if it offers TLS
    ca_file: Path | None = None
    programs: Path | None = None  # the folder with mariadb-dump and mariadb, or MySQL's programs
    hidden: tuple[Path, ...] = ()  # paths that the programs cannot read

    @contextmanager
    def connect(self, scratch: Path) -> Iterator["MariadbPrograms"]:
        """Prepare the programs, with an options file in the private `scratch`."""
        password = None if self.password is None else self.password()
        options = scratch / "mariadb.cnf"
        try:
            descriptor = os.open(options, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._options(password))
            yield MariadbPrograms(
                server=self,
                options=options,
                secrets=() if password is None else (password,),
                is_mysql_program=cache(_is_mysql_program),
            )
        finally:
            options.unlink(missing_ok=True)

    def _options(self, password: str | None) -> str:
        is_socket = self.host.startswith("/")
        settings = {
            "user": self.user,
            "socket" if is_socket else "host": self.host,
            "default-character-set": "utf8mb4",
        }
        if not is_socket:
            settings |= {"port": str(self.port), "protocol": "tcp"}
        if password is not None:
            settings["password"] = password
        if self.ca_file is not None:
            settings["ssl-ca"] = str(self.ca_file)
        lines = ["[client]", *(f"{key}={_quote(value)}" for key, value in settings.items())]
        return "\n".join(lines) + "\n"

    def tls_options(self, *, mysql: bool) -> tuple[str, ...]:
        """Return the TLS options for a program of MySQL or MariaDB."""
        is_local = self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")
        level = self.tls or (None if is_local else "verify")
        return (_MYSQL_TLS if mysql else _MARIADB_TLS)[level]


@dataclass(frozen=True, kw_only=True)
class MariadbPrograms:
    """The client programs, while the connection options exist."""

    server: MariadbServer
    options: Path
    secrets: tuple[str, ...] = field(repr=False)
    # Returns whether the program at a path is MySQL's; the result is cached.
    is_mysql_program: Callable[[str], bool] = field(repr=False)

    def command(self, program: Program, *arguments: str) -> Command:
        """Return a command of a program, with the options of the connection."""
        path = self._path(program)
        tls = self.server.tls_options(mysql=self.is_mysql_program(path))
        # Without this option, a statement or the server could read files of this machine.
        no_files = ("--local-infile=0",) if program == "mariadb" else ()
        # `--defaults-file` must be the first option, so that no other option file is read.
        return Command(
            arguments=(path, f"--defaults-file={self.options}", *tls, *no_files, *arguments),
            environment=bare_environment(),
            secrets=self.secrets,
            hidden=self.server.hidden,
        )

    def is_mysql(self, program: Program) -> bool:
        """Return whether the installed program is MySQL's, not MariaDB's."""
        return self.is_mysql_program(self._path(program))

    def _path(self, program: Program) -> str:
        return find_program(_NAMES[program], self.server.programs, _PACKAGE)

    def rows(self, sql: str) -> list[list[str]]:
        """Return the rows of a statement as text; raise `ProgramFailed` on error."""
        options = (
            "--batch",
            "--skip-column-names",
            f"--connect-timeout={_CONNECT_SECONDS}",
            f"--execute={sql}",
        )
        return parse_rows(program_output(self.command("mariadb", *options)))

    def column(self, sql: str) -> list[str]:
        """Return the first column of a statement's rows."""
        return [row[0] for row in self.rows(sql)]


def parse_rows(output: bytes) -> list[list[str]]:
    """Return the rows that the client wrote with `--batch`."""
    answer = output.decode()
    lines = answer.removesuffix("\n").split("\n") if answer else []
    return [[_ESCAPED.sub(_unescape, cell) for cell in line.split("\t")] for line in lines]


def _is_mysql_program(path: str) -> bool:
    if Path(path).name.startswith("mariadb"):
        return False
    command = Command(arguments=(path, "--version"), environment=bare_environment())
    return b"MariaDB" not in program_output(command)


def identifier(name: str) -> str:
    """Return a name quoted for SQL."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Return a text as an SQL literal in hexadecimal, without escapes."""
    return f"X'{text.encode().hex()}'"


def _unescape(escaped: re.Match[str]) -> str:
    return _CONTROL.get(escaped.group(1), escaped.group(1))


def _quote(value: str) -> str:
    if any(character in value for character in "\n\r\0"):
        raise ProgramFailed(
            "host, user or password of the server: it contains a line break. Correct it."
        )
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
