"""Opening of an installation from one configuration file.

An installation is one configured Standfast, with its ledger (the database of incidents and runs).
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from standfast.config import load
from standfast.ledger.lazy_ledger import LazyLedger
from standfast.records import Now
from standfast.secrets import Resolver, SystemResolver
from standfast.usecases.core.installation import (
    AdapterFactory,
    Installation,
    ledger_url,
    os_user,
    system_clock,
)
from standfast.usecases.setup.adapter_factory import ConfiguredAdapters

# A notice creates thousands of rows, and hardly any reference cycles. With the default threshold of
# 700, garbage collection takes an eighth of the processor time of a notice.
_OBJECTS_TO_ONE_COLLECTION = 50_000


@contextmanager
def open_installation(
    config_file: Path,
    *,
    env: Mapping[str, str],
    clock: Now | None = None,
    actor: str | None = None,
    resolver: Resolver | None = None,
    needs_ledger: bool = True,
    adapters: AdapterFactory | None = None,
) -> Iterator[Installation]:
    """Open the installation that a configuration file describes.

    Without `clock`, use the clock of the machine. If the ledger is on a database server, which
    several hosts may share, use the clock of the server. With `needs_ledger=False`, an unavailable
    ledger raises an error only when it is used for the first time.
    """
    gc.set_threshold(_OBJECTS_TO_ONE_COLLECTION)
    config = load(config_file)
    resolver = resolver or SystemResolver(env=env, base_dir=config.folder)
    url = ledger_url(config, resolver)
    server = None
    if clock is None and not url.startswith("sqlite"):
        # Imported here: a ledger in a file does not need it.
        from standfast.ledger.runs.server_clock import ServerClock

        server = ServerClock(system_clock)
    ledger = LazyLedger(
        url, config.ledger.keys, config.ledger.witness, server, opens_now=needs_ledger
    )
    with ledger as opened:
        yield Installation(
            config=config,
            opened=opened,
            resolver=resolver,
            clock=clock or server or system_clock,
            adapter_factory=adapters or ConfiguredAdapters(),
            actor=actor or os_user(),
        )
