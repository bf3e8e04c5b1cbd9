"""Readers of configured audiences; the suppression list is read first.

An audience is the list of recipients of a notice (a message to the people that an incident
concerns). A suppression list names people that must never be contacted.

Rules
- The suppression list is read first: if it cannot be read, nobody is in the audience.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

from standfast.adapters.accounts.scim.user_list import list_users
from standfast.adapters.audience_sources.databases import (
    DatabaseOptions,
    mariadb_audience,
    mariadb_suppressed,
    postgresql_audience,
    postgresql_suppressed,
)
from standfast.adapters.audience_sources.files import (
    csv_audience,
    read_suppressed,
    sqlite_audience,
    sqlite_suppressed,
)
from standfast.adapters.audience_sources.scim import scim_audience
from standfast.config import Config
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.config.sections.audiences import (
    AudienceConfig,
    BackupAudienceConfig,
    CsvAudienceConfig,
    MariadbAudienceConfig,
    PostgresqlAudienceConfig,
    ScimAudienceConfig,
    SqliteAudienceConfig,
)
from standfast.errors import ConfigurationError
from standfast.http_client import HttpClient
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Rules, Suppression
from standfast.secrets import Reveal

# Function of a backup set and a path; the context manager has the file as it was before the
# incident.
Restored = Callable[[str, str], AbstractContextManager[Path]]


def read_audience(
    config: Config, name: str, reveal: Reveal, restored: Restored, today: date
) -> Audience:
    """Read one audience; raise the errors of the module that reads its kind."""
    settings = config.audiences[name]
    suppressed: dict[str, str] = {}
    if settings.suppress is not None:
        suppressed |= read_suppressed(settings.suppress)
    suppressed |= _query_suppressed(settings, reveal)
    rules = Rules(
        language=settings.language or "",
        why=settings.why or "",
        suppression=Suppression(suppressed),
        each_address=settings.each_address,
        adult_years=settings.adult_years,
        today=today,
    )
    match settings:
        case CsvAudienceConfig():
            return csv_audience(
                settings.path,
                settings.columns,
                rules,
                is_strict="columns" in settings.model_fields_set,
            )
        case SqliteAudienceConfig():
            return sqlite_audience(settings.path, settings.query, rules)
        case PostgresqlAudienceConfig():
            return postgresql_audience(_options(settings, reveal), settings.query, rules)
        case MariadbAudienceConfig():
            return mariadb_audience(_options(settings, reveal), settings.query, rules)
        case ScimAudienceConfig():
            return _of_directory(config, settings, reveal, rules)
        case BackupAudienceConfig():
            with restored(settings.set, str(settings.path)) as file:
                if settings.columns is not None:
                    return csv_audience(file, settings.columns, rules)
                return sqlite_audience(file, settings.query or "", rules)


def _query_suppressed(settings: AudienceConfig, reveal: Reveal) -> Mapping[str, str]:
    """Return the suppression entries of the audience's own database."""
    query = getattr(settings, "suppress_query", None)
    if query is None:
        return {}
    match settings:
        case SqliteAudienceConfig():
            return sqlite_suppressed(settings.path, query)
        case PostgresqlAudienceConfig():
            return postgresql_suppressed(_options(settings, reveal), query)
        case MariadbAudienceConfig():
            return mariadb_suppressed(_options(settings, reveal), query)
        case _:
            return {}


def _options(
    settings: PostgresqlAudienceConfig | MariadbAudienceConfig, reveal: Reveal
) -> DatabaseOptions:
    return DatabaseOptions(
        host=settings.host,
        port=settings.port,
        database=settings.database,
        user=settings.user,
        password=None if settings.password is None else reveal(settings.password),
        tls=settings.tls,
        ca_file=settings.ca_file,
        timeout_seconds=settings.timeout_seconds,
    )


def _of_directory(
    config: Config, settings: ScimAudienceConfig, reveal: Reveal, rules: Rules
) -> Audience:
    directory: Any = config.accounts.get(settings.directory)
    if not isinstance(directory, ScimDirectoryConfig):
        raise ConfigurationError(
            f"audience: [accounts.{settings.directory}] is not a SCIM directory. Correct "
            "`directory`."
        )
    http = HttpClient(
        verify_tls=directory.verify_tls, ca_file=directory.ca_file, workers=directory.workers
    )
    try:
        users = list_users(settings.directory, directory.url, reveal(directory.token), http)
    finally:
        http.close()
    return scim_audience(users, rules, includes_disabled=settings.includes_disabled)
