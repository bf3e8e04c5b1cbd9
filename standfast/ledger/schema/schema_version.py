"""Version of the schema: created once, checked at each opening."""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from standfast.ledger.database.connections import reading, writing
from standfast.ledger.database.sqlite_file import HEAD as HEAD
from standfast.ledger.database.sqlite_file import (
    ledger_missing_error,
    not_a_ledger_error,
    schema_mismatch_error,
)
from standfast.ledger.schema.tables import metadata

_MIGRATIONS = Path(__file__).parent / "migrations"


def create_schema(engine: Engine) -> None:
    """Create the tables, or upgrade those of an earlier release."""
    version = None if _is_missing(engine) else _version(engine)
    if version == HEAD:
        return
    # alembic takes 0.3 s to import, and an installation needs it once.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        if version is None:
            metadata.create_all(connection)
            command.stamp(config, HEAD)
        else:
            command.upgrade(config, HEAD)


def has_schema(engine: Engine) -> bool:
    """Return whether the database is a ledger, of any version."""
    return not _is_missing(engine) and _version(engine) is not None


def refuse_other_schema(engine: Engine) -> None:
    """Raise ConfigurationError unless the database is at HEAD."""
    place = engine.url.database or engine.url.render_as_string(hide_password=True)
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
        if not inspect(connection).has_table("alembic_version"):
            return None
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _is_missing(engine: Engine) -> bool:
    """Return whether the SQLite file is missing.

    Connecting would create an empty one for a mistyped path.
    """
    return engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists()
