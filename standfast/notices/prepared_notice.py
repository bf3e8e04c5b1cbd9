"""Prepared notice: values of recipients, Merkle root, choice of language.

A notice is a message to the people that an incident concerns. It is made in two stages.
`template_renderer` renders its template once with the values of the incident. The result is the
prepared notice, in which slots are left for the values of recipients. This module fills the slots,
chooses the language, and computes the digests and the Merkle root over all recipients. The
use-cases record approvals.

Rules
- An approval covers exact bytes: the digest of the prepared notice, and the Merkle root over the
  digests of the recipients' messages. The digest of a message covers the digest of the notice, the
  address, every value and the content of each slot. These determine the complete text.
- Slots are filled in one pass over a list of pieces. A value is never parsed again, so a value that
  looks like a slot or a template remains text.
- In HTML, a value is escaped, and `<bdi>` isolates its direction. Thus a name that is written from
  right to left does not reverse the sentence around it.
- The ledger (the installation's database) stores the prepared notice as JSON. Thus a later change
  of the template does not change a planned notice.
"""

import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from standfast.errors import Damaged, Refused
from standfast.notices.plain_text import is_mail_text, one_line
from standfast.records import Json, JsonObject, digest

LONGEST_VALUE = 200  # characters of one recipient's value after cleaning


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text that is the same for all recipients, or the name of a slot."""

    text: str
    is_slot: bool = False


@dataclass(frozen=True, kw_only=True)
class PreparedParts:
    """The subject and the bodies in one language, in pieces."""

    subject: tuple[Piece, ...]
    text: tuple[Piece, ...]
    html: tuple[Piece, ...]

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Return the names of the slots in these parts, once each."""
        pieces = (*self.subject, *self.text, *self.html)
        return tuple(dict.fromkeys(piece.text for piece in pieces if piece.is_slot))

    @cached_property
    def is_mail_text(self) -> bool:
        """Return whether a mail can contain the pieces of the bodies."""
        return all(is_mail_text(piece.text) for piece in (*self.text, *self.html))


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The part of a message that differs between recipients.

    `digest` is the recipient's leaf in the Merkle tree. `shown` and `escaped` are the contents of
    each slot, in plain text and in HTML.
    """

    digest: str
    shown: Mapping[str, str]
    escaped: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Filled(Bound):
    """The complete message of one recipient."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A template with the values of one incident, in all its languages.

    `when_empty` has the texts for recipients without a value, by slot and language. `warnings` name
    values that some readers get untranslated or as a code; the digest does not cover them.
    """

    template: str
    languages: Mapping[str, PreparedParts]
    when_empty: Mapping[str, Mapping[str, str]]
    warnings: tuple[str, ...] = ()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest(self._approved()))

    @cached_property
    def slots(self) -> frozenset[str]:
        """Return the names of the values that a recipient may need."""
        return frozenset(slot for parts in self.languages.values() for slot in parts.slots)

    def fill(self, language: str, slots: Mapping[str, str], token: str, *, address: str) -> Filled:
        """Return one recipient's message; raise the errors of `bind`."""
        bound = self.bind(language, slots, token, address=address)
        parts = self.languages[language]
        return Filled(
            digest=bound.digest,
            shown=bound.shown,
            escaped=bound.escaped,
            # Mail programs decode an encoded word (RFC 2047). Its decoded form could contain line
            # breaks and invisible characters, which the cleaning of values removed.
            subject=join(parts.subject, bound.shown).replace("=?", "= ?"),
            text=join(parts.text, bound.shown),
            html=join(parts.html, bound.escaped),
        )

    def bind(self, language: str, slots: Mapping[str, str], token: str, *, address: str) -> Bound:
        """Return a recipient's own part; equal arguments have an equal digest.

        `token` identifies the message in all its attempts. Values are first cleaned to one visible
        line. Raise `Refused` if a value is longer than LONGEST_VALUE, if a value is empty and the
        template has no text for this case, or if the notice does not have the language (see
        `pick_language`). The error names the slot and not the value.
        """
        if language not in self.languages:
            raise Refused(
                f"notice {self.template!r}: it has no language {language!r}. Choose one of "
                f"{', '.join(sorted(self.languages))}."
            )
        values = {name: self._value(name, raw) for name, raw in slots.items()}
        names = self.languages[language].slots
        shown = {name: self._shown(name, values, language) for name in names}
        escaped = {name: f"<bdi>{html.escape(value)}</bdi>" for name, value in shown.items()}
        leaf: JsonObject = {
            "prepared": self.digest,
            "language": language,
            "token": token,
            "address": address,
            "values": values,
            "shown": shown,
            "escaped": escaped,
        }
        return Bound(digest=digest(leaf), shown=shown, escaped=escaped)

    def as_json(self) -> JsonObject:
        """Encode the notice for the ledger; `from_json` decodes it."""
        return {**self._approved(), "warnings": self.warnings, "digest": self.digest}

    @classmethod
    def from_json(cls, written: JsonObject) -> "Prepared":
        """Decode the output of `as_json`; raise `Damaged` for anything else."""
        try:
            made = cls(
                template=_text(written["template"]),
                languages={
                    language: PreparedParts(
                        **{
                            part: tuple(map(_piece, _list(pieces)))
                            for part, pieces in _object(parts).items()
                        }
                    )
                    for language, parts in _object(written["languages"]).items()
                },
                when_empty={
                    slot: {
                        language: _text(words) for language, words in _object(by_language).items()
                    }
                    for slot, by_language in _object(written["when_empty"]).items()
                },
                warnings=tuple(map(_text, _list(written["warnings"]))),
            )
            is_intact = made.digest == written["digest"]
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged("prepared notice: cannot be read. Prepare it again.") from error
        if not is_intact:
            raise Damaged("prepared notice: it does not match its digest. Prepare it again.")
        return made

    def _approved(self) -> JsonObject:
        return {
            "template": self.template,
            "languages": {
                language: {
                    "subject": _written(parts.subject),
                    "text": _written(parts.text),
                    "html": _written(parts.html),
                }
                for language, parts in self.languages.items()
            },
            "when_empty": self.when_empty,
        }

    def _value(self, name: str, raw: str) -> str:
        # Cut before cleaning, because cleaning ten megabytes of one value would take a second.
        value = one_line(raw[: 4 * LONGEST_VALUE])
        if len(value) > LONGEST_VALUE or len(raw) > 4 * LONGEST_VALUE:
            raise Refused(
                f"value {name!r} of a recipient: longer than {LONGEST_VALUE} characters. Correct "
                "it in the audience, then plan again."
            )
        return value

    def _shown(self, name: str, values: Mapping[str, str], language: str) -> str:
        shown = values.get(name) or self.when_empty.get(name, {}).get(language, "")
        if not shown:
            raise Refused(
                f"value {name!r} of a recipient: missing, and {self.template!r} has no text for "
                "this case. Add the value to the audience, or when_empty to the template."
            )
        return shown


@dataclass(frozen=True, kw_only=True)
class LanguageChoice:
    """The language for a recipient; a warning if it is not the wanted one."""

    language: str
    warning: str = ""


def pick_language(wanted: str, available: Iterable[str], default: str) -> LanguageChoice:
    """Return the nearest language that a notice has.

    The order is: the same tag, the same language in another region, `default`, English, the first
    by name. Raise ValueError if there is no language.
    """
    offered = {language.lower(): language for language in sorted(available)}
    if not offered:
        raise ValueError("a notice without a language cannot be sent")
    tag = wanted.strip().replace("_", "-").lower()
    base = tag.partition("-")[0]
    if tag in offered:
        return LanguageChoice(language=offered[tag])
    if base in offered:
        return LanguageChoice(language=offered[base])
    related = next((name for low, name in offered.items() if low.partition("-")[0] == base), None)
    if tag and related:
        return LanguageChoice(language=related, warning=f"no {tag[:35]}; {related} is sent")
    last = next((low for low in (default.lower(), "en") if low in offered), next(iter(offered)))
    missing = f"no {one_line(tag[:35])}" if tag else "no language is known"
    return LanguageChoice(language=offered[last], warning=f"{missing}; {offered[last]} is sent")


def merkle_root(digests: Sequence[str]) -> str:
    """Return the root over SHA-256 digests in hex, in their order.

    The tree is that of RFC 6962 2.1: leaves are hashed after 0x00 and nodes after 0x01, so that a
    node cannot be taken for a leaf. The root of an empty tree is the SHA-256 of the empty string.
    """
    tree = MerkleTree()
    for leaf in digests:
        tree.add(leaf)
    return tree.root()


class MerkleTree:
    """The tree of `merkle_root`, built leaf by leaf.

    It stores only the roots of complete subtrees, about log2 of the number of leaves.
    """

    def __init__(self) -> None:
        self.leaves = 0
        self._nodes: list[
            bytes
        ] = []  # complete subtrees from the left, each smaller than the one before

    def add(self, digest_of_leaf: str) -> None:
        """Add a leaf, by its SHA-256 in hex."""
        node = hashlib.sha256(b"\x00" + bytes.fromhex(digest_of_leaf)).digest()
        self.leaves += 1
        # Each zero at the end of the binary number of leaves completes one more subtree.
        for _ in range((self.leaves & -self.leaves).bit_length() - 1):
            node = hashlib.sha256(b"\x01" + self._nodes.pop() + node).digest()
        self._nodes.append(node)

    def root(self) -> str:
        """Return the root over the leaves so far."""
        if not self._nodes:
            return hashlib.sha256().hexdigest()
        *others, node = self._nodes
        for left in reversed(others):
            node = hashlib.sha256(b"\x01" + left + node).digest()
        return node.hex()


def join(pieces: tuple[Piece, ...], values: Mapping[str, str]) -> str:
    """Return the pieces with filled slots; KeyError if a value is missing."""
    return "".join([values[piece.text] if piece.is_slot else piece.text for piece in pieces])


def _written(pieces: tuple[Piece, ...]) -> list[Json]:
    return [{"slot" if piece.is_slot else "text": piece.text} for piece in pieces]


def _piece(written: Json) -> Piece:
    ((kind, text),) = _object(written).items()
    return Piece(text=_text(text), is_slot=kind == "slot")


def _object(value: Json) -> JsonObject:
    if not isinstance(value, Mapping):
        raise TypeError("an object is expected")
    return value


def _list(value: Json) -> Sequence[Json]:
    if not isinstance(value, list | tuple):
        raise TypeError("a list is expected")
    return value


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError("text is expected")
    return value
