"""Time stamps over seals, from `openssl ts` and hostile authorities."""

import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import ConfigurationError, Damaged, Refused, Unavailable
from standfast.evidence import time_stamp_file
from standfast.evidence.custody import CUSTODY_FILE, Act, append_custody, read_custody
from standfast.evidence.host_clock import HostClock
from standfast.evidence.manifest import Manifest
from standfast.evidence.seal import SEAL_FILE, STAMP_FILE, read_sealed, verify_seal
from standfast.evidence.time_stamp_authority import Authority, read_roots, verify_stamp
from standfast.evidence.time_stamp_file import TimestampStatus, inspect_timestamp, store_timestamp
from tests.adapters.evidence_sources.contract import order
from tests.adapters.settings import reveal
from tests.servers import growing
from tests.servers import timestamp_authority as servers
from tests.servers.timestamp_authority import REPLY, issuer, run

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SAID = b"what is stamped"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def server(timestamp_authority: servers.Authority) -> servers.Authority:
    return timestamp_authority


@pytest.fixture
def authority(server: servers.Authority) -> Iterator[Authority]:
    asked = Authority(url=server.url, roots=read_roots(server.roots))
    yield asked
    asked.close()


def frozen(folder: Path, *, clock: Callable[[], datetime] = now, off: int | None = 0) -> Path:
    """Freeze a log; `off` is the error of the host's clock in microseconds."""
    origin = folder / "logs"
    origin.mkdir(exist_ok=True)
    (origin / "auth.log").write_text("alice signed in\n")
    custody = Custody(
        incident="inc-1", collector="r.okafor", reason="takeover", folder=folder / "evidence"
    )
    known = HostClock(offset_microseconds=off, known_by="test", answer="")
    source = FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=(origin,)),
        SourceContext(signing_key=KEY, clock=clock, host_clock=lambda: known, reveal=reveal),
    )
    source.collect(order(), custody)
    return custody.folder / "logs" / "token-1"


def looked(folder: Path, server: servers.Authority, *, is_wanted: bool = True) -> TimestampStatus:
    roots = read_roots(server.roots)
    return inspect_timestamp(folder, sealed(folder), roots, is_wanted=is_wanted)


def sealed(folder: Path) -> Manifest:
    return read_sealed(folder, KEY.public_key())


def test_openssl_verifies_a_stored_stamp(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    before = now().replace(microsecond=0)
    stamp = store_timestamp(folder, authority, "dana", now)
    assert stamp is not None
    assert before <= stamp.at <= now()
    assert stamp.authority == "Example Time Stamps"
    assert verify_seal(folder, KEY.public_key()) == []  # what lies beside the seal is known there
    line = read_custody(folder)[-1]
    assert (line.act, line.who) == (Act.STAMPED, "dana")
    kept = (folder / STAMP_FILE).read_bytes()
    assert line.detail.endswith(f", SHA-256 {hashlib.sha256(kept).hexdigest()}")
    files = ["-in", folder / STAMP_FILE, "-data", folder / SEAL_FILE, "-CAfile", server.roots]
    assert "Verification: OK" in run("ts", "-verify", *files)
    seen = looked(folder, server)
    assert (seen.problems, seen.unchecked) == ((), ())
    assert re.fullmatch(
        r"stamped \S+Z by Example Time Stamps, \d s (after|before) the freezing ended", seen.summary
    )


def test_the_authority_learns_a_hash_and_nothing_else(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    store_timestamp(folder, authority, "dana", now)
    (question,) = server.asked
    assert hashlib.sha256((folder / SEAL_FILE).read_bytes()).digest() in question
    assert len(question) < 100


def test_stamp_with_two_intermediates_verifies(
    server: servers.Authority, authority: Authority
) -> None:
    middle = issuer("Example Middle", server.root)
    signer = server.issued(by=[issuer("Example Lower", middle), middle])
    server.say = lambda question: (200, {}, server.answer(question, signer=signer, rewritten=bytes))
    _, stamp = authority.stamp(SAID)
    assert stamp.authority == "Example Time Stamps"


def test_a_stamp_outlives_the_certificate_of_its_authority(server: servers.Authority) -> None:
    signer = server.issued(until=-timedelta(hours=1))
    question = _question(server)
    an_hour_and_more_ago = now() - timedelta(hours=2)
    raw = server.answer(
        question, signer=signer, rewritten=lambda said: at(said, an_hour_and_more_ago)
    )
    stamp = verify_stamp(raw, SAID, read_roots(server.roots))
    assert stamp.at == an_hour_and_more_ago.replace(microsecond=0)


def at(said: bytes, moment: datetime) -> bytes:
    """Change the time in a stamp."""
    return re.sub(rb"\x18\x0f\d{14}Z", b"\x18\x0f%bZ" % f"{moment:%Y%m%d%H%M%S}".encode(), said)


def _question(server: servers.Authority) -> bytes:
    """Return a request for a stamp over SAID."""
    asked = Authority(url=server.url, roots=read_roots(server.roots))
    server.asked.clear()
    asked.stamp(SAID)
    asked.close()
    return server.asked[-1]


Hostile = Callable[[servers.Authority, bytes], bytes]


def _another_nonce(server: servers.Authority, question: bytes) -> bytes:
    nonce = question[-12:-3]  # 02 08 and eight bytes, before certReq
    assert nonce[-8:] in question

    def changed(said: bytes) -> bytes:
        return said.replace(nonce[-8:], bytes([nonce[-8] ^ 1]) + nonce[-7:])

    return server.answer(question, rewritten=changed)


def _another_hash(server: servers.Authority, question: bytes) -> bytes:
    _, _, after = question.partition(b"\x04\x20")
    digest, other = after[:32], hashlib.sha256(b"another seal").digest()
    return server.answer(question, rewritten=lambda said: said.replace(digest, other))


def _of_before(server: servers.Authority, question: bytes) -> bytes:
    """A good stamp of the same seal, answered again: a replay."""
    return server.answer(server.asked[0])


def _expired(server: servers.Authority, question: bytes) -> bytes:
    signer = server.issued(until=-timedelta(hours=1))
    return server.answer(question, signer=signer, rewritten=bytes)


def _not_yet_valid(server: servers.Authority, question: bytes) -> bytes:
    signer = server.issued(since=-timedelta(hours=1))
    return server.answer(question, signer=signer, rewritten=bytes)


def _another_root(server: servers.Authority, question: bytes) -> bytes:
    signer = server.issued(by=[issuer("Another Root")])
    return server.answer(question, signer=signer, rewritten=bytes)


def _of_the_same_name_as_the_root(server: servers.Authority, question: bytes) -> bytes:
    signer = server.issued(by=[issuer("Example Root")])
    return server.answer(question, signer=signer, rewritten=bytes)


def _not_in_der(server: servers.Authority, question: bytes) -> bytes:
    """`openssl ts` writes the longer certificate of the signer first."""
    return server.answer(question, signer=server.issued(by=[issuer("M", server.root)]))


def _not_for_stamps(server: servers.Authority, question: bytes) -> bytes:
    signer = server.issued(usage=[ExtendedKeyUsageOID.CODE_SIGNING])
    return server.answer(question, signer=signer, rewritten=bytes)


def _not_critical(server: servers.Authority, question: bytes) -> bytes:
    signer = server.issued(is_critical=False)
    return server.answer(question, signer=signer, rewritten=bytes)


def _for_more_than_stamps(server: servers.Authority, question: bytes) -> bytes:
    both = [ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING]
    return server.answer(question, signer=server.issued(usage=both), rewritten=bytes)


def _for_nothing(server: servers.Authority, question: bytes) -> bytes:
    return server.answer(question, signer=server.issued(usage=[]), rewritten=bytes)


def _signed_by_sha1(server: servers.Authority, question: bytes) -> bytes:
    return server.answer(question, digest="sha1", rewritten=bytes)


def _with_a_twin_of_its_certificate(server: servers.Authority, question: bytes) -> bytes:
    """Add a false certificate for stamps with the same issuer and number."""
    signer = server.issued(usage=[])
    real = x509.load_pem_x509_certificate((server.folder / f"{signer}.pem").read_bytes())
    twin = (
        x509.CertificateBuilder()
        .subject_name(real.subject)
        .issuer_name(real.issuer)
        .public_key(real.public_key())
        .serial_number(real.serial_number)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(issuer("Example Root").key, hashes.SHA256())
    )
    pem = twin.public_bytes(Encoding.PEM)
    return server.answer(question, signer=signer, rewritten=bytes, chain=pem)


def _changed_after_signing(server: servers.Authority, question: bytes) -> bytes:
    return at(server.answer(question), now() + timedelta(minutes=5))


def _refusal(server: servers.Authority, question: bytes) -> bytes:
    sha1 = server.folder / "sha1.tsq"
    run("ts", "-query", "-digest", "00" * 20, "-sha1", "-out", sha1)
    return server.answer(sha1.read_bytes())


def _granted_without_a_stamp(server: servers.Authority, question: bytes) -> bytes:
    return bytes.fromhex("30053003020100")


BY_NOBODY = "is not signed by an authority below the given roots, or was changed"
WRONG_USE = "is signed by a certificate that is not for time stamping alone (critical)"
UNREADABLE = "cannot be read as a time stamp"
NOT_DER = (
    "is not in DER, which RFC 3161 requires: its certificates are in another order. Use another "
    "authority"
)
NOT_VALID = "is of a time at which its authority's certificate was not valid"


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (_another_nonce, "answers another request: its nonce is not ours"),
        (_of_before, "answers another request: its nonce is not ours"),
        (_another_hash, "stamps other content: its hash differs"),
        (_expired, NOT_VALID),
        (_not_yet_valid, NOT_VALID),
        (_another_root, BY_NOBODY),
        (_of_the_same_name_as_the_root, BY_NOBODY),
        (_not_for_stamps, WRONG_USE),
        (_not_critical, WRONG_USE),
        (_for_more_than_stamps, WRONG_USE),
        (_for_nothing, WRONG_USE),
        (_signed_by_sha1, "uses a hash that is weaker than SHA-256"),
        (
            _with_a_twin_of_its_certificate,
            "does not contain the certificate that it names exactly once",
        ),
        (_changed_after_signing, BY_NOBODY),
        (
            _not_in_der,
            NOT_DER,
        ),
        (_refusal, "grants no time stamp: its status is 2"),
        (_granted_without_a_stamp, UNREADABLE),
        (lambda *_: b"", UNREADABLE),
        (lambda *_: b"<html>garbage</html>", UNREADABLE),
        (lambda server, question: server.answer(question)[:-1], UNREADABLE),
        (lambda server, question: server.answer(question) + b"\0", UNREADABLE),
        (lambda *_: b"\x30" * 10_000_000, f"{UNREADABLE}: it is too long"),
        (lambda *_: b"\x30" * 17 * 1024 * 1024, UNREADABLE),
    ],
)
def test_unverifiable_stamp_is_named_and_not_stored(
    hostile: Hostile, why: str, tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    custody = (folder / CUSTODY_FILE).read_bytes()
    _question(server)
    server.say = lambda question: (200, {"Content-Type": REPLY}, hostile(server, question))
    with pytest.raises(Refused) as caught:
        authority.stamp(SAID)
    expected = f"time stamp authority 127.0.0.1: its answer is rejected: it {why}"
    assert str(caught.value) == expected
    with pytest.raises(Refused):
        store_timestamp(folder, authority, "dana", now)
    assert not (folder / STAMP_FILE).exists()
    assert (folder / CUSTODY_FILE).read_bytes() == custody
    assert verify_seal(folder, KEY.public_key()) == []


@pytest.mark.parametrize(
    ("said", "what_to_do"),
    [
        ((500, {}, b"oops"), "try again later"),
        ((429, {}, b""), "try again later"),
        ((404, {}, b""), "correct custody.timestamp.url"),
        ((204, {}, b""), "correct custody.timestamp.url"),
        (
            (302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""),
            "correct custody.timestamp.url",
        ),
    ],
)
def test_refusing_authority_is_named_with_its_status(
    said: servers.Said, what_to_do: str, server: servers.Authority, authority: Authority
) -> None:
    server.say = said
    with pytest.raises(Unavailable, match=f"HTTP status {said[0]}; {what_to_do}"):
        authority.stamp(SAID)
    assert len(server.asked) == 1  # a redirect is not followed


def test_silent_authority_is_left_at_the_limit(server: servers.Authority) -> None:
    goes_on = threading.Event()

    def silent(question: bytes) -> servers.Said:
        goes_on.wait()
        return (200, {}, b"")

    server.say = silent
    try:
        for seconds in growing(0.2):
            asked = Authority(url=server.url, roots=read_roots(server.roots), seconds=seconds)
            with closing(asked), pytest.raises(Unavailable) as left:
                asked.stamp(SAID)
            if server.asked:
                break
        assert "was not answered" in str(left.value)
    finally:
        goes_on.set()


def test_unreachable_authority_is_named(server: servers.Authority) -> None:
    asked = Authority(url="http://127.0.0.1:9/stamp", roots=read_roots(server.roots))
    with pytest.raises(Unavailable, match="no connection was made"):
        asked.stamp(SAID)
    asked.close()


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_invalid_roots_are_a_configuration_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match="has no certificates in PEM"):
        read_roots(tmp_path / "roots.pem")
    with pytest.raises(ConfigurationError, match="No such file"):
        read_roots(tmp_path / "none.pem")


class Crash(BaseException):
    """The end of the process."""


def test_crash_before_the_stamp_asks_again(
    tmp_path: Path,
    server: servers.Authority,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = frozen(tmp_path)

    def dies(*_: object) -> Path:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dies)
        with pytest.raises(Crash):
            store_timestamp(folder, authority, "dana", now)
    assert verify_seal(folder, KEY.public_key()) == []
    assert looked(folder, server) == TimestampStatus(
        summary="none yet", unchecked=("no time stamp authority has stamped it yet",)
    )
    assert store_timestamp(folder, authority, "dana", now) is not None
    assert looked(folder, server).unchecked == ()
    assert [one.name for one in folder.parent.iterdir()] == ["token-1"]


def test_crash_before_the_line_asks_nobody_again(
    tmp_path: Path,
    server: servers.Authority,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = frozen(tmp_path)

    def dies(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(time_stamp_file, "append_custody", dies)
        with pytest.raises(Crash):
            store_timestamp(folder, authority, "dana", now)
    seen = looked(folder, server)
    assert seen.problems == ()
    assert seen.unchecked == (
        "seal.tsr verifies, but is not in the chain of custody: who fetched it is unknown",
    )
    assert not time_stamp_file.is_stamped(folder)
    server.asked.clear()
    store_timestamp(folder, authority, "lee", now)
    assert server.asked == []
    assert [one.act for one in read_custody(folder)] == [Act.COLLECTED, Act.STAMPED]
    assert looked(folder, server).unchecked == ()


def test_stamping_twice_asks_once_and_writes_one_line(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    first = store_timestamp(folder, authority, "dana", now)
    assert first is not None
    assert store_timestamp(folder, authority, "dana", now) == replace(first, line="")
    assert len(server.asked) == 1
    assert len(read_custody(folder)) == 2


def test_of_two_processes_one_has_it_stamped(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    other: list[object] = []

    def meanwhile(question: bytes) -> servers.Said:
        other.append(store_timestamp(folder, authority, "lee", now))
        return (200, {}, server.answer(question))

    server.say = meanwhile
    assert store_timestamp(folder, authority, "dana", now) is not None
    assert other == [None]
    assert [one.who for one in read_custody(folder)] == ["r.okafor", "dana"]


@pytest.fixture
def stamped(tmp_path: Path, authority: Authority) -> Path:
    folder = frozen(tmp_path)
    store_timestamp(folder, authority, "dana", now)
    return folder


def wrong(folder: Path, server: servers.Authority) -> str:
    (problem,) = looked(folder, server).problems
    return problem


def test_missing_stamp_is_named_by_its_line(
    stamped: Path, server: servers.Authority, authority: Authority
) -> None:
    said = read_custody(stamped)[-1].detail
    (stamped / STAMP_FILE).unlink()
    assert wrong(stamped, server) == (
        f"seal.tsr is missing: the chain of custody records it as of {said[:27]}"
    )
    with pytest.raises(Damaged, match=r"seal\.tsr is missing"):  # and no other takes its place
        store_timestamp(stamped, authority, "dana", now)


def test_missing_stamp_is_fine_without_an_authority(
    tmp_path: Path, server: servers.Authority
) -> None:
    assert looked(frozen(tmp_path), server, is_wanted=False) == TimestampStatus()


def test_every_bit_of_a_stamp_shows(stamped: Path, server: servers.Authority) -> None:
    whole = (stamped / STAMP_FILE).read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        (stamped / STAMP_FILE).write_bytes(changed)
        assert wrong(stamped, server) == "seal.tsr is not the one that the chain of custody has"


def test_any_changed_bit_gives_a_declared_error(stamped: Path, server: servers.Authority) -> None:
    """Without a line in the chain, each stored stamp is verified."""
    roots = read_roots(server.roots)
    seal = (stamped / SEAL_FILE).read_bytes()
    whole = (stamped / STAMP_FILE).read_bytes()
    first, verified = verify_stamp(whole, seal, roots), 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        try:
            stamp = verify_stamp(bytes(changed), seal, roots)
        except Damaged:
            continue
        verified += 1
        assert (stamp.at, stamp.authority) == (first.at, first.authority)
    assert verified < len(whole) // 10  # bytes that are not signed: the line's hash has them


def test_wrong_seal_root_or_stamp_differ(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    file = folder / STAMP_FILE
    raw, _ = authority.stamp(b"another seal")
    file.write_bytes(raw)
    assert wrong(folder, server) == "seal.tsr stamps other content: its hash differs"
    with pytest.raises(Damaged, match="stamps other content"):
        store_timestamp(folder, authority, "dana", now)
    seal = (folder / SEAL_FILE).read_bytes()
    server.say = lambda question: (200, {}, _another_root(server, question))
    with pytest.raises(Refused):
        authority.stamp(seal)
    file.write_bytes(_another_root(server, server.asked[-1]))
    assert wrong(folder, server) == f"seal.tsr {BY_NOBODY}"
    file.write_bytes(b"nothing")
    assert wrong(folder, server) == "seal.tsr stamps other content: its hash differs"
    file.write_bytes(hashlib.sha256(seal).digest())
    assert wrong(folder, server) == f"seal.tsr {UNREADABLE}"
    file.unlink()
    file.symlink_to(folder / SEAL_FILE)
    assert wrong(folder, server).startswith("seal.tsr cannot be read: ")
    file.unlink()
    file.mkdir()
    assert wrong(folder, server) in (
        "seal.tsr is not a regular file",
        "seal.tsr cannot be read: Is a directory",
    )


def test_wrong_line_is_reported(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path)
    raw, stamp = authority.stamp((folder / SEAL_FILE).read_bytes())
    (folder / STAMP_FILE).write_bytes(raw)
    kept = folder.parent.parent / "kept"
    shutil.copytree(folder, kept)
    detail = f"2020-01-01T00:00:00.000000Z, SHA-256 {stamp.sha256}"
    append_custody(folder, at=now(), who="dana", act=Act.STAMPED, detail=detail)
    assert wrong(folder, server) == (
        f"seal.tsr says {stamp.at:%Y-%m-%dT%H:%M:%S}.000000Z, but the chain of custody "
        "says 2020-01-01T00:00:00.000000Z"
    )
    append_custody(kept, at=now(), who="dana", act=Act.STAMPED, detail="some time")
    assert wrong(kept, server) == (
        "seal.tsr cannot be compared with the chain of custody, whose line lacks the data"
    )


def test_a_stamp_of_another_seal_shows_without_roots(tmp_path: Path, authority: Authority) -> None:
    folder = frozen(tmp_path)
    raw, _ = authority.stamp(b"another seal")
    (folder / STAMP_FILE).write_bytes(raw)
    seen = inspect_timestamp(folder, sealed(folder), "no roots here", is_wanted=True)
    assert seen.problems == ("seal.tsr stamps other content: its hash differs",)


def test_stamp_without_roots_is_not_verified(stamped: Path) -> None:
    seen = inspect_timestamp(stamped, sealed(stamped), "no roots here", is_wanted=True)
    assert seen == TimestampStatus(
        summary="not verified",
        unchecked=("seal.tsr exists, but was not verified: no roots here",),
    )


@pytest.mark.parametrize("off", [0, None])
@pytest.mark.parametrize(
    ("clock_off", "named"),
    [
        (timedelta(minutes=10), "seal.tsr is older than what it stamps: "),
        (timedelta(minutes=-10), "seal.tsr is newer than when it was fetched: "),
        (timedelta(seconds=20), ""),
    ],
)
def test_times_that_cannot_both_be_right_are_named(
    clock_off: timedelta,
    named: str,
    off: int | None,
    tmp_path: Path,
    server: servers.Authority,
    authority: Authority,
) -> None:
    """The host's clock is wrong, right, or of unknown quality."""

    def clock() -> datetime:
        return now() + clock_off

    folder = frozen(tmp_path, clock=clock, off=off)
    store_timestamp(folder, authority, "dana", clock)
    seen = looked(folder, server)
    told = seen.unchecked if off is None else seen.problems
    assert len(told) == bool(named)
    assert all(one.startswith(named) for one in told)
    assert (seen.problems if off is None else seen.unchecked) == ()
    if named and off is None:
        assert told[0].endswith("by the clock of its host, whose offset is unknown")


def test_known_clock_offset_contradicts_nothing(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    ahead = timedelta(minutes=10)

    def clock() -> datetime:
        return now() + ahead

    folder = frozen(tmp_path, clock=clock, off=ahead // timedelta(microseconds=1))
    store_timestamp(folder, authority, "dana", clock)
    assert looked(folder, server).problems == ()


def test_a_stamp_that_came_later_says_when(
    tmp_path: Path, server: servers.Authority, authority: Authority
) -> None:
    folder = frozen(tmp_path, clock=lambda: now() - timedelta(hours=50, minutes=5))
    store_timestamp(folder, authority, "dana", now)
    assert looked(folder, server).summary.endswith(", 50 h after the freezing ended")


def test_disk_error_is_not_blamed_on_the_authority(tmp_path: Path, authority: Authority) -> None:
    folder = frozen(tmp_path)
    (folder.parent / f"..{folder.name}.{STAMP_FILE}.draft").mkdir()
    with pytest.raises(OSError, match="directory"):
        store_timestamp(folder, authority, "dana", now)
    assert verify_seal(folder, KEY.public_key()) == []
