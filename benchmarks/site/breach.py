"""One breach on several hosts at once, while processes are killed.

Accounts in five directories of OpenLDAP are locked, and customers are notified through an imitation
of SendGrid. Afterwards the directories, the imitation and the ledger (the shared database) are
compared.

- Each host runs `standfast serve --role respond`. With the Prefect of a site, it also runs
  `standfast worker`, and an operator starts the response in Prefect's queue `response`. Without
  Prefect, it also runs the program `runner.py`, which works on the incident too.
- The directories count the locks of each account, and must refuse its sign-in. Then the locks are
  undone, and each sign-in must succeed again.
- A message whose request was cut off has the state `unknown` until an event of SendGrid reports its
  delivery. If no event arrives, the benchmark records, as a person would, that the message was not
  sent; Standfast then sends the message.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prefect.client.schemas.objects import StateType

from benchmarks.measure import Stopwatch, Wrong, expect
from benchmarks.site.breach_hosts import Size, furnished
from benchmarks.site.customers import Accepted, CustomerMail, running_customer_mail
from benchmarks.site.hosts import Host
from benchmarks.site.kills import Kills, Victim, victims_of_site
from benchmarks.site.response_runs import ResponseRuns
from standfast.records import EffectState, Mode
from standfast.usecases.approvals import effect_settlement
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import look, open_incident
from standfast.usecases.notices import delivery_accounting
from standfast.usecases.notices.delivery_accounting import Line
from standfast.usecases.setup.installation_opening import open_installation
from tests.kill.people import Agents, running_directory
from tests.servers.prefect_site import PrefectSite
from tests.usecases.installations import enrol_people, undo_approved

_DIRECTORIES = 5
_LOOK_SECONDS = 0.5
_STARTS_WITHIN_SECONDS = 240
_NOWHERE = "http://127.0.0.1:9/api"  # without Prefect, incidents run as well


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The durations of one breach, after all comparisons succeeded."""

    lock_seconds: float
    seconds: float  # until each change is recorded as done or waits for an event
    killed: Sequence[str]
    events_settled: int  # unknown messages that an event resolved
    people_settled: int  # unknown messages that a person resolved: they had not been sent
    runs: int  # runs of the queue `response` that began


@dataclass(kw_only=True)
class Breach:
    """The incident, its hosts, and the external systems that it changes."""

    size: Size
    hosts: Sequence[Host]
    console: Host
    console_url: str
    directories: dict[str, Agents]
    mail: CustomerMail
    installation: Installation
    accounts: Sequence[str]
    runs: ResponseRuns | None  # in the Prefect of a site
    incident: str = ""
    victims: list[Victim] = field(default_factory=list)

    def run(self, report_progress: Callable[[str], None], seconds: float) -> Measured:
        """Run the incident with kills; raise Wrong on any difference."""
        if self.runs is not None:
            self._start_hosts()
            self._wait_until(
                self.runs.has_workers, "the workers of all hosts report", _STARTS_WITHIN_SECONDS
            )
        watch, locked = Stopwatch(), list[float]()
        self.incident = open_incident(
            self.installation,
            "breach",
            {"accounts": list(self.accounts)},
            mode=Mode.LIVE,
            opened_by="dana",
        ).incident
        if self.runs is None:
            self._start_hosts()

        def progress() -> float:
            for host in self.hosts:
                host.expect_running()
            counts = self._counts()
            locks, sends = counts["accounts.lock"], counts["notices.send"]
            done = locks[EffectState.DONE]
            if done == self.size.accounts and not locked:
                locked.append(watch.seconds())
            ended = sum(sends[state] for state in (EffectState.DONE, EffectState.UNKNOWN))
            return done / self.size.accounts / 3 + (
                (sends.total() + ended) / self.size.customers / 3
            )

        kills = Kills(
            victims=self.victims,
            count=self.size.kills,
            seed=self.size.seed,
            report_progress=report_progress,
        )
        with nullcontext() if self.runs is None else self.runs.kept(self.incident):
            killed = kills.during(progress, seconds)
        ended = watch.seconds()
        by_events, by_people = self._settle(seconds)
        report_progress("  compare the ledger with the directories and the messages")
        self._compare()
        report_progress("  undo the locks")
        self._undo(seconds)
        return Measured(
            lock_seconds=locked[0],
            seconds=ended,
            killed=killed,
            events_settled=by_events,
            people_settled=by_people,
            runs=self._begun_runs(),
        )

    def _start_hosts(self) -> None:
        for host in self.hosts:
            helper = host.standfast("worker")
            if self.runs is None:
                helper = host.module("benchmarks.site.runner", self.incident)
            host.commands = [host.standfast("serve", "--role", "respond"), helper]
            host.start()

    def _begun_runs(self) -> int:
        """Return the number of runs that began; raise Wrong if none did."""
        if self.runs is None:
            return 0
        states = self.runs.states()
        begun = states.total() - states[StateType.SCHEDULED] - states[StateType.PENDING]
        expect(begun > 0, f"a run of the queue responded: {states}")
        return begun

    def _counts(self) -> dict[str, Counter[str]]:
        """Return the number of effects (changes of one account) by verb and state."""
        counts = {verb: Counter[str]() for verb in ("accounts.lock", "notices.send")}
        for verb, state, count in self._rows(
            "SELECT verb, state, count(*) FROM effect WHERE incident = %s GROUP BY verb, state",
            self.incident,
        ):
            counts.setdefault(verb, Counter())[EffectState(state)] += count
        return counts

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        import psycopg

        url = self.installation.config.ledger.url.replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def _settle(self, seconds: float) -> tuple[int, int]:
        """Resolve unknown messages by events, and the remaining ones as a person."""
        self._wait_until(self._has_parked_all, "the calls of killed runners have expired", seconds)
        unknown = self._unknown()
        self.mail.report_deliveries(self.console_url)
        left = self._unknown()
        sent = self.mail.accepted().tokens
        expect(not left & sent, "each accepted message is done after its event")
        if left:
            effect_settlement.settle_step(
                self.installation, self.incident, "notify", happened=False, by="dana"
            )
        self._wait_until(
            lambda: self._counts()["notices.send"][EffectState.DONE] == self.size.customers,
            "each message is sent",
            seconds,
        )
        self.mail.report_deliveries(self.console_url)
        return len(unknown) - len(left), len(left)

    def _has_parked_all(self) -> bool:
        waiting = "state NOT IN ('done', 'unknown') OR (state = 'unknown' AND NOT is_parked)"
        query = f"SELECT count(*) FROM effect WHERE incident = %s AND ({waiting})"
        return self._rows(query, self.incident) == [(0,)]

    def _unknown(self) -> set[str]:
        query = "SELECT token FROM effect WHERE incident = %s AND state = 'unknown'"
        return {token for (token,) in self._rows(query, self.incident)}

    def _compare(self) -> None:
        accepted = self.mail.accepted()
        people = [f"customer{number}@example.net" for number in range(1, self.size.customers + 1)]
        expect(accepted.people == Counter(people), f"one message each: {_differences(accepted)}")
        expect(accepted.unrecorded == 0, f"each intent first, not {accepted.unrecorded} without")
        lines: list[Line] = []
        accounts = delivery_accounting.account(
            self.installation,
            self.incident,
            unmasked_because="comparison of a benchmark",
            each=lines.append,
        )
        notified = Counter(line.address for line in lines if line.end.is_notified)
        expect(notified == accepted.people, "the accounting names the people that have a message")
        expect(
            [account.audience for account in accounts] == [self.size.customers], "one notice to all"
        )
        self._compare_receipts()
        for name, agents in self.directories.items():
            mine = [
                account.partition(":")[2]
                for account in self.accounts
                if account.startswith(f"{name}:")
            ]
            locks = agents.locks()
            expect(locks == Counter(mine), f"{name}: one lock for each account")
            expect(not any(map(agents.signs_in, mine)), f"{name}: each sign-in is refused")

    def _compare_receipts(self) -> None:
        """Raise Wrong unless each effect is done and its result is recorded.

        The record must be that of its last attempt. The audit chain of the ledger must verify too.
        """
        counts = self._counts()
        done = {verb: dict(states) for verb, states in counts.items()}
        expected = {
            "accounts.lock": {EffectState.DONE: self.size.accounts},
            "notices.send": {EffectState.DONE: self.size.customers},
        }
        expect(done == expected, f"each effect is done, not {done}")
        open_attempts = self._rows(
            "SELECT count(*) FROM effect LEFT JOIN attempt ON attempt.token = effect.attempt"
            " WHERE effect.incident = %s AND attempt.ended_at IS NULL"
            " AND attempt.lapsed_at IS NULL",
            self.incident,
        )
        expect(open_attempts == [(0,)], f"each attempt has a receipt, not {open_attempts}")
        report = self.installation.ledger.audit.verify()
        expect(report.is_whole, f"the audit chain is whole: {report.findings[:1]}")

    def _undo(self, seconds: float) -> None:
        undo_approved(self.installation, self.incident, step="lock")
        self._wait_until(
            lambda: (
                self._counts().get("accounts.unlock", Counter())[EffectState.DONE]
                == self.size.accounts
            ),
            "each account is unlocked",
            seconds,
        )
        for account in self.accounts:
            name, _, agent = account.partition(":")
            expect(self.directories[name].signs_in(agent), f"{account} signs in again")

    def _wait_until(self, is_so: Callable[[], bool], expectation: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            for host in self.hosts:
                host.expect_running()
            if time.monotonic() > deadline:
                summary = look(self.installation, self.incident).summary
                raise Wrong(f"{expectation} within {seconds:g} s: {self._counts()}, {summary}")
            time.sleep(_LOOK_SECONDS)


def _differences(accepted: Accepted) -> str:
    twice = sum(count > 1 for count in accepted.people.values())
    return f"{len(accepted.people):,} people have one, {twice:,} more than one"


@contextmanager
def prepared(
    folder: Path, ledger_url: str, size: Size, site: PrefectSite | None = None
) -> Iterator[Breach]:
    """Build the hosts, the directories and the imitation; end all at the end."""
    with ExitStack() as stack:
        mail = stack.enter_context(running_customer_mail(ledger_url))
        directories = {
            f"directory{number}": stack.enter_context(running_directory())
            for number in range(_DIRECTORIES)
        }
        each = size.accounts // len(directories)
        accounts = [
            f"{name}:{agent}" for name, agents in directories.items() for agent in agents.hire(each)
        ]
        url, secret = (site.url, site.secret) if site else (_NOWHERE, "")
        hosts = furnished(folder, ledger_url, size, url, secret, directories, mail)
        for host in hosts:
            stack.callback(host.end)
        *responders, console = hosts
        installation = stack.enter_context(
            open_installation(console.config_file, env=console.env, actor="os:benchmark")
        )
        enrol_people(installation)
        console_url = f"http://127.0.0.1:{installation.config.serve.port}"
        console.commands = [console.standfast("serve", "--role", "api")]
        console.start()
        deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not _answers(console_url):
            expect(time.monotonic() < deadline, f"the console answers: {console.log.read_text()}")
            time.sleep(_LOOK_SECONDS)
        yield Breach(
            size=size,
            hosts=responders,
            console=console,
            console_url=console_url,
            directories=directories,
            mail=mail,
            installation=installation,
            accounts=accounts,
            runs=ResponseRuns(site=site, hosts=size.hosts) if site else None,
            victims=victims_of_site(site, responders)
            if site
            else [
                Victim(name=host.name, kill=host.kill, restart=host.start) for host in responders
            ],
        )


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False
