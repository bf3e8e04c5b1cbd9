"""Installations of the hosts of a breach: one ledger, five directories.

The ledger is the database that all hosts share; a directory is an OpenLDAP server with accounts.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.site.customers import CustomerMail
from benchmarks.site.hosts import Host
from tests.kill.people import CONNECTOR, PASSWORD, Agents
from tests.servers import free_port
from tests.servers.sendgrid import KEY
from tests.servers.slapd import PEOPLE
from tests.usecases.installations import furnish

_TIMEOUT_SECONDS = 10
_BATCHES = 200  # requests to SendGrid in one breach, at most 1,000 people each

_SETTINGS = """
[ledger]
url = "{ledger_url}"
keys = "{ledger_keys}"

[limits]
accounts_without_second_person = 100000

[playbooks]
folder = "playbooks"

[serve]
port = {port}
prefect = "{prefect}"

[backup]
writer = "{host}"

[senders.grid]
kind = "sendgrid"
key = "env:SENDGRID_KEY"
event_key = "env:SENDGRID_EVENTS"
sender_address = "security@example.com"
url = "{mail_url}"
batch = {batch}
timeout_seconds = {timeout}
"""
_DIRECTORY = """
[accounts.{name}]
kind = "openldap"
host = "localhost"
port = {port}
tls = "none"
bind_dn = "{connector}"
password = "env:LDAP_PASSWORD"
base = "{people}"
timeout_seconds = {timeout}
"""
_PLAYBOOK = """
playbook: breach
version: 1
title: Lock the agents and notify the customers
use_when: A breach is measured.
inputs:
  accounts: {type: accounts, required: true}
steps:
  lock:
    title: Lock the accounts
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
    undo: accounts.unlock
  notify:
    title: Notify the customers
    needs: [lock]
    do: notices.send
    with:
      template: staff-heads-up
      audience: customers
      sender: grid
      context:
        what_happened: account-takeover
    approval:
      none_because: It is a measurement, and the mails go nowhere.
"""
_AT_ONCE = "abort_window_seconds = 0", "abort_window_seconds = 0\ncanary_percent = 0"
# A notice to staff needs no approval, so the run waits for nobody.
_AS_STAFF = '[notices]\nsender = "mail"', '[notices]\nsender = "grid"\nstaff_audience = "customers"'


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of one breach."""

    accounts: int
    customers: int
    hosts: int = 3
    kills: int = 0
    seed: int = 1


def furnished(
    folder: Path,
    ledger_url: str,
    size: Size,
    prefect: str,
    prefect_secret: str,
    directories: dict[str, Agents],
    mail: CustomerMail,
) -> list[Host]:
    """Write an installation for each host and for the console."""
    first = folder / "first"
    first.mkdir()
    config_file = furnish(first, ledger_url=ledger_url, customers=size.customers)
    (first / "playbooks").mkdir()
    (first / "playbooks/breach.yaml").write_text(_PLAYBOOK)
    common = config_file.read_text().replace(f'[ledger]\nurl = "{ledger_url}"\n', "")
    common = common.replace(*_AT_ONCE).replace(*_AS_STAFF)
    for name, agents in directories.items():
        common += _DIRECTORY.format(
            name=name,
            port=agents.slapd.port,
            connector=CONNECTOR,
            people=PEOPLE,
            timeout=_TIMEOUT_SECONDS,
        )
    env = {
        "LDAP_PASSWORD": PASSWORD,
        "SCIM_TOKEN": "unused",
        "SENDGRID_KEY": KEY,
        "SENDGRID_EVENTS": mail.event_key,
        "PREFECT_API_AUTH_STRING": prefect_secret,
    }
    hosts = []
    for name in (*(f"host-{number}" for number in range(1, size.hosts + 1)), "console"):
        host = Host(name=name, folder=folder / name, env=env)
        shutil.copytree(first, host.folder, ignore=shutil.ignore_patterns("witness*"))
        host.config_file.write_text(
            common
            + _SETTINGS.format(
                ledger_url=ledger_url,
                ledger_keys=first / "keys/ledger",
                port=free_port(),
                prefect=prefect,
                host=name,
                mail_url=mail.url,
                batch=max(1, min(1000, size.customers // _BATCHES)),
                timeout=_TIMEOUT_SECONDS,
            )
        )
        hosts.append(host)
    return hosts
