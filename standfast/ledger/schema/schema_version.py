"""Schema of the ledger (the database): creation, upgrade, version check."""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from standfast.ledger.database.connections import reading, writing
from standfast.ledger.database.sqlite_file import (
    FIRST,
    ledger_missing_error,
    not_a_ledger_error,
    schema_mismatch_error,
)
from standfast.ledger.database.sqlite_file import HEAD as HEAD
from standfast.ledger.schema.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def create_schema(engine: Engine) -> None:
    """Create the tables; ConfigurationError if another release created them."""
    if has_schema(engine):
        return refuse_other_schema(engine)
    with writing(engine) as connection:
        metadata.create_all(connection)
        _alembic("stamp", connection, MIGRATIONS, HEAD)
    return None


def upgrade_schema(
    connection: Connection, *, migrations: Path = MIGRATIONS, head: str = HEAD
) -> str | None:
    """Upgrade the tables of an earlier release; return its version.

    None if the tables are at `head` already; ConfigurationError if they cannot be upgraded to it.
    """
    version = _version_in(connection)
    if version == head:
        return None
    if version is None or not FIRST <= version < head:
        raise schema_mismatch_error(_place(connection.engine), str(version), head)
    _alembic("upgrade", connection, migrations, head)
    return version


def has_schema(engine: Engine) -> bool:
    """Return whether the database is a ledger, of any version."""
    return not _is_missing(engine) and _version(engine) is not None


def is_current(engine: Engine) -> bool:
    """Return whether the ledger has the schema version HEAD."""
    return _version(engine) == HEAD


def refuse_other_schema(engine: Engine) -> None:
    """Raise ConfigurationError unless the schema version is HEAD."""
    place = _place(engine)
    if _is_missing(engine):
        raise ledger_missing_error(place)
    version = _version(engine)
    if version is None:
        raise not_a_ledger_error(place)
    if version != HEAD:
        raise schema_mismatch_error(place, version, HEAD)


def _version(engine: Engine) -> str | None:
    """Return the version of the schema; None without a schema."""
    with reading(engine) as connection:
        return _version_in(connection)


def _version_in(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _alembic(name: str, connection: Connection, migrations: Path, head: str) -> None:
    """Run a command of Alembic in the transaction of `connection`."""
    # The import of Alembic takes 0.3 s, and an installation needs it only once for each release.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    getattr(command, name)(config, head)


def _place(engine: Engine) -> str:
    return engine.url.database or engine.url.render_as_string(hide_password=True)


def _is_missing(engine: Engine) -> bool:
    """Return whether the SQLite file is missing.

    A connection would create an empty file if the path is mistyped.
    """
    return engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists()
