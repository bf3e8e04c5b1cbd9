"""The whole tour in small; its claims are checked outside of it."""

import json
import re
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo import mail_server
from demo.demo_configuration import BREAK_GLASS, SET, TOKEN_FILE
from demo.tour_context import PASSPHRASES
from standfast.errors import ExitStatus
from standfast.records import EffectState
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation
from tests.demo.small_tour import SCALE, Tour
from tests.reports.build import Page

pytestmark = pytest.mark.xdist_group("demo")  # the other processes do not wait for the tour
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@pytest.fixture
def installation(tour: Tour) -> Iterator[Installation]:
    """The installation of the tour."""
    with open_installation(tour.config_file, env={}) as opened:
        yield opened


def _incident(tour: Tour) -> str:
    return str(tour.document["incident"])


def test_tour_ends_well_with_one_document(tour: Tour) -> None:
    assert tour.status == ExitStatus.DONE, tour.stderr
    document = json.loads(tour.stdout)
    assert document["exit_status"] == 0
    assert len(document["chapters"]) == 9
    assert Path(document["page"]).is_file()


def test_every_customer_gets_one_mail(tour: Tour) -> None:
    delivered = mail_server.delivered(tour.folder / "mailbox")
    mails = Counter(address for address, _ in delivered)
    assert {one.address: mails[one.address] for one in tour.centre.customers} == dict.fromkeys(
        (one.address for one in tour.centre.customers), 1
    )
    expected = {"es": "es", "fr": "fr", "de": "de"}
    language = {one.address: expected.get(one.language, "en") for one in tour.centre.customers}
    name = {one.address: one.name for one in tour.centre.customers}
    for address, path in delivered:
        if address in name:
            message = mail_server.read(path)
            assert message["To"] == address
            assert message["Content-Language"] == language[address]
            body = message.get_body(("plain",))
            assert body is not None
            assert name[address] in body.get_content()


def test_staff_is_warned_and_approver_paged_once(tour: Tour) -> None:
    mails = Counter(
        address
        for address, path in mail_server.delivered(tour.folder / "mailbox")
        if "was enrolled" not in str(mail_server.read(path)["Subject"])
    )
    staff = {one.address for one in tour.centre.agents} | {"dana@staff.example.com"}
    assert all(mails[address] == 1 for address in staff)
    assert mails["lee@staff.example.com"] == 3, "for the customers, and for the undo"
    assert mails.total() == SCALE.customers + SCALE.agents + 4


def test_what_is_restored_equals_the_source(
    tour: Tour, installation: Installation, tmp_path: Path
) -> None:
    to = tmp_path / "restored"
    restore(installation, "latest", to, tour.folder / "offline" / "identity.txt")
    centre = tour.centre
    assert _tree(to / "recordings") == _tree(centre.recordings)
    rows = _rows(to / "crm" / "crm.db")
    assert rows == _rows(centre.database)
    assert len(rows) > SCALE.customers
    shapes = {kind for kind, *_ in _tree(centre.recordings).values()}
    assert shapes == {"folder", "file", "link"}
    assert any(len(names) > 1 for _, _, _, _, names in _tree(centre.recordings).values())


def _tree(folder: Path) -> dict[str, tuple[str, int, int, bytes, tuple[str, ...]]]:
    """Return kind, mode, times, content and hard links of every path."""
    paths = [folder, *sorted(folder.rglob("*"))]
    names: dict[int, list[str]] = {}
    for path in paths:
        if path.is_file() and not path.is_symlink():
            names.setdefault(path.stat().st_ino, []).append(str(path.relative_to(folder)))
    found = {}
    for path in paths:
        status = path.lstat()
        if path.is_symlink():
            kind, content = "link", str(path.readlink()).encode()
        elif path.is_dir():
            kind, content = "folder", b""
        else:
            kind, content = "file", path.read_bytes()
        found[str(path.relative_to(folder))] = (
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_mtime_ns,
            content,
            tuple(names.get(status.st_ino, ())),
        )
    return found


def _rows(database: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


def test_intruders_are_locked_and_innocents_unlocked(
    tour: Tour, installation: Installation
) -> None:
    directory = json.loads((tour.folder / "directory.json").read_text())
    active = {account["userName"]: account["active"] for account in directory}
    locked = {name for name, is_active in active.items() if not is_active}
    assert locked == set(tour.centre.taken_over) - set(tour.centre.innocent)
    assert len(locked) == SCALE.taken_over - SCALE.innocent
    assert active[BREAK_GLASS] is True
    effects = installation.ledger.effects.of_incident(_incident(tour))
    assert {effect.state for effect in effects} == {EffectState.DONE}
    assert sum(effect.verb == "accounts.prove_locked" for effect in effects) == SCALE.taken_over


def test_prefect_ran_everything_and_the_chain_verifies(
    tour: Tour, installation: Installation
) -> None:
    runs = [
        *installation.ledger.runs.all("backup", SET),
        *installation.ledger.runs.all("drill", SET),
    ]
    assert [(run.way, run.state) for run in runs] == [("prefect", "done")] * 4
    events = installation.ledger.timeline(_incident(tour))
    ways = {event.detail["way"] for event in events if event.action == "runner.started"}
    assert ways == {"prefect"}
    assert installation.ledger.audit.verify().is_whole


def test_approval_precedes_the_first_customer_notice(
    tour: Tour, installation: Installation
) -> None:
    events = installation.ledger.timeline(_incident(tour))
    approved, undo = (event for event in events if event.action == "approval.approve")
    assert approved.actor == undo.actor == "lee"
    assert undo.detail["step"] == "undo-1"
    sent = [
        event.sequence
        for event in events
        if event.action == "attempt.claimed"
        and event.detail["step"] == "tell_customers"
        and event.detail["verb"] == "notices.send"
    ]
    assert sent
    assert min(sent) > approved.sequence


def test_page_contains_no_name_and_no_secret(tour: Tour) -> None:
    html = Path(tour.document["page"]).read_text()
    text = Page(html).text
    assert f"All {SCALE.taken_over} accounts were locked" in text
    assert f"All {SCALE.customers} people of “customers” were notified" in text
    assert f"{SCALE.innocent} accounts were unlocked again" in text
    assert "Intact:" in text
    assert _ADDRESS.findall(html) == []
    token = (tour.folder / TOKEN_FILE).read_text().strip()
    assert len(token) > 30
    hidden = [token, *PASSPHRASES.values(), *(one.name for one in tour.centre.customers)]
    assert [one for one in hidden if one in html] == []


def test_output_contains_no_address_and_no_secret(
    tour: Tour,
) -> None:
    told = tour.stdout + tour.stderr
    assert _ADDRESS.findall(told) == []
    assert (tour.folder / TOKEN_FILE).read_text().strip() not in told
    assert "AGE-SECRET-KEY" not in told
    assert all(passphrase in tour.stderr for passphrase in PASSPHRASES.values())


def test_prefect_has_learnt_nobodys_name_and_no_secret(tour: Tour) -> None:
    kept = b"".join(
        path.read_bytes() for path in (tour.folder / "prefect").rglob("*") if path.is_file()
    )
    assert b"respond-to-incident" in kept
    token = (tour.folder / TOKEN_FILE).read_text().strip()
    secrets = [token, *PASSPHRASES.values()]
    people = [one.address for one in tour.centre.customers]
    people += [one.account for one in tour.centre.agents]
    assert [one for one in (*secrets, *people) if one.encode() in kept] == []


def test_nothing_that_the_tour_started_is_left(tour: Tour) -> None:
    prefect = json.loads((tour.folder / "prefect" / "server.json").read_text())
    pids = [one["pid"] for one in json.loads((tour.folder / "servers.json").read_text())]
    left = [pid for pid in (*pids, prefect["pid"]) if str(tour.folder) in _command(pid)]
    assert left == []
    assert "prefect" not in _command(prefect["pid"])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
