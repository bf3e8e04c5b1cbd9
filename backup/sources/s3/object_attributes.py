"""Properties and keys of S3 objects as extended attributes, and back.

The attributes have names that begin with `user.s3.`.

- Tags, access lists and locks are not stored.
- Amazon S3 returns metadata only in ASCII; it encodes other text. Some other stores return the
  bytes that they received. boto3 sends text as UTF-8, but decodes returned bytes as Latin-1.
  `headers_of` reverses this wrong decoding.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from backup.errors import UnsafePath

# Fields in boto3's answer to a GET that a PUT accepts as arguments.
_HEADERS = {
    "CacheControl": b"user.s3.cache-control",
    "ContentDisposition": b"user.s3.content-disposition",
    "ContentEncoding": b"user.s3.content-encoding",
    "ContentLanguage": b"user.s3.content-language",
    "ContentType": b"user.s3.content-type",
}
_VERSION = b"user.s3.version-id"
_READ_ONLY = {"ETag": b"user.s3.etag", "VersionId": _VERSION}
_METADATA = b"user.s3.meta."
KEY = b"user.s3.key"  # set if the path differs from the key

Attributes = Iterable[tuple[bytes, bytes]]


def attributes_of(answer: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return the attributes of an object from the answer to its GET."""
    kept = {
        name: str(answer[header]).encode()
        for header, name in (_HEADERS | _READ_ONLY).items()
        if answer.get(header) not in (None, "", "null")
    }
    for name, value in answer.get("Metadata", {}).items():
        kept[_METADATA + name.encode()] = value.encode()
    return kept


def headers_of(attributes: Attributes) -> dict[str, Any]:
    """Return the arguments of a PUT that restores the attributes.

    Raise `UnsafePath` if a name is not ASCII or a value is not UTF-8.
    """
    known = dict(attributes)
    try:
        headers: dict[str, Any] = {
            header: _as_sent(known[name]) for header, name in _HEADERS.items() if name in known
        }
        metadata = {
            name.removeprefix(_METADATA).decode("ascii"): _as_sent(value)
            for name, value in known.items()
            if name.startswith(_METADATA)
        }
    except UnicodeDecodeError:
        raise UnsafePath("an object has metadata that S3 does not accept") from None
    return headers | ({"Metadata": metadata} if metadata else {})


def _as_sent(value: bytes) -> str:
    """Return the text to send, so that a later GET returns the same value."""
    text = value.decode()
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def version_of(attributes: Attributes) -> str:
    """Return the version id of the object that was read, or ""."""
    return dict(attributes).get(_VERSION, b"").decode(errors="replace")


def folder_of(prefix: str) -> str:
    """Return the part of a prefix up to its last slash, which paths omit."""
    return prefix[: prefix.rfind("/") + 1]


def key_of(path: bytes, attributes: Attributes, source_prefix: str, target_prefix: str) -> str:
    """Return the key under which an object is restored below another prefix.

    `path` is the path of the object below the source. Raise `UnsafePath` if the key is outside of a
    prefix.
    """
    folder = folder_of(source_prefix)
    try:
        key = dict(attributes).get(KEY, folder.encode() + path).decode()
    except UnicodeDecodeError:
        raise UnsafePath("an object has a key that is not UTF-8") from None
    target = folder_of(target_prefix) + key.removeprefix(folder)
    if not key.startswith(folder) or not target.startswith(target_prefix):
        raise UnsafePath(
            f"an object has a key outside of the prefix {source_prefix or target_prefix!r}. "
            "Compare the prefixes of source and recovery target"
        )
    return target
