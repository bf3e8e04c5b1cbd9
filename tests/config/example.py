"""A configuration with every family of settings in use."""

from pathlib import Path

COMPLETE = """\
[organisation]
name = "Example Contact Centres"
contact_line = "+44 20 7946 0000"
time_zone = "Europe/London"
languages = ["en", "es"]

[backup]
vault = "/mnt/vault"

[backup.sets.crm]
sources = [
  { kind = "sqlite", name = "crm", path = "crm.db" },
  { kind = "files", name = "recordings", path = "/srv/recordings", exclude = ["*.tmp"] },
]
schedule = "0 3 * * mon-fri"

[services.telephony]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 60

[services.crm]
owner = "Head of operations"
rto_minutes = 240
rpo_minutes = 1440
depends_on = ["telephony"]
sets = ["crm"]
checks = [
  { kind = "sqlite", path = "crm/crm.db", minimum_rows = { customers = 1000 } },
  { kind = "command", command = ["probe-crm"], timeout_seconds = 5 },
]

[accounts.staff]
kind = "scim"
url = "https://directory.example.com/scim/v2/"
token = "env:SCIM_TOKEN"

[protected.accounts]
"staff:break-glass" = "the way in when all else is locked"

[evidence.logs]
kind = "files"
paths = ["logs"]

[senders.mail]
kind = "smtp"
host = "127.0.0.1"
port = 2525
security = "none"
sender_address = "security@example.com"

[audiences.staff]
kind = "csv"
path = "staff.csv"

[audiences.customers]
kind = "sqlite"
path = "crm.db"
query = "SELECT email AS address FROM customers"

[notices]
sender = "mail"
staff_audience = "staff"
"""


def written(folder: Path, text: str = COMPLETE) -> Path:
    """Write a configuration into a folder."""
    path = folder / "standfast.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(old: str, new: str) -> str:
    """Return the full configuration with one passage changed."""
    assert COMPLETE.count(old) == 1, f"{old!r} is not there once"
    return COMPLETE.replace(old, new)


def line_number(text: str, passage: str) -> int:
    """Return the line of a passage, from 1."""
    return text[: text.index(passage)].count("\n") + 1
