"""Kill set = trace: an incident that dies anywhere ends, run again, as the one that did not."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from standfast.records import EffectState, StepState
from tests.kill.scenario import ACCOUNTS, INNOCENT, run_incident
from tests.kill.tracing import Death, Phase, in_own_process, traced_labels
from tests.operations.places import configure, enrol_people, furnish, place_at
from tests.servers.scim import ScimServer, running_scim
from tests.servers.smtp import SmtpServer, running_smtp

KILLED = -9
CUSTOMERS = 3
STAFF = 1
APPROVERS = 2  # lee and kim are paged


@dataclass
class World:
    """One small call centre, fresh: its place and the servers that it reaches."""

    config_file: Path
    scim: ScimServer
    smtp: SmtpServer
    ids: dict[str, str]

    def run(self, death: Death | None) -> int:
        log = self.config_file.parent / "trace.log"
        log.unlink(missing_ok=True)
        return in_own_process(run_incident, self.config_file, self.scim.token, log, death)

    @property
    def trace(self) -> list[str]:
        return traced_labels(self.config_file.parent / "trace.log")

    def mails(self) -> Counter[str]:
        """How many messages each address got."""
        return Counter(mail.recipients[0] for mail in self.smtp.delivered)


@pytest.fixture(scope="module")
def directory() -> Iterator[ScimServer]:
    with running_scim() as server:
        yield server


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with its people enrolled, to be copied for each death."""
    folder = tmp_path_factory.mktemp("furnished")
    with place_at(furnish(folder, customers=CUSTOMERS, staff=STAFF)) as place:
        enrol_people(place)
    return folder


@contextmanager
def fresh_world(
    folder: Path, furnished: Path, directory: ScimServer, tenant: str
) -> Iterator[World]:
    shutil.copytree(furnished, folder)
    scim = ScimServer(url=directory.url.replace("/first/", f"/{tenant}/"), token=directory.token)
    ids = {name: scim.create(name) for name in ACCOUNTS}
    with running_smtp() as smtp:
        config_file = configure(
            folder,
            scim_url=scim.url,
            smtp_port=smtp.port,
            ledger_url="sqlite:///ledger.db",
            timeout_seconds=0.6,
            mail_timeout_seconds=0.6,
            mail_batch=2,
        )
        yield World(config_file=config_file, scim=scim, smtp=smtp, ids=ids)


def settled(world: World) -> dict[str, Any]:
    """Look at the end of an incident from every side: ledger, directory, mailboxes, chain."""
    with place_at(world.config_file, token=world.scim.token) as place:
        (row,) = place.ledger.incidents.all()
        effects = place.ledger.effects.of_incident(row.id)
        state = place.ledger.incidents.state(row.id)
        audit = place.ledger.audit.verify()
        lapses = [
            event.detail["effects"]
            for event in place.ledger.timeline(row.id)
            if event.action == "attempts.lapsed"
        ]
    assert audit.findings == ()
    assert len({effect.token for effect in effects}) == len(effects)
    unknown = {
        effect.target.partition(":")[2] for effect in effects if effect.state is EffectState.UNKNOWN
    }
    mails = world.mails()
    for effect in effects:
        if effect.verb not in ("notices.send", "people.page"):
            assert effect.state is EffectState.DONE, (effect.verb, effect.state, effect.reason)
            continue
        address = effect.target.partition(":")[2]
        assert mails[address] <= 1, "nobody is told twice"
        if effect.state is EffectState.DONE:
            assert mails[address] == 1, "who counts as told was told"
        else:
            assert effect.state is EffectState.UNKNOWN
    return {
        "active": {name: world.scim.is_active(id_) for name, id_ in world.ids.items()},
        "steps": {
            name: view.state.value
            for name, view in state.steps.items()
            if view.state is not StepState.PARTIAL
        },
        "verbs": Counter(effect.verb for effect in effects),
        "unknown": len(unknown),
        "in_flight_at_death": sum(lapses),
        "told": sum(mails.values()),
    }


def test_a_clean_run_leaves_nothing_unknown(
    tmp_path: Path, furnished: Path, directory: ScimServer
) -> None:
    with fresh_world(tmp_path / "clean", furnished, directory, "clean") as world:
        assert world.run(None) == 0
        end = settled(world)
        assert end["unknown"] == 0
        assert end["told"] == CUSTOMERS + STAFF + APPROVERS
        assert end["active"] == {name: name == INNOCENT for name in ACCOUNTS}
        assert set(Counter(world.trace)) == {"commit", "call", "observe"}


@pytest.mark.parametrize("phase", Phase)
def test_killed_at_every_point_it_ends_as_the_clean_run(
    phase: Phase, tmp_path: Path, furnished: Path, directory: ScimServer
) -> None:
    with fresh_world(tmp_path / "clean", furnished, directory, f"clean-{phase}") as world:
        assert world.run(None) == 0
        clean, points = settled(world), len(world.trace)
    killed: set[int] = set()
    shorter: set[int] = set()
    for point in range(1, points + 1):
        folder = tmp_path / f"{phase}-{point}"
        with fresh_world(folder, furnished, directory, f"{phase}-{point}") as world:
            if world.run(Death(point, phase)) == KILLED:
                killed.add(point)
            elif len(world.trace) < point:
                # Threads share batches differently from run to run: this one had fewer points.
                shorter.add(point)
            label = world.trace[point - 1] if len(world.trace) >= point else "not reached"
            assert world.run(None) == 0, (point, label)
            end = settled(world)
            # Mail cannot be looked up: what was claimed and had no receipt stays in doubt, by name.
            assert end["unknown"] <= end["in_flight_at_death"], (point, label)
            assert end["active"] == clean["active"], (point, label)
            assert end["verbs"] == clean["verbs"], (point, label)
        shutil.rmtree(folder)
    assert killed | shorter == set(range(1, points + 1)), "the killed points equal the trace"
    assert len(shorter) <= 3
