"""A real time stamp authority: `openssl ts` answers over HTTP.

- `running_authority(folder)`: a configuration names its `url` and `roots`; `asked` contains every
  request. `say` replaces the next answer: a status, headers and a body, or a callable's result.
- `answer(question)` is the response to a request. `rewritten` changes the stamp (TSTInfo) before it
  is signed again, by `signer` with any certificate; `bytes` changes nothing. Only stamps that are
  signed again have several certificates in the order of DER.
- `timestamp_authority` is one for the session, in its first state; each test may change it.
- `issued(...)` returns a certificate of an authority, valid or faulty as requested.
"""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.servers import installed, need
from tests.servers.over_http import Answering, listening

PROGRAM = "openssl"
REPLY = "application/timestamp-reply"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"  # id-ct-TSTInfo, RFC 3161 2.4.2
_DAY = timedelta(days=1)
_SETTINGS = """\
[tsa]
default_tsa = ours
[ours]
serial = {folder}/serial
signer_cert = {signer}.pem
signer_key = {signer}.key
certs = {signer}.chain.pem
signer_digest = {digest}
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
"""

Said = tuple[int, dict[str, str], bytes]  # status, headers, body


@dataclass(kw_only=True)
class Issuer:
    """Issuer of certificates: a root, or one below it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def issuer(name: str, above: Issuer | None = None) -> Issuer:
    """Make a root, or an issuer below another one."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = _certificate(name, key, above, _DAY, _DAY).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    signed = built.sign(above.key if above else key, hashes.SHA256())
    return Issuer(certificate=signed, key=key)


@dataclass(kw_only=True)
class Authority:
    """A running authority."""

    folder: Path
    root: Issuer
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    say: Said | Callable[[bytes], Said] | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def roots(self) -> Path:
        """Return the file of root certificates that a configuration names."""
        file = self.folder / "roots.pem"
        file.write_bytes(self.root.pem)
        return file

    def issued(
        self,
        *,
        by: Sequence[Issuer] = (),
        since: timedelta = _DAY,
        until: timedelta = _DAY,
        usage: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.TIME_STAMPING,),
        is_critical: bool = True,
    ) -> str:
        """Make an authority's certificate in `folder`; return its files' stem.

        The validity begins `since` before now and ends `until` after now. `by` has the intermediate
        certificates, nearest first.
        """
        name = f"authority-{next(self._numbers)}"
        key = ec.generate_private_key(ec.SECP256R1())
        above = by[0] if by else self.root
        built = _certificate("Example Time Stamps", key, above, since, until)
        if usage:
            built = built.add_extension(x509.ExtendedKeyUsage(usage), critical=is_critical)
        signed = built.sign(above.key, hashes.SHA256())
        file = self.folder / name
        pem = signed.public_bytes(Encoding.PEM)
        file.with_suffix(".pem").write_bytes(pem)
        # The file must not be empty; a second copy of the authority's own certificate changes
        # nothing.
        chain = b"".join(one.pem for one in by) or pem
        file.with_name(f"{name}.chain.pem").write_bytes(chain)
        file.with_suffix(".key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return name

    def answer(
        self,
        question: bytes,
        *,
        signer: str = "authority-1",
        digest: str = "sha256",
        rewritten: Callable[[bytes], bytes] | None = None,
        chain: bytes = b"",
    ) -> bytes:
        """Answer as `openssl ts`; `chain` has additional certificates."""
        work = self.folder / f"answer-{next(self._numbers)}"
        work.mkdir()
        (work / "question").write_bytes(question)
        (work / "serial").write_text("01\n")
        honest = "authority-1" if rewritten else signer
        (work / "settings").write_text(
            _SETTINGS.format(folder=work, signer=self.folder / honest, digest=digest)
        )
        told = ["-config", work / "settings", "-queryfile", work / "question"]
        run("ts", "-reply", *told, "-out", work / "answer")
        if rewritten is None:
            return (work / "answer").read_bytes()
        run("ts", "-reply", "-in", work / "answer", "-token_out", "-out", work / "token")
        der = ["-inform", "DER", "-in", work / "token"]
        run("cms", "-verify", "-noverify", *der, "-out", work / "said")
        (work / "said").write_bytes(rewritten((work / "said").read_bytes()))
        who = self.folder / signer
        beside = work / "beside.pem"
        beside.write_bytes(chain or (self.folder / f"{signer}.chain.pem").read_bytes())
        run(
            *("cms", "-sign", "-binary", "-nodetach", "-econtent_type", _TST_INFO, "-md", digest),
            *("-in", work / "said", "-signer", f"{who}.pem", "-inkey", f"{who}.key"),
            *("-certfile", beside, "-outform", "DER", "-out", work / "token"),
        )
        run("ts", "-reply", "-in", work / "token", "-token_in", "-out", work / "answer")
        return (work / "answer").read_bytes()

    def _answer(self, question: bytes) -> Said:
        self.asked.append(question)
        if callable(self.say):
            return self.say(question)
        return self.say or (200, {"Content-Type": REPLY}, self.answer(question))


@contextmanager
def running_authority(folder: Path) -> Iterator[Authority]:
    """Serve until the end of the block; make `folder` for the files."""
    need(PROGRAM, "it is the time stamp authority of these tests; apt-get install openssl")
    folder.mkdir()
    authority = Authority(folder=folder, root=issuer("Example Root"))
    authority.issued()

    class Handler(Answering):
        def do_POST(self) -> None:
            question = self.body()
            assert self.headers["Content-Type"] == "application/timestamp-query"
            status, headers, content = authority._answer(question)
            with suppress(ConnectionError):  # the client may have disconnected
                self.answer(status, content, headers)

    with listening(Handler) as port:
        authority.url = f"http://127.0.0.1:{port}/stamp"
        yield authority


@pytest.fixture(scope="session")
def running_timestamp_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Run an authority for the session; it keeps the changes of a test."""
    with running_authority(tmp_path_factory.mktemp("tsa") / "authority") as authority:
        yield authority


@pytest.fixture
def timestamp_authority(running_timestamp_authority: Authority) -> Authority:
    """A running authority with correct answers and no questions yet."""
    running_timestamp_authority.say = None
    running_timestamp_authority.asked.clear()
    return running_timestamp_authority


def run(*words: object) -> str:
    """Run openssl and return its output; fail the test if it fails."""
    done = subprocess.run(
        [installed(PROGRAM), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
        timeout=60,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    above: Issuer | None,
    since: timedelta,
    until: timedelta,
) -> x509.CertificateBuilder:
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(above.certificate.subject if above else called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - since)
        .not_valid_after(now + until)
    )
