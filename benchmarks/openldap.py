"""Locking many accounts of a real OpenLDAP.

16 workers are measured next to a bare client with 16 threads.

The bare client does the same operations as Standfast over as many connections with TLS: find an
account by its name, find it again, replace `pwdAccountLockedTime`, read it back by its id. This
client records nothing. Standfast is measured twice: the whole incident, which commits an intent
before each call and the result after it, and the connector (its adapter for OpenLDAP) alone.

Standfast requests up to 50 accounts in one search, so it is faster than a client with one search an
account. A second bare client also requests 50 accounts, and the aim is 90 % of its rate, round by
round.

Each contender of each round has a new and empty directory: a growing directory would make later
rounds and contenders slower.
"""

import gc
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, Missing, Row, Setting, Stopwatch, compare, expect
from standfast.adapters.accounts.openldap import OpenldapConnector
from standfast.adapters.clients.ldap.client import LdapServer
from standfast.errors import ExitStatus
from standfast.records import EffectState, Order
from standfast.usecases.incidents import lifecycle
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.rights import block
from tests.servers import find_program
from tests.servers.slapd import PEOPLE, SUFFIX, Slapd, running_slapd
from tests.usecases.installations import furnish, installation_at
from tests.usecases.twins import SimulatedInstallation, Twins

_THREADS = 16
_MOST_A_SEARCH = 50
_LOCKED, _FOR_GOOD = "pwdAccountLockedTime", b"000001010000Z"
_OBJECTS_TO_ONE_COLLECTION = (
    10_000  # Python's garbage collection as in each Standfast command; it also helps bare clients
)
_PROCESSOR = "processor time of an account, without the directory's"
_Run = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """Wall time and processor time of locking all accounts.

    The processor time is that of this process.
    """

    seconds: float
    processor_seconds: float


class _Meter:
    """Wall time and processor time of this process since the meter was made."""

    def __init__(self) -> None:
        self._watch = Stopwatch()
        self._begin = time.process_time()

    def read(self) -> _Taken:
        return _Taken(
            seconds=self._watch.seconds(), processor_seconds=time.process_time() - self._begin
        )


@dataclass(frozen=True, kw_only=True)
class _Directory:
    """A running server, and the account with which Standfast uses it."""

    slapd: Slapd
    server: LdapServer

    def connector(self) -> OpenldapConnector:
        settings = {**asdict(self.server), "workers": _THREADS, "timeout_seconds": 30.0}
        return connect(OpenldapConnector, "agents", **settings)

    def people(self, count: int) -> list[str]:
        """Add this number of people; return their names."""
        names = [f"agent{number:04}" for number in range(count)]

        def add(admin: Any) -> bool:
            return all(
                admin.add(
                    f"uid={name},{PEOPLE}", "inetOrgPerson", {"uid": name, "cn": "A", "sn": "B"}
                )
                for name in names
            )

        self.slapd.ask(add)
        return names

    def expect_all_locked(self, names: Sequence[str]) -> None:
        """Raise Wrong unless an administrator sees each account locked."""
        found = self.slapd.ask(
            lambda admin: admin.search(
                PEOPLE, f"({_LOCKED}={_FOR_GOOD.decode()})", attributes=["uid"], size_limit=0
            )
        )
        locked = {entry["attributes"]["uid"][0] for entry in found if "attributes" in entry}
        missing = len(set(names) - locked)
        expect(not missing, f"all {len(names)} are locked, not all but {missing}")


def rows(setting: Setting) -> list[Row]:
    """Measure the incident, the connector alone and the bare clients."""
    gc.set_threshold(_OBJECTS_TO_ONE_COLLECTION)
    count = setting.size(1_000, 100)
    metric = f"lock {count:,} accounts of OpenLDAP, {_THREADS} at once"
    grouped = f"bare ldap3, {_THREADS} threads, {_MOST_A_SEARCH} a search"

    def timed(lock: Callable[[_Directory, Sequence[str], int], _Taken]) -> _Run:
        def run(number: int) -> Mapping[str, float]:
            with _running() as directory:
                names = directory.people(count)
                taken = lock(directory, names, number)
                directory.expect_all_locked(names)
            return {
                metric: count / taken.seconds,
                _PROCESSOR: taken.processor_seconds / count * 1_000_000,
            }

        return run

    found = compare(
        "openldap",
        {metric: "accounts/s", _PROCESSOR: "µs"},
        [
            Contender(
                subject="standfast, the whole incident",
                run=timed(
                    lambda directory, names, number: _by_incident(
                        directory, names, setting.new_folder(f"place-{number}")
                    )
                ),
            ),
            Contender(
                subject="standfast, the connector alone",
                run=timed(lambda directory, names, _: _by_connector(directory, names)),
            ),
            Contender(
                subject=f"bare ldap3, {_THREADS} threads",
                run=timed(lambda directory, names, _: _bare(directory, names, 1)),
            ),
            Contender(
                subject=grouped,
                run=timed(lambda directory, names, _: _bare(directory, names, _MOST_A_SEARCH)),
            ),
        ],
        setting,
    )
    ours, *others = (row for row in found if row.metric == metric)
    return [*found, *(_round_by_round(ours, other) for other in others)]


def _round_by_round(ours: Row, other: Row) -> Row:
    """Return our rate relative to that of another contender, per round.

    Our rate is that of the whole incident.
    """
    pairs = zip(ours.values, other.values, strict=False)  # a round that failed has no rate
    return Row(
        benchmark=ours.benchmark,
        metric="the incident's rate of this one's, round by round",
        subject=other.subject,
        unit="%",
        values=tuple(100 * mine / theirs for mine, theirs in pairs),
        is_failed=ours.is_failed or other.is_failed,
    )


def _by_connector(directory: _Directory, names: Sequence[str]) -> _Taken:
    """Read each account, then lock it, as an incident does."""
    connector = directory.connector()
    meter = _Meter()
    priors = [state.prior for state in connector.observe(names)]
    orders = [
        Order(token=name, verb="accounts.lock", target=name, prior=prior)
        for name, prior in zip(names, priors, strict=True)
    ]
    results = connector.lock(orders)
    taken = meter.read()
    connector.close()
    expect({result.state for result in results} == {EffectState.DONE}, "each lock is done")
    return taken


def _by_incident(directory: _Directory, names: Sequence[str], folder: Path) -> _Taken:
    connector = directory.connector()
    with _installation(folder, connector) as installation:
        meter = _Meter()
        case = installation.open("lock", [f"agents:{name}" for name in names])
        outcome = lifecycle.advance(installation, case, "direct")
        taken = meter.read()
        expect(outcome.exit_status is ExitStatus.DONE, "the incident is done")
    connector.close()
    return taken


def _bare(directory: _Directory, names: Sequence[str], most_a_search: int) -> _Taken:
    import ldap3

    server = directory.server
    context = ssl.create_default_context(cafile=str(server.ca_file))
    own, opened = threading.local(), []

    class Tls(ldap3.Tls):  # type: ignore[misc]  # ldap3 has no types
        """TLS in which Python verifies the certificate, as in the connector."""

        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            connection.socket = context.wrap_socket(connection.socket, server_hostname=server.host)

    installation = ldap3.Server(
        server.host, port=server.port, use_ssl=True, get_info=ldap3.NONE, tls=Tls()
    )

    def find(attribute: str, values: Sequence[str]) -> list[Any]:
        each = [f"({attribute}={value})" for value in values]
        filter_text = each[0] if len(each) == 1 else f"(|{''.join(each)})"
        own.connection.search(server.base, filter_text, attributes=["uid", "entryUUID", _LOCKED])
        found: list[Any] = own.connection.response
        expect(len(found) == len(values), "each is found")
        return found

    def lock(some: Sequence[str]) -> None:
        if not hasattr(own, "connection"):
            own.connection = ldap3.Connection(
                installation, server.bind_dn, server.password, auto_bind=True, check_names=False
            )
            opened.append(own.connection)
        find("uid", some)
        entries = find("uid", some)
        for entry in entries:
            own.connection.modify(entry["dn"], {_LOCKED: [("MODIFY_REPLACE", [_FOR_GOOD])]})
        ids = [entry["raw_attributes"]["entryUUID"][0].decode() for entry in entries]
        for after in find("entryUUID", ids):
            expect(_FOR_GOOD in after["raw_attributes"][_LOCKED], "a lock that was read back holds")

    size = min(most_a_search, -(-len(names) // _THREADS))
    parts = [names[start : start + size] for start in range(0, len(names), size)]
    meter = _Meter()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lock, parts))
    taken = meter.read()
    for connection in opened:
        connection.unbind()
    return taken


@contextmanager
def _running() -> Iterator[_Directory]:
    """Run the server, with the account and the rights of docs/accounts.md."""
    if find_program("slapd") is None:
        raise Missing("slapd is not installed; apt-get install slapd ldap-utils")
    with running_slapd() as slapd:
        account = block("openldap", "the connector's account").replace("…", "of-the-connector")
        slapd.apply(account)
        slapd.apply(block("openldap", "And its rights"), to_configuration=True)
        yield _Directory(
            slapd=slapd,
            server=LdapServer(
                host="localhost",
                port=slapd.tls_port,
                ca_file=slapd.ca_file,
                bind_dn=f"cn=standfast,ou=services,{SUFFIX}",
                password="of-the-connector",
                base=PEOPLE,
            ),
        )


@contextmanager
def _installation(folder: Path, directory: OpenldapConnector) -> Iterator[SimulatedInstallation]:
    """Create an installation that uses this directory of agents."""
    config_file = furnish(folder)
    with config_file.open("a") as file:
        file.write("\n[limits]\naccounts_without_second_person = 10000\n")
    with installation_at(config_file) as installation:
        known = {
            result.name: getattr(installation, result.name) for result in fields(type(installation))
        }
        yield SimulatedInstallation(**known, twins=Twins(directory=directory))
