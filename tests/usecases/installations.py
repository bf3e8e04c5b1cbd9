"""A small call centre: configuration, ledger, people, server names."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from standfast.ledger.approvals.decisions import APPROVE
from standfast.ledger.people.people_changes import Signer
from standfast.people.passphrase_keys import Credential, enrol, sign_in
from standfast.secrets import Resolver
from standfast.usecases.core.installation import Installation, system_clock
from standfast.usecases.incidents import effect_undo
from standfast.usecases.incidents.effect_undo import UndoPlan
from standfast.usecases.setup.installation_opening import open_installation
from tests import ledger_schema

PASSPHRASES = {
    "dana": "the rain in the north",
    "lee": "a quiet row of lamps",
    "kim": "seven old maps",
}
OWNER = Signer.owner(Ed25519PrivateKey.generate())
ROLES = {"dana": ["operator"], "lee": ["duty-manager"], "kim": ["duty-manager"]}

_SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000, the number on your card"

[ledger]
url = "{ledger_url}"

[accounts.agents]
kind = "scim"
url = "{scim_url}"
token = "env:SCIM_TOKEN"
timeout_seconds = {timeout_seconds}

[evidence.telephony]
kind = "files"
paths = ["logs"]

[senders.mail]
kind = "smtp"
host = "127.0.0.1"
port = {smtp_port}
security = "none"
sender_address = "security@example.com"
timeout_seconds = {mail_timeout_seconds}
batch = {mail_batch}

[audiences.staff]
kind = "csv"
path = "staff.csv"
why = "works here"

[audiences.customers]
kind = "sqlite"
path = "crm.db"
query = "SELECT email AS address, name, language, id AS key FROM customers ORDER BY id"
why = "their record was open"

[notices]
sender = "mail"
abort_window_seconds = 0

[protected.accounts]
"agents:break-glass" = "the way in when all else is locked"
"""


def furnish(
    folder: Path,
    *,
    scim_url: str = "http://127.0.0.1:9/v2",
    smtp_port: int = 9,
    ledger_url: str = "sqlite:///ledger.db",
    customers: int = 20,
    staff: int = 3,
    timeout_seconds: float = 5,
    mail_timeout_seconds: float = 5,
    mail_batch: int = 10,
) -> Path:
    """Write an installation into `folder`; return its configuration."""
    (folder / "logs").mkdir()
    (folder / "logs/sign-in.log").write_text("2026-11-25T02:13:00Z agent01 signed in\n")
    (folder / "logs/calls.log").write_text("2026-11-25T02:14:00Z agent01 call 17\n")
    rows = "".join(f"staff{n}@example.com,Staff {n},en\n" for n in range(1, staff + 1))
    (folder / "staff.csv").write_text("email,name,language\n" + rows)
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name, email, language)")
        crm.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?)",
            (
                (n, f"Customer {n}", f"customer{n}@example.net", ("en", "es", "fr", "de")[n % 4])
                for n in range(1, customers + 1)
            ),
        )
    crm.close()
    config_file = configure(
        folder,
        scim_url=scim_url,
        smtp_port=smtp_port,
        ledger_url=ledger_url,
        timeout_seconds=timeout_seconds,
        mail_timeout_seconds=mail_timeout_seconds,
        mail_batch=mail_batch,
    )
    keys = folder / "keys"
    keys.mkdir()
    (keys / "evidence-seal.key").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    url = ledger_url.replace("sqlite:///", f"sqlite:///{folder}/")
    ledger_schema.create(url, keys / "ledger", folder / "witness.jsonl", datetime.now(UTC))
    return config_file


def configure(folder: Path, **settings: object) -> Path:
    """Write the configuration of an installation; return the file."""
    config_file = folder / "standfast.toml"
    config_file.write_text(_SETTINGS.format(**settings))
    return config_file


@contextmanager
def installation_at(
    config_file: Path,
    *,
    token: str = "unused",
    resolver: Resolver | None = None,
    clock: Callable[[], datetime] = system_clock,
) -> Iterator[Installation]:
    """Open the installation with its secrets in `env`."""
    env: Mapping[str, str] = {"SCIM_TOKEN": token}
    with open_installation(
        config_file, env=env, actor="os:test", resolver=resolver, clock=clock
    ) as installation:
        yield installation


def signer(name: str) -> Signer:
    """Return one of PASSPHRASES as signed in at these installations."""
    return Signer(name=name, key=_key(name))


@cache
def _key(name: str) -> Ed25519PrivateKey:
    return sign_in(name, PASSPHRASES[name], _credential(name))


def approve_as(installation: Installation, case: str, step: str, name: str) -> None:
    """Approve a step as one of PASSPHRASES, without slow key derivation."""
    message = installation.ledger.decisions.question(case, step).message(name, APPROVE)
    signed = signer(name).key.sign(message).hex()
    installation.ledger.decisions.decide(case, step, name, APPROVE, signed, installation.clock())


def undo_approved(installation: Installation, case: str, **asked: Any) -> UndoPlan:
    """Request an undo as dana; approve it as lee and kim as needed."""
    plan = effect_undo.undo(installation, case, requested_by="dana", **asked)
    for name in ("lee", "kim")[: plan.needs_approvals]:
        approve_as(installation, case, plan.step, name)
    return plan


def enrol_people(installation: Installation, *names: str) -> None:
    """Enrol people of PASSPHRASES as approvers during the set-up."""
    for name in names or PASSPHRASES:
        credential = _credential(name)
        installation.ledger.people.enrol(
            name=name,
            full_name=name.title(),
            mail=f"{name}@example.com",
            accounts=[f"agents:{name}"],
            roles=ROLES[name],
            public_key=credential.public_key,
            salt=credential.salt,
            enrolled_by="os:test",
            now=installation.clock(),
        )


def enrol_newcomer(installation: Installation) -> None:
    """Enrol `newcomer`, without a role, with the passphrase of lee."""
    credential = _credential("lee")
    installation.ledger.people.enrol(
        name="newcomer",
        full_name="New Comer",
        mail="newcomer@example.com",
        accounts=[],
        roles=[],
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by="os:test",
        now=installation.clock(),
    )


@cache
def _credential(name: str) -> Credential:
    """Derive each key once in a process: argon2 is slow on purpose."""
    return enrol(PASSPHRASES[name])
