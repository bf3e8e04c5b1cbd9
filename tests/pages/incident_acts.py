"""Incidents and evidence in which the commands of pages are typed."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyrage import x25519

from demo.tour_context import PASSPHRASES
from standfast.usecases.setup.installation_opening import open_installation
from tests.pages.blocks import Block
from tests.pages.installation_acts import configure, demo_place
from tests.pages.typist import Typist

_ACCOUNT = "--input accounts=agents:oscar.ortiz"
_PLAYBOOK = """
playbook: freeze-and-lock
version: 1
title: Freeze the logs and lock the accounts
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true, description: The accounts.}
steps:
  freeze: {title: Freeze the logs, do: evidence.snapshot}
  lock:
    title: Lock the accounts
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
    undo: accounts.unlock
"""
_REVIEW = """
[playbooks]
folder = "playbooks"

[audiences.customers_of_account]
kind = "csv"
path = "customers.csv"
why = "their record was open in the account"

[review.records.customers]
pattern = '/customers/(?P<record>\\d+)'
exposed = "name, iban"
audience = "customers"
"""


def yesterday() -> str:
    """Return a day on which work may have been done."""
    return f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


def attendance_list(typist: Typist) -> None:
    """Use the demo's installation, with a file as evidence of a training."""
    demo_place(typist)
    (typist.folder / "attendance.pdf").write_bytes(b"%PDF-1.7\n")


def evidence_place(typist: Typist) -> None:
    """Use the demo's installation, with playbooks and time stamps."""
    demo_place(typist)
    configure(
        typist,
        f"""[playbooks]
folder = "playbooks"

[custody.timestamp]
url = "{typist.authority.url}"
roots = "{typist.authority.roots}"
""",
    )


def freeze_playbook(typist: Typist, block: Block) -> None:
    """Write the playbook of the page."""
    if block.text.startswith("playbook: freeze"):
        folder = typist.config_file.parent / "playbooks"
        folder.mkdir()
        (folder / "freeze.yaml").write_text(block.text)


def encrypted_evidence(typist: Typist) -> None:
    """Freeze again in another installation, with a custodian."""
    Path("demo-place").rename("in-clear-place")
    evidence_place(typist)
    shutil.copytree("in-clear-place/playbooks", "demo-place/playbooks")
    custodian = x25519.Identity.generate()
    Path("custodian.key").write_text(f"{custodian}\n")
    Path("key-copies").mkdir()
    configure(
        typist,
        f"""[custody]
custodians = ["{custodian.to_public()}"]
key_copies = ["{typist.folder}/key-copies"]
retention_days = 0
""",
    )
    typist.done("standfast incident open freeze --as lee", PASSPHRASES)


def close_incident(typist: Typist) -> None:
    """Close the incident, so that its evidence may be disposed of."""
    typist.done("standfast incident close --as lee", PASSPHRASES)


def evidence_in_clear(typist: Typist) -> None:
    """Return to the first installation, after the disposal in the other."""
    if Path("in-clear-place").exists():
        shutil.rmtree("demo-place")
        Path("in-clear-place").rename("demo-place")


def files_for_the_examiner(typist: Typist) -> None:
    """Put the exported files next to the evidence; receive the keys."""
    (incident,) = [entry["incident"] for entry in typist.desk.json("incident", "list")["incidents"]]
    exported = typist.desk.json("audit", "export", incident, "--to", "again")
    Path("seal-key").write_text(exported["seal_key"])
    Path("ledger-key").write_text(exported["ledger_key"])
    for name in ("timeline.jsonl", "standfast_verify.py"):
        shutil.copy(f"for-the-examiner/{name}", name)


def stamp_for_the_examiner(typist: Typist) -> None:
    """Receive the authority's roots; copy one stamp and its seal."""
    shutil.copy(typist.authority.roots, "roots.pem")
    stamp = min(Path("in-clear").rglob("seal.tsr"))
    for name in ("seal.tsr", "seal.dsse.json"):
        shutil.copy(stamp.with_name(name), name)


def open_incident(typist: Typist) -> None:
    """Lock an account, and freeze logs that name a customer's record."""
    demo_place(typist)
    configure(typist, _REVIEW)
    desktop = Path("demo-place/centre/logs/agent-desktop.log")
    with desktop.open("a") as log:
        log.write("2026-11-25T02:10:00Z account=oscar.ortiz GET /customers/7\n")
    Path("demo-place/playbooks").mkdir()
    Path("demo-place/playbooks/freeze-and-lock.yaml").write_text(_PLAYBOOK)
    typist.done(f"standfast incident open freeze-and-lock {_ACCOUNT} --as dana", PASSPHRASES)
    Path("demo-place/customers.csv").write_text("email,name\nben@example.net,Ben\n")
    Path("letter.pdf").write_bytes(b"%PDF-1.7\n")
    Path("more.txt").write_text("agents:grace.hughes\n")
    Path("people.csv").write_text("email,name\nana@example.net,Ana\n")


def paged_place(typist: Typist) -> None:
    """Use an incident about which somebody was paged."""
    open_incident(typist)
    (typist.folder / "keys").mkdir()
    with open_installation(typist.config_file, env={}, actor="os:test") as opened:
        (incident,) = [entry.id for entry in opened.ledger.incidents.all()]
        opened.ledger.call_outs.begin(
            "trigger.siem", incident, [incident], "os:test", opened.clock()
        )


def ledger_key_and_report(typist: Typist) -> None:
    """Receive the key by another channel, and name the report before."""
    _write_ledger_key(typist)
    shown = typist.desk.json("drill", "report", "customer-records", "--to", "again.html")
    (before,) = Path("demo-place/drills/reports").glob(f"{shown['number'] - 1:06}-*.json")
    shutil.copy(before, "previous.json")


def _write_ledger_key(typist: Typist) -> None:
    with open_installation(typist.config_file, env={}, actor="os:test") as opened:
        key = opened.ledger.cipher.signing_key().public_key().public_bytes_raw()
    Path("ledger-key").write_text(key.hex())
