"""Client of a time stamp authority (RFC 3161); verifies its answers.

A time stamp proves that a message existed at a time. `time_stamp_file` stores verified answers.
rfc3161-client parses ASN.1 and CMS and verifies certificate chains; it is loaded when it is first
needed.

Rules
- A time stamp is accepted only if it is granted, is over the SHA-256 of the message, contains the
  nonce of the request, and uses SHA-256 or a stronger hash.
- Exactly one certificate in the answer must be the one that the time stamp names. This certificate
  must have signed the stamp, be valid at the time of the stamp, be only for time stamping
  (critical), and lead to a given root.
- Revocation of certificates is not checked, because this would need another service.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from standfast.errors import ConfigurationError, Damaged, Refused, Unavailable
from standfast.http_client import HttpClient
from standfast.time_limit import Deadline

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

ASK_SECONDS = 10.0
LARGEST_BYTES = 64 * 1024  # a stamp with a long chain of certificates has 8 KiB
_STRONG = frozenset(f"2.16.840.1.101.3.4.2.{number}" for number in (1, 2, 3))  # SHA-256, 384, 512
OVER_ANOTHER = "stamps other content: its hash differs"
_UNREADABLE = "cannot be read as a time stamp"


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A verified time stamp."""

    at: datetime  # to the second, by the authority's clock
    authority: str  # name of the authority in its certificate
    sha256: str  # SHA-256 of the file `seal.tsr`
    line: str = ""  # hash of its line in the folder's chain of custody, if this call wrote the line


def read_roots(file: Path) -> tuple[x509.Certificate, ...]:
    """Read the root certificates of authorities from a PEM file.

    Raise ConfigurationError if the file cannot be read or has no certificates.
    """
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
    """A time stamp authority that answers over HTTP (RFC 3161 3.4)."""

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
        """Request a time stamp for `message`; return the response and the stamp.

        Only the hash of the message is sent. Raise Unavailable if the authority does not answer,
        and Refused if it refuses or its answer does not verify. Nothing is stored, so the request
        may be repeated.
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
            what_to_do = "try again later" if is_busy else "correct custody.timestamp.url"
            raise Unavailable(
                f"the time stamp authority {self.host} answers with HTTP status {answer.status}; "
                f"{what_to_do}",
                retry_after_seconds=answer.retry_after_seconds,
            )
        try:
            return answer.body, verify_stamp(answer.body, message, self.roots, nonce=request.nonce)
        except Damaged as error:
            raise Refused(
                f"time stamp authority {self.host}: its answer is rejected: it {error}"
            ) from None

    def close(self) -> None:
        """Close the idle connection."""
        self._http.close()


def verify_stamp(
    raw: bytes, message: bytes, roots: Sequence[x509.Certificate], *, nonce: int | None = None
) -> Stamp:
    """Verify a time stamp over `message`; Damaged names the fault.

    The certificate must be valid at the time of the stamp. It may have expired since then.
    """
    from rfc3161_client import VerificationError, VerifierBuilder

    response = _read_response(raw)
    try:
        token_info = response.tst_info
        imprint, at = token_info.message_imprint, token_info.gen_time
        hashes = {algorithm.dotted_string for algorithm in response.signed_data.digest_algorithms}
        hashes.add(imprint.hash_algorithm.dotted_string)
        require(hashes <= _STRONG, "uses a hash that is weaker than SHA-256")
        of_message = hashlib.sha256(message).digest()  # the hash that `Authority.stamp` sends
        require(imprint.message == of_message, OVER_ANOTHER)
        is_ours = nonce in (None, token_info.nonce)
        require(is_ours, "answers another request: its nonce is not ours")
        signer = _signing_certificate(response)
        was_valid = signer.not_valid_before_utc <= at <= signer.not_valid_after_utc
        require(was_valid, "is of a time at which its authority's certificate was not valid")
        VerifierBuilder(roots=list(roots)).build().verify(response, of_message)
    except Damaged:
        raise
    except VerificationError:
        raise Damaged(
            "is not signed by an authority below the given roots, or was changed"
        ) from None
    except Exception:  # the library documents no errors for malformed certificates
        raise Damaged(_UNREADABLE) from None
    return Stamp(at=at, authority=_authority_name(signer), sha256=hashlib.sha256(raw).hexdigest())


def require(condition: bool, otherwise: str) -> None:
    """Raise Damaged with the message `otherwise` if the condition is false."""
    if not condition:
        raise Damaged(otherwise)


def _read_response(raw: bytes) -> "TimeStampResponse":
    from rfc3161_client import PKIStatus, decode_timestamp_response

    if len(raw) > LARGEST_BYTES:
        raise Damaged(f"{_UNREADABLE}: it is too long")
    try:
        response = decode_timestamp_response(raw)
        status = response.status
    except ValueError as error:
        if "InvalidSetOrdering" in str(error):
            # Some authorities send this encoding, and some programs accept it. rfc3161-client
            # rejects it.
            raise Damaged(
                "is not in DER, which RFC 3161 requires: its certificates are in another order. "
                "Use another authority"
            ) from None
        raise Damaged(_UNREADABLE) from None
    require(status == PKIStatus.GRANTED, f"grants no time stamp: its status is {status}")
    return response


def _signing_certificate(response: "TimeStampResponse") -> x509.Certificate:
    """Return the certificate that signed the time stamp.

    Exactly one certificate must have the issuer and number that the stamp names, and it must be
    only for time stamping. Otherwise raise Damaged: with two such certificates, it would be unknown
    which of them signed.
    """
    (info,) = response.signed_data.signer_infos
    named = [
        certificate
        for certificate in map(x509.load_der_x509_certificate, response.signed_data.certificates)
        if (certificate.issuer, certificate.serial_number) == (info.issuer, info.serial_number)
    ]
    require(len(named) == 1, "does not contain the certificate that it names exactly once")
    try:
        usage = named[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        is_for_stamps = usage.critical and [*usage.value] == [ExtendedKeyUsageOID.TIME_STAMPING]
    except x509.ExtensionNotFound:
        is_for_stamps = False
    problem = "is signed by a certificate that is not for time stamping alone (critical)"
    require(is_for_stamps, problem)
    return named[0]


def _authority_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else certificate.subject.rfc4514_string()
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:100]
