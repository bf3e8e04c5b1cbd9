"""The `standfast.toml` of the fictional contact centre.

Rules
- Every setting exists in a real installation. Values that only a demo needs (loopback, no TLS,
  little time to abort a notice) have a comment.
- The file names the file of the bearer token, and never contains the token.
"""

from pathlib import Path

from demo.call_centre import CallCentre
from standfast.config.default_file import render_default
from standfast.config.loader import parse
from standfast.records import JsonObject
from standfast.usecases.setup.new_installation import IDENTITY_FILE, OFFLINE

SET = "main"
DIRECTORY = "agents"
BREAK_GLASS = "break-glass"
TOKEN_FILE = "secrets/directory-token"  # noqa: S105 - a place, not a token
SESSIONS_FILE = "secrets/known-sessions"  # a line for each session: an account, its token
CONTROL_FILE = "secrets/control-session"  # the session of a test account that is never locked
ABORT_SECONDS = 2


def configuration(
    config_file: Path, centre: CallCentre, *, directory_port: int, mail_port: int
) -> str:
    """Return the whole file; raise ConfigurationError for an invalid one."""
    text = render_default(_values(centre, directory_port, mail_port))
    parse(text.encode(), config_file)
    return text


def _values(centre: CallCentre, directory_port: int, mail_port: int) -> JsonObject:
    return {
        "organisation": {
            "name": "Northlight Contact Centre",
            "contact_line": "020 7946 0100, the number on every bill",
            "contact_lines": {
                "es": "020 7946 0100, el número que aparece en cada factura",
                "fr": "020 7946 0100, le numéro qui figure sur chaque facture",
                "de": "020 7946 0100, die Nummer auf jeder Rechnung",
            },
            "time_zone": "Europe/London",
            "languages": ["en", "es", "fr", "de"],
        },
        "backup": {
            "sets": {
                SET: {
                    "sources": [
                        {"kind": "files", "name": "recordings", "path": str(centre.recordings)},
                        {"kind": "sqlite", "name": "crm", "path": str(centre.database)},
                        {"kind": "files", "name": "logs", "path": str(centre.logs)},
                    ],
                    "schedule": "30 2 * * *",
                }
            }
        },
        # This private key opens the backups. In a real installation, only a custodian (a person
        # that can decrypt backups) has it, and never the machine.
        "drills": {"identity": f"file:{OFFLINE}/{IDENTITY_FILE}"},
        "services": {
            "customer-records": {
                "owner": "Head of customer care",
                "rto_minutes": 60,
                "rpo_minutes": 1440,
                "sets": [SET],
                "checks": [
                    {
                        "kind": "sqlite",
                        "path": "crm/crm.db",
                        "minimum_rows": {
                            "customers": len(centre.customers),
                            "contacts": len(centre.customers),
                        },
                        "last_change": "SELECT max(at) FROM contacts",
                    }
                ],
            },
            "call-recordings": {
                "owner": "Head of operations",
                "rto_minutes": 240,
                "rpo_minutes": 1440,
                "depends_on": ["customer-records"],
                "sets": [SET],
                "checks": [{"kind": "command", "command": ["test", "-d", "recordings/newest"]}],
            },
        },
        "accounts": {
            DIRECTORY: {
                "kind": "scim",
                "url": f"http://127.0.0.1:{directory_port}/v2",
                "token": f"file:{TOKEN_FILE}",
                # After the lock, the application must refuse each session token of the intruder.
                "probe": {
                    "url": f"http://127.0.0.1:{directory_port}/userinfo",
                    "control_token": f"file:{CONTROL_FILE}",
                    "tokens": f"file:{SESSIONS_FILE}",
                },
            }
        },
        "protected": {
            "accounts": {f"{DIRECTORY}:{BREAK_GLASS}": "the way in when all else is locked"}
        },
        "evidence": {
            "sign-ins": {"kind": "files", "paths": [str(centre.logs / "sign-ins.log")]},
            "applications": {
                "kind": "files",
                "paths": [
                    str(centre.logs / "agent-desktop.log"),
                    str(centre.logs / "telephony.log"),
                ],
            },
        },
        "senders": {
            "mail": {
                "kind": "smtp",
                "host": "127.0.0.1",
                "port": mail_port,
                "security": "none",  # loopback, and the mailbox is a folder
                "sender_address": "security@northlight.example",
                "batch": 50,
            }
        },
        "audiences": {
            "staff": {
                "kind": "csv",
                "path": str(centre.staff_list),
                "why": "works here, and is needed to keep the intruder out",
            },
            "customers": {
                "kind": "sqlite",
                "path": str(centre.database),
                "query": "SELECT email AS address, name, language, id AS key FROM customers "
                "ORDER BY id",
                "why": "their record was open in the account",
            },
        },
        # In a real installation, an approved notice waits two minutes, so that a person can stop
        # it. It is then sent to a few recipients (the canary), and after a quarter of an hour to
        # the remaining ones. The demo shortens the first wait and has no canary.
        "notices": {"sender": "mail", "abort_window_seconds": ABORT_SECONDS, "canary_percent": 0},
    }
