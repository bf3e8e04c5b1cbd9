import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.evidence.host_clock import (
    LONGEST_ANSWER,
    HostClock,
    offset_in_words,
    read_host_clock,
)
from standfast.evidence.manifest import read_manifest
from standfast.evidence.seal import read_sealed, verify_seal
from tests.adapters.evidence_sources.contract import NOW, order
from tests.adapters.settings import reveal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FIXTURES = Path(__file__).parent / "fixtures"
# Output of chrony 4.6.1, on a host that follows another one on the loopback.
CHRONY = """\
Reference ID    : 7F000001 (127.0.0.1)
Stratum         : 4
Ref time (UTC)  : Fri Nov 27 19:24:00 2026
System time     : 0.000412914 seconds slow of NTP time
Last offset     : -0.000000046 seconds
RMS offset      : 0.000002173 seconds
Frequency       : 0.002 ppm slow
Residual freq   : -0.002 ppm
Skew            : 0.161 ppm
Root delay      : 0.000003863 seconds
Root dispersion : 0.000001312 seconds
Update interval : 0.5 seconds
Leap status     : Normal
"""
TIMESYNCD = """\
       Server: 192.0.2.8 (time.example.net)
Poll interval: 34min 8s (min: 32s; max 34min 8s)
         Leap: normal
      Version: 4
      Stratum: 1
    Reference: GPS
    Precision: 1us (-20)
Root distance: 83us (max: 5s)
       Offset: +1min 2.345s
        Delay: 20.521ms
       Jitter: 5.183ms
 Packet count: 123
    Frequency: +12.300ppm
"""
NTPD = """\
associd=0 status=0615 leap_none, sync_ntp, 1 event, clock_sync,
version="ntpd ntpsec-1.2.3", processor="x86_64", system="Linux", leap=00,
stratum=2, precision=-24, rootdelay=11.604, rootdisp=17.5, refid=192.0.2.9,
reftime=eb1234.1, clock=eb1235.2, peer=41291, tc=6, mintc=0, offset=-0.250042,
frequency=-14.2, sys_jitter=0.13, clk_jitter=0.01, clk_wander=0.02
"""


def saying(answers: dict[str, str | Exception]) -> Callable[[Sequence[str]], str]:
    """Answer as those programs do; the others are not installed."""

    def run(command: Sequence[str]) -> str:
        answer = answers.get(command[0], FileNotFoundError())
        if isinstance(answer, Exception):
            raise answer
        return answer

    return run


@pytest.mark.parametrize(
    ("program", "answer", "microseconds", "words"),
    [
        ("chronyc", CHRONY, -413, "0.4 ms slow"),
        ("chronyc", CHRONY.replace("slow of NTP", "fast of NTP"), 413, "0.4 ms fast"),
        ("timedatectl", TIMESYNCD, -62_345_000, "62.345 s slow"),
        ("timedatectl", TIMESYNCD.replace("+1min 2.345s", "-83us"), 83, "0.1 ms fast"),
        ("ntpq", NTPD, 250, "0.2 ms fast"),
        ("ntpq", NTPD.replace("offset=-0.25", "offset=+1.25"), -1250, "1.2 ms slow"),
    ],
)
def test_offset_comes_from_the_time_service(
    program: str, answer: str, microseconds: int, words: str
) -> None:
    clock = read_host_clock(saying({program: answer}))
    assert clock.offset_microseconds == microseconds
    assert clock.known_by.split()[0] == program
    assert clock.answer == answer
    assert offset_in_words(microseconds) == words


@pytest.mark.parametrize(
    ("program", "answer", "why"),
    [
        # Output of chrony 4.6.1 with `local stratum 3`: it serves time without a source.
        (
            "chronyc",
            CHRONY.replace("7F000001 (127.0.0.1)", "7F7F0101 ()"),
            "chronyc compares this host with itself",
        ),
        (
            "chronyc",
            CHRONY.replace("Leap status     : Normal", "Leap status     : Not synchronised"),
            "chronyc reports no synchronised clock",
        ),
        ("chronyc", subprocess.CalledProcessError(1, "chronyc"), "chronyc reached no time service"),
        ("chronyc", PermissionError(), "chronyc reached no time service"),
        (
            "chronyc",
            subprocess.TimeoutExpired("chronyc", 3),
            "chronyc did not answer within 3 s",
        ),
        ("timedatectl", TIMESYNCD[:60], "timedatectl reports no synchronised clock"),
        ("timedatectl", "Offset: +soon", "timedatectl reports no synchronised clock"),
        ("ntpq", "ntpq: read: Connection refused", "ntpq reports no synchronised clock"),
        ("ntpq", NTPD.replace("leap_none", "leap_alarm"), "ntpq reports no synchronised clock"),
        ("ntpq", NTPD.replace("192.0.2.9", "LOCAL(0)"), "ntpq compares this host with itself"),
    ],
)
def test_unknown_offset_has_a_reason(program: str, answer: str | Exception, why: str) -> None:
    clock = read_host_clock(saying({program: answer}))
    assert clock == HostClock(offset_microseconds=None, known_by=why)
    assert offset_in_words(clock.offset_microseconds) == "unknown"


def test_the_first_service_that_knows_is_believed() -> None:
    both = saying({"chronyc": PermissionError(), "timedatectl": TIMESYNCD, "ntpq": NTPD})
    assert read_host_clock(both).known_by == "timedatectl timesync-status --no-pager"
    nothing = read_host_clock(saying({}))
    assert nothing.known_by == "there is no chronyc, timedatectl, ntpq"


def test_an_endless_answer_is_cut() -> None:
    clock = read_host_clock(saying({"chronyc": CHRONY + "x" * 10**6}))
    assert len(clock.answer) == LONGEST_ANSWER


def test_asking_this_very_host_ends_in_an_answer() -> None:
    assert read_host_clock().known_by


def test_collected_evidence_states_the_clock_offset(tmp_path: Path) -> None:
    (tmp_path / "auth.log").write_text("alice signed in\n")
    custody = Custody(
        incident="2025-014", collector="r.okafor", reason="takeover", folder=tmp_path / "evidence"
    )
    source = FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=(tmp_path / "auth.log",)),
        SourceContext(
            signing_key=KEY,
            clock=lambda: NOW,
            host_clock=lambda: read_host_clock(saying({"chronyc": CHRONY})),
            reveal=reveal,
        ),
    )
    result = source.collect(order(), custody)
    assert result.facts["clock_offset_microseconds"] == -413
    assert result.facts["clock_known_by"] == "chronyc -n tracking"
    manifest = read_sealed(custody.folder / "logs" / "token-1", KEY.public_key())
    assert manifest.clock is not None
    assert manifest.clock.answer == CHRONY


@pytest.mark.parametrize("form", ["without_clock", "with_clock"])
def test_manifests_of_both_forms_round_trip(form: str) -> None:
    folder = FIXTURES / form / "logs" / "token-1"
    assert verify_seal(folder, KEY.public_key()) == []
    written = (folder / "manifest.json").read_bytes()
    manifest = read_manifest(written)
    assert manifest.as_bytes() == written
    assert (manifest.clock is not None) is (form == "with_clock")
    assert ("clock" in json.loads(written)) is (form == "with_clock")
