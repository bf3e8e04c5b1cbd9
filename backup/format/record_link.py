"""Link to the previous record: its number and hash, or null."""

from dataclasses import dataclass

from backup.format.object_names import MAX_NUMBER
from backup.format.strict_fields import Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Number of a record, and the SHA-256 of all its bytes in hexadecimal."""

    number: int
    sha256: str


def link_to_json(link: Link | None) -> dict[str, object] | None:
    """Encode a link; None becomes null."""
    return None if link is None else {"number": link.number, "sha256": link.sha256}


def link_from_json(value: object, where: str) -> Link:
    """Decode a link."""
    fields = Fields(value, where, ("number", "sha256"))
    return Link(
        number=fields.integer("number", high=MAX_NUMBER),
        sha256=fields.hexadecimal("sha256", 32).hex(),
    )


def optional_link_from_json(value: object, where: str) -> Link | None:
    """Decode a link or null."""
    return None if value is None else link_from_json(value, where)
