"""The tape: when what lies on it counts as stored."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from backup.format.frame import Effort
from backup.format.pack import Destination
from backup.stores.memory import MemoryStore
from backup.writing.pack_memory import PackMemory
from backup.writing.places import Frame
from backup.writing.tape import Outlet, Stored, Tape
from tests.backup.site import Site
from tests.backup.trees import noise

MIB = 1024 * 1024
PATIENCE_SECONDS = 60


def test_what_the_store_has_is_noted_while_there_is_more_to_come(site: Site) -> None:
    noted: list[Stored] = []
    host = site.host
    domain = site.repository().trust.root.domains[0]
    destination = Destination(
        repository=host.repository,
        writer=host.writer,
        domain=domain.id,
        generation=domain.generation,
        recipient=domain.recipient,
    )
    with ThreadPoolExecutor(2) as pool:
        outlet = Outlet(
            store=MemoryStore(),
            destination=destination,
            random=os.urandom,
            compressing=pool,
            sending=pool,
            buffers=PackMemory(),
        )
        tape = Tape(outlet, count(1).__next__, lambda frame: None, noted.append)
        # The last six wait for more to come; those before them fill a pack and begin another.
        for number in range(12):
            tape.append([(Frame(), noise(4 * MIB, number), Effort.DUMP)])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not noted and time.monotonic() < deadline:
            tape.append([(Frame(), b"more", Effort.DUMP)])
            time.sleep(0.01)
        assert noted
        tape.flush()
    assert [pack.number for pack in noted] == [1, 2, 3, 4]
