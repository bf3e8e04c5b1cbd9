"""An installation with a console, and browsers that keep cookies."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from standfast.console.sign_in.sign_in_pages import COOKIE
from standfast.records import Mode, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.console.installations import Site, furnish_with, site_at
from tests.usecases.installations import PASSPHRASES, enrol_people

CONSOLE = """
[serve]
console = "{address}"
trusted_proxies = ["127.0.0.1/32"]

[playbooks]
folder = "own"
"""
SHUT = """\
playbook: shut
version: 1
title: Shut accounts that a second person has read
use_when: Somebody has to agree before a lock.
inputs:
  accounts: {type: accounts, required: true}
steps:
  shut:
    title: Lock them
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
    approval: {count: 1, roles: [duty-manager], reason: A lock shuts out people at work.}
"""


ADDRESS = "https://standfast.example.com"


def furnished(
    folder: Path,
    ledger_url: str = "sqlite:///ledger.db",
    address: str = ADDRESS,
    smtp_port: int = 9,
) -> Path:
    """Make an installation with a console and a playbook that asks once."""
    (folder / "own").mkdir()
    (folder / "own" / "shut.yaml").write_text(SHUT)
    return furnish_with(
        folder, CONSOLE.replace("{address}", address), ledger_url=ledger_url, smtp_port=smtp_port
    )


def exercised(installation: Installation, scenario: str = "account-takeover") -> str:
    """Open an exercise of dana's, run it until it waits; return its id."""
    accounts = {"accounts": ["agents:alice"]}
    incident = open_incident(
        installation, scenario, accounts, mode=Mode.EXERCISE, opened_by="dana"
    ).incident
    advance(installation, incident, "direct")
    return incident


@contextmanager
def site_of_people(folder: Path, *, smtp_port: int = 9) -> Iterator[Site]:
    """Serve an installation with a console and enrolled people."""
    with site_at(furnished(folder, smtp_port=smtp_port)) as found:
        enrol_people(found.installation)
        yield found


class Browser:
    """A browser that keeps cookies as over TLS and posts the forms it got."""

    def __init__(self, site: Site, address: str = "") -> None:
        self.site = site
        self.address = address
        self.cookies: dict[str, str] = {}
        self.page = ""

    def get(self, path: str) -> httpx.Response:
        return self._took(
            httpx.get(self.site.url + path, headers=self._headers, trust_env=False, timeout=30)
        )

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._took(
            httpx.post(
                self.site.url + path,
                data=fields,
                headers={**self._headers, **named},
                trust_env=False,
                timeout=30,
            )
        )

    def sign_in(self, name: str, passphrase: str = "", path: str = "/console") -> httpx.Response:
        given = passphrase or PASSPHRASES[name]
        return self.post("/console/sign-in", {"name": name, "passphrase": given, "path": path})

    def send(self, what: str, **fields: str) -> httpx.Response:
        """Send a form of the page that is shown."""
        incident = re.search(r'action="/console/(inc-[0-9-]+)/', self.page)
        assert incident
        return self.post(f"/console/{incident[1]}/{what}", {"word": self.word, **fields})

    def decide(self, name: str, decision: str) -> httpx.Response:
        """Sign what the page shows of the notice to customers."""
        return self.send(
            "decide",
            step="tell_customers",
            digest=self.digest,
            decision=decision,
            passphrase=PASSPHRASES[name],
        )

    def answer(self, name: str, text: str, passphrase: str = "") -> httpx.Response:
        """Answer whether customers are affected."""
        given = passphrase or PASSPHRASES[name]
        return self.send("answer", step="customers_affected", text=text, passphrase=given)

    @property
    def cookie(self) -> str:
        return self.cookies.get(COOKIE, "")

    @property
    def word(self) -> str:
        found = re.search(r'name="word" value="([^"]+)"', self.page)
        return found[1] if found else ""

    @property
    def digest(self) -> str:
        found = re.search(r"<dt>Digest</dt><dd><code>([0-9a-f]{64})<", self.page)
        assert found
        return found[1]

    @property
    def text(self) -> str:
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.page)).split())

    @property
    def _headers(self) -> dict[str, str]:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        found = {"cookie": kept} if kept else {}
        return found | ({"x-forwarded-for": self.address} if self.address else {})

    def _took(self, answer: httpx.Response) -> httpx.Response:
        self.page = answer.text
        for given in answer.headers.get_list("set-cookie"):
            name, _, value = str(given).partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return answer


def state(site: Site, incident: str, step: str) -> StepState:
    return site.installation.ledger.incidents.state(incident).steps[step].state


def ask_for_approval(site: Site, lee: Browser, incident: str) -> None:
    """Answer as lee that customers are affected; a runner plans the notice."""
    lee.get(f"/console/{incident}")
    assert lee.answer("lee", "yes").status_code == 200
    advance(site.installation, incident, "direct")
    assert state(site, incident, "tell_customers") is StepState.ASKING
    lee.get(f"/console/{incident}")
