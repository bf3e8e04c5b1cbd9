"""Each kind of directory in the configuration builds its connector."""

import pkgutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from pydantic import TypeAdapter

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.ldap_connector import LdapConnector
from standfast.adapters.evidence_sources import EvidenceSource
from standfast.adapters.factory.live_adapters import build_adapter
from standfast.adapters.senders import Sender
from standfast.config import SecretReference
from standfast.config.sections.accounts import AccountsConfig
from standfast.config.sections.evidence_sources import EvidenceConfig
from standfast.config.sections.senders import SenderConfig
from standfast.config.validation import kinds_of, sections_in

CALLED = {"workers": 3, "per_second": 25.0, "burst": 7, "timeout_seconds": 4.0}
LDAP = {"host": "ldap.example.com", "bind_dn": "cn=standfast", "base": "dc=example"}
WRITTEN: dict[str, dict[str, Any]] = {
    "postgresql": {"host": "/run/pg", "password": "env:SECRET", "batch": 5},
    "openldap": {**LDAP, "password": "env:SECRET", "monitor": True},
    "active_directory": {**LDAP, "password": "env:SECRET", "reset_password": True},
    "mariadb": {"host": "db.example.com", "password": "env:SECRET", "batch": 5},
    "redis": {"host": "cache.example.com", "password": "env:SECRET", "batch": 5},
    "linux": {"command": ["ssh", "web1"], "batch": 5},
}


def built(kind: str, **written: object) -> Connector:
    adapter: TypeAdapter[AccountsConfig] = TypeAdapter(AccountsConfig)
    settings = adapter.validate_python({"kind": kind, **written})

    def reveal(reference: SecretReference) -> str:
        return f"revealed {reference}"

    context = BuildContext(reveal=reveal, clock=lambda: datetime.now(UTC))
    connector: Connector = build_adapter(Connector, "staff", settings, context)
    return connector


@pytest.mark.parametrize(
    ("family", "sections"),
    [(Connector, AccountsConfig), (Sender, SenderConfig), (EvidenceSource, EvidenceConfig)],
)
def test_every_kind_has_its_module(family: type, sections: object) -> None:
    package = import_module(family.__module__)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert {kind for section in sections_in(sections) for kind in kinds_of(section)} <= modules


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_directory_is_called_as_the_configuration_says(kind: str) -> None:
    written = WRITTEN[kind]
    connector = built(kind, **written, **CALLED)
    limits = connector.limits
    assert type(connector).__module__.startswith(f"standfast.adapters.accounts.{kind}")
    assert connector.name == "staff"
    assert (limits.per_second, limits.burst, limits.timeout_seconds) == (25.0, 7, 4.0)
    if isinstance(connector, LdapConnector):
        # Its workers are connections; each one serves calls for many accounts.
        assert limits.batch > 1
        assert limits.workers <= 3
    else:
        assert (limits.batch, limits.workers) == (written.get("batch", 1), 3)


def test_proof_and_losses_follow_from_settings() -> None:
    assert built("openldap", **WRITTEN["openldap"]).proof.value == "connections_gone"
    assert built("openldap", **WRITTEN["openldap"] | {"monitor": False}).proof.value == "read_back"
    assert built("active_directory", **WRITTEN["active_directory"]).irreversible


def test_drivers_load_with_their_directory() -> None:
    program = (
        "import sys, standfast.adapters.factory.live_adapters\n"
        "sys.exit(any(name in sys.modules for name in "
        "('psycopg', 'ldap3', 'pymysql', 'redis', 'httpx', 'boto3')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
