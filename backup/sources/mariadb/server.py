"""A MariaDB or MySQL server as programs reach it: mariadb and mariadb-dump, or MySQL's own.

- MySQL's own `mysql` and `mysqldump` take other options for TLS; a MariaDB before 10.5 has its
  programs by these names, too, so whoever made one is asked of it.
- Nothing is taken from the environment or from anybody's option files; the password stands in a
  file in the run's private folder, which is gone when the block ends.
- Over a network the connection is encrypted and the server's certificate checked, unless the
  options say otherwise.
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
    answer_of,
    bare_environment,
    find_program,
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
_MARIADBS_TLS: Mapping[Tls | None, tuple[str, ...]] = {
    "disable": ("--skip-ssl",),
    "require": ("--ssl", "--skip-ssl-verify-server-cert"),
    "verify": ("--ssl", "--ssl-verify-server-cert"),
    None: ("--skip-ssl-verify-server-cert",),
}
_MYSQLS_TLS: Mapping[Tls | None, tuple[str, ...]] = {
    # Without TLS a password of caching_sha2_password goes out under the key that the server names.
    "disable": ("--ssl-mode=DISABLED", "--get-server-public-key"),
    "require": ("--ssl-mode=REQUIRED",),
    "verify": ("--ssl-mode=VERIFY_IDENTITY",),
    None: ("--ssl-mode=PREFERRED",),
}


@dataclass(frozen=True, kw_only=True)
class MariadbServer:
    """Where a server is and who asks; `host` is a name, or the file of its socket."""

    host: str
    user: str
    port: int = 3306
    password: Callable[[], str] | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: verify, and on this machine as the server offers
    ca_file: Path | None = None
    programs: Path | None = None  # the folder with mariadb-dump and mariadb, or MySQL's own
    hidden: tuple[Path, ...] = ()  # what the programs cannot read

    @contextmanager
    def reached(self, scratch: Path) -> Iterator["MariadbPrograms"]:
        """Make the programs ready; `scratch` is a private folder, and empty again at the end."""
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
                made_by_mysql=cache(_made_by_mysql),
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
        lines = ["[client]", *(f"{key}={_quoted(value)}" for key, value in settings.items())]
        return "\n".join(lines) + "\n"

    def tls_options(self, *, of_mysql: bool) -> tuple[str, ...]:
        """What a program is told about TLS, MySQL's own or MariaDB's."""
        is_here = self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")
        level = self.tls or (None if is_here else "verify")
        return (_MYSQLS_TLS if of_mysql else _MARIADBS_TLS)[level]


@dataclass(frozen=True, kw_only=True)
class MariadbPrograms:
    """Calls of the programs, while the server is reached."""

    server: MariadbServer
    options: Path
    secrets: tuple[str, ...] = field(repr=False)
    made_by_mysql: Callable[[str], bool] = field(repr=False)  # of a path, which is asked once

    def command(self, program: Program, *arguments: str) -> Command:
        """A call of a program with the connection's options."""
        path = self._path(program)
        tls = self.server.tls_options(of_mysql=self.made_by_mysql(path))
        # A statement, or a server, may ask the client for a file of this machine.
        no_files = ("--local-infile=0",) if program == "mariadb" else ()
        # It must be the first: only so nothing else is read.
        return Command(
            arguments=(path, f"--defaults-file={self.options}", *tls, *no_files, *arguments),
            environment=bare_environment(),
            secrets=self.secrets,
            hidden=self.server.hidden,
        )

    def is_of_mysql(self, program: Program) -> bool:
        """Whether a program that is found here is MySQL's own; else it is MariaDB's."""
        return self.made_by_mysql(self._path(program))

    def _path(self, program: Program) -> str:
        return find_program(_NAMES[program], self.server.programs, _PACKAGE)

    def rows(self, sql: str) -> list[list[str]]:
        """The rows of one statement as text; ProgramFailed with what the server said."""
        options = (
            "--batch",
            "--skip-column-names",
            f"--connect-timeout={_CONNECT_SECONDS}",
            f"--execute={sql}",
        )
        answer = answer_of(self.command("mariadb", *options)).decode()
        lines = answer.removesuffix("\n").split("\n") if answer else []
        return [[_ESCAPED.sub(_plain, cell) for cell in line.split("\t")] for line in lines]

    def column(self, sql: str) -> list[str]:
        """The first column of a statement's rows."""
        return [row[0] for row in self.rows(sql)]


def _made_by_mysql(path: str) -> bool:
    if Path(path).name.startswith("mariadb"):
        return False
    command = Command(arguments=(path, "--version"), environment=bare_environment())
    return b"MariaDB" not in answer_of(command)


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """A text as SQL writes it, whatever the server takes a backslash for."""
    return f"X'{text.encode().hex()}'"


def _plain(escaped: re.Match[str]) -> str:
    return _CONTROL.get(escaped.group(1), escaped.group(1))


def _quoted(value: str) -> str:
    if any(character in value for character in "\n\r\0"):
        raise ProgramFailed("a host, user or password of the server has a line break; mend it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
