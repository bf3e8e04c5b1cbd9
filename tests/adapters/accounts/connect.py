"""Connectors built from settings, with secrets in plain text."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, get_type_hints

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.records import Now
from tests.adapters.settings import reveal, settings_of

C = TypeVar("C", bound=Connector)


def connect(
    connector: Callable[..., C],
    name: str = "directory",
    *,
    clock: Now = lambda: datetime.now(UTC),
    new_secrets: NewPasswords | None = None,
    **values: Any,
) -> C:
    """Build a connector from its settings without `kind`.

    Secrets are in plain text.
    """
    made = connector.func if isinstance(connector, partial) else connector
    kind = get_type_hints(made.__init__)["settings"]
    return connector(name, settings_of(kind, **values), context(clock, new_secrets))


def context(
    clock: Now = lambda: datetime.now(UTC), new_secrets: NewPasswords | None = None
) -> BuildContext:
    """Return the context of a connector, which it needs besides its settings."""
    return BuildContext(reveal=reveal, clock=clock, new_secrets=new_secrets)
