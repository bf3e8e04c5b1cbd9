"""The stand-alone verifier on time stamps agrees with the command."""

import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.evidence import standfast_verify
from standfast.evidence.custody import CUSTODY_FILE, Act, append_custody
from standfast.evidence.host_clock import HostClock
from standfast.evidence.seal import SEAL_FILE, STAMP_FILE, read_sealed
from standfast.evidence.time_stamp_authority import Authority, read_roots
from standfast.evidence.time_stamp_file import inspect_timestamp, store_timestamp
from tests.adapters.evidence_sources.contract import order
from tests.adapters.settings import reveal
from tests.servers import timestamp_authority as servers
from tests.servers.timestamp_authority import issuer, run

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HEX = KEY.public_key().public_bytes_raw().hex()


def now() -> datetime:
    return datetime.now(UTC)


class Case:
    """One frozen folder, its authority, and the findings of both."""

    def __init__(self, top: Path, server: servers.Authority) -> None:
        self.server = server
        self.authority = Authority(url=server.url, roots=read_roots(server.roots))
        self.top = top / "evidence with a blank"
        self.folder = self.top / "logs" / "token-1"
        self.off: int | None = 0
        self.ahead = timedelta()

    def clock(self) -> datetime:
        return now() + self.ahead

    def freeze(self) -> None:
        origin = self.top.parent / "logs"
        origin.mkdir()
        (origin / "auth.log").write_text("alice signed in\n")
        known = HostClock(offset_microseconds=self.off, known_by="test", answer="")
        source = FilesEvidence(
            "logs",
            FilesEvidenceConfig(kind="files", paths=(origin,)),
            SourceContext(
                signing_key=KEY, clock=self.clock, host_clock=lambda: known, reveal=reveal
            ),
        )
        custody = Custody(incident="inc-1", collector="r", reason="", folder=self.top)
        source.collect(order(), custody)

    def stamp(self) -> None:
        self.freeze()
        store_timestamp(self.folder, self.authority, "dana", self.clock)

    def ours(self) -> tuple[int, int]:
        """Return the numbers of problems and of unchecked items."""
        manifest = read_sealed(self.folder, KEY.public_key())
        roots = read_roots(self.server.roots)
        seen = inspect_timestamp(self.folder, manifest, roots, is_wanted=True)
        return len(seen.problems), len(seen.unchecked)

    def theirs(self, *, with_roots: bool = True) -> tuple[list[str], list[str], list[str]]:
        """Return problems, unchecked parts and messages."""
        roots = list(read_roots(self.server.roots)) if with_roots else None
        check = standfast_verify.Check(HEX, "", roots)
        check.attempt("it", check.folder, self.folder, "logs/token-1")
        problems = [one for found in check.problems.values() for one in found]
        return problems, check.unchecked, check.report


@pytest.fixture
def case(tmp_path: Path, timestamp_authority: servers.Authority) -> Iterator[Case]:
    case = Case(tmp_path, timestamp_authority)
    yield case
    case.authority.close()


def _whole(case: Case) -> None:
    case.stamp()


def _without(case: Case) -> None:
    case.freeze()


def _without_its_line(case: Case) -> None:
    case.stamp()
    lines = (case.folder / CUSTODY_FILE).read_bytes().splitlines(keepends=True)
    (case.folder / CUSTODY_FILE).write_bytes(lines[0])


def _gone(case: Case) -> None:
    case.stamp()
    (case.folder / STAMP_FILE).unlink()


def _changed(case: Case) -> None:
    case.stamp()
    raw = bytearray((case.folder / STAMP_FILE).read_bytes())
    raw[-1] ^= 1
    (case.folder / STAMP_FILE).write_bytes(raw)


def _of_another_seal(case: Case) -> None:
    case.freeze()
    raw, _ = case.authority.stamp(b"another seal")
    (case.folder / STAMP_FILE).write_bytes(raw)


def _planted(case: Case, made: Callable[[bytes], bytes]) -> None:
    case.freeze()
    case.authority.stamp((case.folder / SEAL_FILE).read_bytes())
    (case.folder / STAMP_FILE).write_bytes(made(case.server.asked[-1]))


def _of_another_root(case: Case) -> None:
    signer = case.server.issued(by=[issuer("Another Root")])
    _planted(case, lambda it: case.server.answer(it, signer=signer, rewritten=bytes))


def _not_for_stamps(case: Case) -> None:
    signer = case.server.issued(usage=[])
    _planted(case, lambda it: case.server.answer(it, signer=signer, rewritten=bytes))


def _expired(case: Case) -> None:
    signer = case.server.issued(until=-timedelta(hours=1))
    _planted(case, lambda it: case.server.answer(it, signer=signer, rewritten=bytes))


def _by_sha1(case: Case) -> None:
    _planted(case, lambda it: case.server.answer(it, digest="sha1", rewritten=bytes))


def _with_another_time_in_its_line(case: Case) -> None:
    case.freeze()
    raw, stamp = case.authority.stamp((case.folder / SEAL_FILE).read_bytes())
    (case.folder / STAMP_FILE).write_bytes(raw)
    detail = f"2020-01-01T00:00:00.000000Z, SHA-256 {stamp.sha256}"
    append_custody(case.folder, at=now(), who="dana", act=Act.STAMPED, detail=detail)


def _with_a_line_that_says_nothing(case: Case) -> None:
    _with_another_time_in_its_line(case)
    lines = (case.folder / CUSTODY_FILE).read_bytes().splitlines(keepends=True)
    (case.folder / CUSTODY_FILE).write_bytes(lines[0])
    append_custody(case.folder, at=now(), who="dana", act=Act.STAMPED, detail="some time")


def _older(case: Case) -> None:
    case.ahead = timedelta(minutes=10)
    case.stamp()


def _newer(case: Case) -> None:
    case.ahead = -timedelta(minutes=10)
    case.stamp()


def _older_by_an_unknown_clock(case: Case) -> None:
    case.off = None
    _older(case)


def _older_by_a_clock_known_to_be_ahead(case: Case) -> None:
    case.off = 600_000_000
    _older(case)


@pytest.mark.parametrize(
    ("made", "problem", "unchecked"),
    [
        (_whole, "", ""),
        (_without, "", "no time stamp authority has stamped it"),
        (_without_its_line, "", "custody.jsonl does not record who fetched seal.tsr"),
        (_gone, "it is missing: custody.jsonl records it as of 20", ""),
        (_changed, "it is not the one that custody.jsonl has", ""),
        (_of_another_seal, "it stamps other content than this seal", ""),
        (_of_another_root, "it is not signed by an authority below the given roots", "who fetched"),
        (_not_for_stamps, "it is signed by a certificate that is not for", "who fetched"),
        (_expired, "it is of a time at which its authority's", "who fetched"),
        (_by_sha1, "it uses a hash that is weaker", "who fetched"),
        (_with_another_time_in_its_line, "custody.jsonl says 2020-01-01T00:00:00.000000Z", ""),
        (_with_a_line_that_says_nothing, "custody.jsonl records a time stamp without", ""),
        (_older, "it is older than what it stamps", ""),
        (_newer, "it is newer than when it was fetched", ""),
        (_older_by_an_unknown_clock, "", "it is older than what it stamps"),
        (_older_by_a_clock_known_to_be_ahead, "", ""),
    ],
)
def test_both_verifiers_agree_on_stamp_faults(
    made: Callable[[Case], None], problem: str, unchecked: str, case: Case
) -> None:
    made(case)
    problems, unsaid, told = case.theirs()
    is_without = unchecked.startswith("no time stamp")
    assert len(problems) == bool(problem), problems
    assert all(problem in one for one in problems)
    assert len(unsaid) == bool(unchecked), unsaid
    assert all(unchecked in one for one in unsaid)
    is_told = any(": stamped 20" in one and one.endswith("CN=Example Time Stamps") for one in told)
    assert is_told is (problem[:16] in ("", "it is older than", "it is newer than")) or is_without
    # A wrong stamp is wrong for every fetcher: the installation's program reports only that.
    ours = case.ours()
    assert ours[0] == bool(problem)
    assert ours[1] == (0 if problem else bool(unchecked))


def test_missing_roots_name_a_working_openssl_command(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    case.stamp()
    assert standfast_verify.main([str(case.folder), "--seal-key", HEX]) == 3
    told = capsys.readouterr().out
    (line,) = [one for one in told.splitlines() if "its time stamp, of 20" in one]
    command = line.partition("`")[2].rstrip("`")
    assert command.startswith("openssl ts -verify -in '")  # the path has a blank in it
    roots = command.replace("ROOTS", str(case.server.roots))
    assert "Verification: OK" in run(*shlex.split(roots)[1:])


def test_missing_package_leaves_the_stamp_unchecked(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.stamp()
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    problems, unsaid, _ = case.theirs()
    assert problems == []
    assert len(unsaid) == 1
    assert "the package rfc3161-client is not installed; or run `openssl ts -verify" in unsaid[0]


def test_faults_are_found_without_roots_and_package(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    _of_another_seal(case)
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    problems, _, _ = case.theirs(with_roots=False)
    assert problems == ["it stamps other content than this seal"]


@pytest.mark.parametrize(
    ("made", "status"), [(_whole, 3), (_without, 3), (_gone, 6), (_of_another_root, 6)]
)
def test_the_exit_status_says_what_it_came_to(
    made: Callable[[Case], None], status: int, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 for want of the timeline alone, in what is whole."""
    made(case)
    words = [str(case.folder), "--seal-key", HEX, "--stamp-roots", str(case.server.roots)]
    assert standfast_verify.main(words) == status
    assert ("time stamp" in capsys.readouterr().out) is (made is _without)


def test_roots_that_are_none_are_wrong_use(case: Case) -> None:
    case.stamp()
    with pytest.raises(SystemExit) as ended:
        standfast_verify.main([str(case.folder), "--stamp-roots", str(case.folder / SEAL_FILE)])
    assert ended.value.code == 2
