"""Time stamps over seals (RFC 3161): what an authority is asked, what is kept, what it proves.

Owns `seal.tsr` beside the seal, and its line in the chain of custody. Leaves when an authority is
asked to operations; what a stamp is made of (ASN.1, CMS, certificates) to rfc3161-client, which is
loaded when it is first needed.

Rules
- Stamped is the SHA-256 of the bytes of the seal, and so the manifest and every copy: it was there
  at the stamp's time.
- Kept is the authority's whole answer, and only one that verifies: granted, over this seal, with
  our nonce, hashes of SHA-256 or better, signed by the one certificate that it names, which was
  valid then, is for time stamping and nothing else (critical), and leads to a given root. Whether
  one was revoked is not asked: that needs another service, and a time.
- The draft lies beside the folder, not in it: a death leaves nothing there that is no evidence.
- The file comes first, then its line: `stamped`, with the stamp's time and the file's SHA-256. What
  a death left without its line gets it the next time. What stands is never replaced.
"""

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standfast.errors import ConfigurationError, Damaged, Refused, Unavailable
from standfast.evidence.custody import Act, Entry, append_custody, read_custody
from standfast.evidence.durable_files import inherit_owner, sync_folder, write_atomically
from standfast.evidence.manifest import Manifest
from standfast.evidence.seal import SEAL_FILE
from standfast.evidence.seal import STAMP_FILE as STAMP_FILE
from standfast.http_client import Deadline, HttpClient
from standfast.records import Now, moment, timestamp

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

ASK_SECONDS = 10.0
_LARGEST_BYTES = 64 * 1024  # a stamp with a long chain has 8
_CLOCKS_AGREE = timedelta(minutes=1)
_STRONG = frozenset(f"2.16.840.1.101.3.4.2.{number}" for number in (1, 2, 3))  # SHA-256, 384, 512
_OVER_ANOTHER = "is over something else: it stamps another hash"
_UNREADABLE = "cannot be read as a time stamp"
_DETAIL = re.compile(r"(\S{27}), SHA-256 ([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A time stamp that verifies."""

    at: datetime  # to the second, by the authority's clock
    authority: str  # what its certificate calls it
    sha256: str  # of the file
    line: str = ""  # the hash of its line in the chain of custody, where it was written just now


@dataclass(frozen=True, kw_only=True)
class TimestampStatus:
    """What a look at a folder's stamp came to."""

    told: str = ""  # for people; empty where there is none, and none is wanted
    problems: tuple[str, ...] = ()  # it is not what it says
    unchecked: tuple[str, ...] = ()  # it is missing, or nobody can say


def read_roots(file: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates that authorities' own have to lead to; ConfigurationError otherwise."""
    try:
        return tuple(x509.load_pem_x509_certificates(file.read_bytes()))
    except OSError as error:
        raise ConfigurationError(
            f"the roots of the time stamp authority, {file}, cannot be read: {error.strerror}"
        ) from None
    except ValueError:
        raise ConfigurationError(
            f"{file} has no certificates in PEM: the roots that time stamps are verified by"
        ) from None


class Authority:
    """A time stamp authority, asked over HTTP (RFC 3161 3.4)."""

    def __init__(
        self,
        *,
        url: str,
        roots: Sequence[x509.Certificate],
        ca_file: Path | None = None,
        seconds: float = ASK_SECONDS,
    ) -> None:
        self.host = urlsplit(url).hostname or ""
        self._url = url
        self.roots = roots
        self._seconds = seconds
        self._http = HttpClient(ca_file=ca_file, workers=1)

    def stamp(self, message: bytes) -> tuple[bytes, Stamp]:
        """Have `message` stamped; give the answer's bytes, and what they say. Sends only its hash.

        Unavailable where the authority does not answer as one; Refused where it will not, or
        answers with what does not verify. Nothing is kept here, so it may be asked again.
        """
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        request = TimestampRequestBuilder(
            data=message, hash_algorithm=HashAlgorithm.SHA256, nonce=True, cert_req=True
        ).build()
        answer = self._http.exchange(
            "POST",
            self._url,
            Deadline(self._seconds),
            headers={
                "Content-Type": "application/timestamp-query",
                "Accept": "application/timestamp-reply",
                "Accept-Encoding": "identity",
            },
            content=request.as_bytes(),
        )
        if answer.status != 200:
            is_busy = answer.is_busy or answer.status >= 500
            what_to_do = "try again later" if is_busy else "see that custody.timestamp.url is right"
            raise Unavailable(
                f"the time stamp authority {self.host} answers with HTTP status {answer.status}; "
                f"{what_to_do}",
                retry_after_seconds=answer.retry_after_seconds,
            )
        try:
            return answer.body, verify_stamp(answer.body, message, self.roots, nonce=request.nonce)
        except Damaged as error:
            raise Refused(
                f"what the time stamp authority {self.host} answered is not kept: it {error}"
            ) from None

    def close(self) -> None:
        """Close the connection that idles."""
        self._http.close()


def verify_stamp(
    raw: bytes, message: bytes, roots: Sequence[x509.Certificate], *, nonce: int | None = None
) -> Stamp:
    """Hold a stamp against what it is to be over; Damaged says what it is or does instead.

    Valid at its own time is enough: a stamp outlives its certificate.
    """
    from rfc3161_client import VerificationError, VerifierBuilder

    response = _read_response(raw)
    try:
        told = response.tst_info
        imprint, at = told.message_imprint, told.gen_time
        hashes = {one.dotted_string for one in response.signed_data.digest_algorithms}
        hashes.add(imprint.hash_algorithm.dotted_string)
        _need(hashes <= _STRONG, "goes by a hash that is weaker than SHA-256")
        of_message = hashlib.sha256(message).digest()  # as we ask; another hash is another's
        _need(imprint.message == of_message, _OVER_ANOTHER)
        is_ours = nonce in (None, told.nonce)
        _need(is_ours, "answers another request: its nonce is not ours")
        signer = _signer(response)
        was_valid = signer.not_valid_before_utc <= at <= signer.not_valid_after_utc
        _need(was_valid, "is of a time at which its authority's certificate was not valid")
        VerifierBuilder(roots=list(roots)).build().verify(response, of_message)
    except Damaged:
        raise
    except VerificationError:
        raise Damaged(
            "is not signed by an authority that the given roots vouch for, or was changed"
        ) from None
    except Exception:  # whatever a certificate that is none may lead to
        raise Damaged(_UNREADABLE) from None
    return Stamp(at=at, authority=_called(signer), sha256=hashlib.sha256(raw).hexdigest())


def read_stamp(folder: Path) -> bytes | None:
    """Give the bytes of a folder's stamp, None where it has none; never through a link.

    Damaged for what cannot be one.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / STAMP_FILE, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from None
    try:
        _need(stat.S_ISREG(os.fstat(descriptor).st_mode), "is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(_LARGEST_BYTES + 1)
    finally:
        os.close(descriptor)


def store_timestamp(folder: Path, authority: Authority, who: str, clock: Now) -> Stamp | None:
    """Have the seal of a folder stamped, or note the stamp that a death left without its line.

    None where another process is at it. Call it again after any error, or a death. Damaged where
    what stands there is no stamp of this seal; else the authority's errors, and the disk's OSError.
    """
    with _alone(folder) as is_alone:
        if not is_alone:
            return None
        seal = (folder / SEAL_FILE).read_bytes()
        raw = _there(folder)
        if raw is None:
            if recorded := stamped_line(read_custody(folder)):
                raise Damaged(f"{STAMP_FILE} is gone: custody has it as of {recorded.detail}")
            raw, stamp = authority.stamp(seal)
            draft = folder.with_name(f".{folder.name}.{STAMP_FILE}")
            write_atomically(draft, raw)
            inherit_owner(draft)
            draft.rename(folder / STAMP_FILE)
            sync_folder(folder)
        else:
            try:
                stamp = verify_stamp(raw, seal, authority.roots)
            except Damaged as error:
                raise Damaged(f"{STAMP_FILE} {error}") from None
        if stamped_line(read_custody(folder)):
            return stamp
        line = append_custody(folder, at=clock(), who=who, act=Act.STAMPED, detail=_detail(stamp))
        return replace(stamp, line=line.hash)


def is_stamped(folder: Path) -> bool:
    """Has a folder the line of its stamp? Asks nobody, and verifies nothing."""
    try:
        return stamped_line(read_custody(folder)) is not None
    except Damaged:
        return True  # verifying names what is wrong with it; a stamp would not mend it


def stamped_line(chain: Sequence[Entry]) -> Entry | None:
    """Give the line with which a stamp came to the folder."""
    return next((entry for entry in chain if entry.act is Act.STAMPED), None)


def stamped_at(line: Entry) -> str:
    """Say when, by the line alone."""
    return f"stamped {line.detail.partition(',')[0]}"


def inspect_timestamp(
    folder: Path,
    manifest: Manifest,
    roots: Sequence[x509.Certificate] | str,
    *,
    is_wanted: bool,
) -> TimestampStatus:
    """Hold the stamp of a folder whose seal and chain hold against both, and against its times.

    `roots` is why there are none, where there are none.
    """
    line = stamped_line(read_custody(folder))
    try:
        raw = read_stamp(folder)
        if raw is None:
            return _missing(line, is_wanted=is_wanted)
        if line is not None and hashlib.sha256(raw).hexdigest() != _recorded(line)[1]:
            return _wrong("is not the one that the chain of custody has")
        seal = (folder / SEAL_FILE).read_bytes()
        # Whatever else it is: a stamp of this seal has its hash in it, which takes no roots to see.
        _need(hashlib.sha256(seal).digest() in raw, _OVER_ANOTHER)
        if isinstance(roots, str):
            why = f"{STAMP_FILE} is there, and was not verified: {roots}"
            return TimestampStatus(told="not verified", unchecked=(why,))
        stamp = verify_stamp(raw, seal, roots)
        if line is not None and timestamp(stamp.at) != _recorded(line)[0]:
            return _wrong(f"says {timestamp(stamp.at)}, the chain of custody {_recorded(line)[0]}")
    except Damaged as error:
        return _wrong(str(error))
    told = f"stamped {timestamp(stamp.at)} by {stamp.authority}, {_after(stamp, manifest)}"
    problems, unchecked = _held_against_clock(stamp, manifest, line)
    if line is None:
        unchecked = (
            *unchecked,
            f"{STAMP_FILE} verifies, and is not in the chain of custody: who fetched it is unknown",
        )
    return TimestampStatus(told=told, problems=problems, unchecked=unchecked)


# inside


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Damaged(otherwise)


def _missing(line: Entry | None, *, is_wanted: bool) -> TimestampStatus:
    if line is not None:
        return _wrong(f"is gone: the chain of custody has it as of {_recorded(line)[0]}")
    if is_wanted:
        return TimestampStatus(
            told="none yet", unchecked=("no time stamp authority has stamped it yet",)
        )
    return TimestampStatus()


def _wrong(what: str) -> TimestampStatus:
    return TimestampStatus(told="WRONG", problems=(f"{STAMP_FILE} {what}",))


def _recorded(line: Entry) -> tuple[str, str]:
    """Give the time and the hash that the chain of custody has; Damaged for a line without."""
    found = _DETAIL.fullmatch(line.detail)
    if found is None:
        raise Damaged("cannot be held against the chain of custody, whose line of it names none")
    return found[1], found[2]


def _after(stamp: Stamp, manifest: Manifest) -> str:
    later = round((stamp.at - moment(manifest.ended)).total_seconds())
    if abs(later) >= 2 * 3600:
        return f"{abs(later) // 3600} h {'after' if later > 0 else 'before'} the freezing ended"
    return f"{abs(later)} s {'after' if later >= 0 else 'before'} the freezing ended"


def _held_against_clock(
    stamp: Stamp, manifest: Manifest, line: Entry | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say where the stamp's time and the host's cannot both be right.

    Where it is known how far the host's clock was off, one of them is not what it says; where it is
    not, nobody can tell which.
    """
    known = manifest.clock.offset_microseconds if manifest.clock else None
    off = timedelta(microseconds=known or 0)
    ended = moment(manifest.ended)
    contradictions = []
    if stamp.at < min(ended, ended - off) - _CLOCKS_AGREE:
        contradictions.append(
            f"{STAMP_FILE} is older than what it stamps: {timestamp(stamp.at)}, and the freezing "
            f"ended {manifest.ended} by the clock of its host"
        )
    if line is not None:
        fetched = moment(line.at)
        if stamp.at > max(fetched, fetched - off) + _CLOCKS_AGREE:
            contradictions.append(
                f"{STAMP_FILE} is newer than when it was fetched: {timestamp(stamp.at)}, and that "
                f"was {line.at} by the clock of its host"
            )
    if known is not None:
        return tuple(contradictions), ()
    return (), tuple(f"{one}, of which nobody knows how far it was off" for one in contradictions)


def _detail(stamp: Stamp) -> str:
    return f"{timestamp(stamp.at)}, SHA-256 {stamp.sha256}"


def _there(folder: Path) -> bytes | None:
    try:
        return read_stamp(folder)
    except Damaged as error:
        raise Damaged(f"{STAMP_FILE} {error}") from None


def _read_response(raw: bytes) -> "TimeStampResponse":
    from rfc3161_client import PKIStatus, decode_timestamp_response

    if len(raw) > _LARGEST_BYTES:
        raise Damaged(f"{_UNREADABLE}: it is too long for one")
    try:
        response = decode_timestamp_response(raw)
        status = response.status
    except ValueError as error:
        if "InvalidSetOrdering" in str(error):
            # Some authorities do this, and some programs bear it; rfc3161-client does not.
            raise Damaged(
                "is not in DER, as RFC 3161 has it: its certificates are not in their order; only "
                "another authority helps"
            ) from None
        raise Damaged(_UNREADABLE) from None
    _need(status == PKIStatus.GRANTED, f"grants no time stamp: its status is {status}")
    return response


def _signer(response: "TimeStampResponse") -> x509.Certificate:
    """Give the certificate that signed; Damaged where it is not one, or for more than stamping.

    Two of one issuer and number could be told apart by nobody: what is read in one of them would
    say nothing of the other, by which the signature may verify.
    """
    (info,) = response.signed_data.signer_infos
    named = [
        one
        for one in map(x509.load_der_x509_certificate, response.signed_data.certificates)
        if (one.issuer, one.serial_number) == (info.issuer, info.serial_number)
    ]
    _need(len(named) == 1, "has not the one certificate of its authority that it names")
    try:
        usage = named[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        is_for_stamps = usage.critical and [*usage.value] == [ExtendedKeyUsageOID.TIME_STAMPING]
    except x509.ExtensionNotFound:
        is_for_stamps = False
    what = "is signed by a certificate that is not for time stamping alone (critical)"
    _need(is_for_stamps, what)
    return named[0]


def _called(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else certificate.subject.rfc4514_string()
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:100]


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold the folder against another process that would have it stamped as well."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
