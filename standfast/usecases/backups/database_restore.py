"""Restore of dumps into a running server: address, databases, outcome.

The code for each kind of server is in `backup/targets/`. Addresses are in `service_sources.py`.

Rules
- A restore request names the server by a configured source, or by a secret that contains its
  address.
- Each dump is loaded into the database of the same name. If the address names a database, exactly
  one dump is allowed and is loaded into that database.
- If the restore of one database fails, the other databases are still restored.
- The client programs that load dumps cannot read the private key that decrypts the backups, because
  an intruder may have written the dumps.
- Roles and users are restored only on request, because their old passwords become valid again. They
  come from the same sources as the chosen dumps. They are loaded before the dumps, which refer to
  them. If the server refused a statement about them, they are loaded again after the dumps.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backup.format.canonical_json import to_path_text
from backup.records import Progress, RecoveryPoint
from backup.repository import Repository
from backup.sources.database_dumps import database_name
from backup.system import landlock
from backup.targets import Target, TargetResult
from standfast.config.value_types import SecretReference
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.records import Json, timestamp
from standfast.usecases.backups.restore_warnings import (
    IncompletePoint,
    damaged_after,
    is_dated_ahead,
    lacking,
)
from standfast.usecases.backups.service_sources import Address, address_from_secret, address_of
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    private_key_paths,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded_if_possible

Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class DumpRestoreOutcome:
    """The result of one dump."""

    path: str
    taken: TargetResult | None  # the result of the load into the server; None after an error
    error: str = ""
    error_status: ExitStatus = ExitStatus.DONE

    @property
    def exit_status(self) -> ExitStatus:
        if self.taken is None:
            return self.error_status
        return ExitStatus.PARTIAL if self.taken.problems_total else ExitStatus.DONE

    def as_json(self) -> dict[str, Json]:
        taken = self.taken
        return {
            "path": self.path,
            "database": taken.database if taken else None,
            "bytes": taken.bytes if taken else 0,
            "problems": list(taken.problems) if taken else [],
            "problems_total": taken.problems_total if taken else 0,
            "kept_as": taken.kept_as if taken else None,
            "error": self.error,
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class DatabaseRestoreOutcome:
    """The result of a restore into a server."""

    run: str
    point: RecoveryPoint
    into: str  # the name of the source, or the reference of the secret address
    kind: str
    dumps: tuple[DumpRestoreOutcome, ...]
    lacking: IncompletePoint  # data that the recovery point lacks or contains only partly
    newer_damaged: tuple[str, ...] = ()  # damaged points that are newer than the chosen point
    is_dated_ahead: bool = False  # the point chosen as latest has a time in the future
    is_confined: bool  # the kernel prevented the client programs from reading private keys
    ledger_problem: str = ""  # the error that prevented the record in the ledger, or ""
    started: datetime
    ended: datetime

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED for a damaged vault; otherwise the common status of all dumps.

        If the dumps have different statuses, the status is PARTIAL. Data that the recovery point
        lacks is treated as a partial dump.
        """
        found = {dump.exit_status for dump in self.dumps}
        if self.lacking.is_any:
            found.add(ExitStatus.PARTIAL)
        if self.newer_damaged:
            found.add(ExitStatus.DAMAGED)
        if ExitStatus.DAMAGED in found:
            return ExitStatus.DAMAGED
        return next(iter(found)) if len(found) == 1 else ExitStatus.PARTIAL

    def summary(self) -> dict[str, Json]:
        """Return the counts for the ledger, the database of runs.

        Database names and messages are omitted.
        """
        taken = [dump.taken for dump in self.dumps if dump.taken is not None]
        failed = len(self.dumps) - len(taken)
        return {
            "point": self.point.name,
            "into": self.kind,
            "files": len(taken),
            "bytes": sum(dump.bytes for dump in taken),
            "problems": sum(dump.problems_total for dump in taken) + failed,
            "is_damaged": self.exit_status is ExitStatus.DAMAGED,
        }

    def as_json(self) -> dict[str, Json]:
        return {
            "run": self.run,
            "set": self.point.set_name,
            **self.summary(),
            "into": self.into,
            "kind": self.kind,
            "dumps": [dump.as_json() for dump in self.dumps],
            "lacking": self.lacking.as_json(),
            "newer_damaged": list(self.newer_damaged),
            "is_dated_ahead": self.is_dated_ahead,
            "is_confined": self.is_confined,
            "unrecorded": self.ledger_problem,
            "started_at": timestamp(self.started),
            "ended_at": timestamp(self.ended),
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to restore dumps into a server."""

    point: str
    into: str
    set_name: str | None = None
    patterns: tuple[str, ...] = ()
    replaces: bool = False  # replace databases that are not empty
    has_globals: bool = False  # restore roles and users too


def restore_into(
    installation: Installation,
    request: Request,
    identity_file: Path | None,
    progress: Report | None = None,
    *,
    way: str = "direct",
) -> DatabaseRestoreOutcome:
    """Restore the dumps of a point into a server; return the result of each.

    Raise `UsageError` for an unknown point, source or dump. The error of a single database is in
    the outcome. A database that is not empty is refused, unless the request replaces it.
    """
    with tempfile.TemporaryDirectory(prefix="standfast-") as scratch:
        with translated_errors("restoring"):
            repository = open_repository(installation, identity_of(installation, identity_file))
            point = repository.resolve(request.point, request.set_name)
            address = find_address(installation, request.into, point.set_name)
            hidden = private_key_paths(installation.config, identity_file)
            target = address.target(installation.clock, Path(scratch), hidden)
            sources = _sources(point, address, request)
            paths = _paths(repository, point, sources, address, target, request)
        with recorded_if_possible(
            installation, "restore", point.set_name, way, is_shared=True
        ) as run:
            started = installation.clock()
            restorer = _Restorer(repository, point, target, address.database, request, progress)
            outcome = DatabaseRestoreOutcome(
                run=run.token,
                point=point,
                into=request.into,
                kind=address.kind,
                dumps=restorer.restore_all(paths),
                lacking=lacking(point, request.patterns or sources),
                newer_damaged=damaged_after(repository, point, request.point),
                is_dated_ahead=is_dated_ahead(point, request.point, installation.clock()),
                is_confined=landlock.is_supported(),
                started=started,
                ended=installation.clock(),
            )
            states = {ExitStatus.DONE: "done", ExitStatus.PARTIAL: "partial"}
            run.ends(states.get(outcome.exit_status, "failed"), outcome.summary())
    return replace(outcome, ledger_problem=run.ledger_problem)


def find_address(installation: Installation, into: str, set_name: str) -> Address:
    """Return the server of a source, or of a secret with an address.

    A source of the backup set `set_name` is preferred, because several backup sets may use the same
    source name.
    """
    sets = installation.config.backup.sets
    ordered = sorted(sets, key=lambda name: name != set_name)
    sources = [source for name in ordered for source in sets[name].sources]
    if into.partition(":")[0] in ("env", "file", "keyring"):
        try:
            reference = SecretReference(into)
        except ValueError as error:
            raise UsageError(f"--into: {error}") from error
        return address_from_secret(reference, installation.resolver, sources)
    for source in sources:
        if source.name == into:
            address = address_of(source, installation.resolver)
            if address is not None:
                return address
            raise UsageError(
                f"source {source.name}: kind {source.kind} is not a database server."
                " Restore it to a folder with --to."
            )
    raise UsageError(
        f"--into: no source {into!r} is configured. Name the source of a database, or"
        " the reference of an address: env:NAME or file:PATH."
    )


def _sources(point: RecoveryPoint, address: Address, request: Request) -> list[str]:
    """Return the sources of the point with dumps for this server."""
    sources = [
        source.name
        for source in (point.details.sources if point.details else ())
        if source.kind == address.kind
    ]
    if request.into in sources and not request.patterns:
        sources = [request.into]
    return sources


def _paths(
    repository: Repository,
    point: RecoveryPoint,
    sources: Sequence[str],
    address: Address,
    target: Target,
    request: Request,
) -> list[bytes]:
    """Return the files to restore: files of roles and users, then dumps."""
    first, dumps, chosen = [], [], set()
    for entry in repository.entries(point, request.patterns or sources) if sources else ():
        source, _, name = entry.text.partition("/")
        if entry.kind != "file" or source not in sources:
            continue
        chosen.add(source)
        if name.endswith(target.suffix):
            dumps.append(entry.path)
    if request.has_globals and chosen:
        first = _globals(repository, point, sorted(chosen), target)
    if not first and not dumps:
        raise UsageError(
            f"{point.name}: no dump of {address.kind} matches the selection. List its contents with"
            " `standfast backup ls`."
        )
    if address.database is not None and len(dumps) > 1:
        raise UsageError(
            f"{request.into}: it names one database, but {len(dumps)} dumps are selected. Select "
            "one, or use an address without a database."
        )
    return first + dumps


def _globals(
    repository: Repository, point: RecoveryPoint, sources: Sequence[str], target: Target
) -> list[bytes]:
    """Return the files of roles or users; UsageError if a source has none."""
    paths = {f"{source}/{target.globals_name}".encode() for source in sources}
    found = [entry.path for entry in repository.entries(point, sources) if entry.path in paths]
    for path in sorted(paths.difference(found)):
        raise UsageError(
            f"--globals: {point.name} has no {to_path_text(path)}. Omit --globals, or use a point"
            " that has it."
        )
    return found


class _Restorer:
    """A restorer of dumps, and of files of roles and users, one after another."""

    def __init__(
        self,
        repository: Repository,
        point: RecoveryPoint,
        target: Target,
        database: str | None,
        request: Request,
        progress: Report | None,
    ) -> None:
        self._repository = repository
        self._point = point
        self._target = target
        self._database = database
        self._request = request
        self._progress = progress
        self._files = 0
        self._bytes = 0

    def restore_all(self, paths: Sequence[bytes]) -> tuple[DumpRestoreOutcome, ...]:
        """Restore the files in order; repeat files of roles that had problems.

        A statement about a role can fail because it names a table or role that is created later.
        """
        outcomes = {path: self.restore(path) for path in paths}
        for path, outcome in outcomes.items():
            if outcome.taken and outcome.taken.problems_total and self._has_globals(path):
                outcomes[path] = self.restore(path)
        return tuple(outcomes.values())

    def _has_globals(self, path: bytes) -> bool:
        return path.partition(b"/")[2].decode() == self._target.globals_name

    def restore(self, path: bytes) -> DumpRestoreOutcome:
        """Restore one file; return an error as its result."""
        target = self._target
        name = path.partition(b"/")[2].decode()

        def stream() -> Iterator[bytes]:
            return self._pieces(path)

        try:
            with translated_errors(f"restoring {to_path_text(path)}"):
                if self._has_globals(path):
                    taken = target.restore_globals(stream)
                else:
                    original = database_name(name, target.suffix)
                    taken = target.restore(
                        self._database or original, original, stream, replace=self._request.replaces
                    )
        except StandfastError as error:
            return DumpRestoreOutcome(
                path=to_path_text(path),
                taken=None,
                error=str(error),
                error_status=error.exit_status,
            )
        self._files += 1
        return DumpRestoreOutcome(path=to_path_text(path), taken=taken)

    def _pieces(self, path: bytes) -> Iterator[bytes]:
        for piece in self._repository.stream(self._point, path):
            yield piece
            self._bytes += len(piece)
            if self._progress is not None:
                self._progress(
                    Progress(
                        phase="restoring",
                        path=to_path_text(path),
                        files=self._files,
                        bytes_done=self._bytes,
                        bytes_new=0,
                    )
                )
