"""Quarterly challenge: a test of each custodian's key, and its answers.

- A custodian is a person that can decrypt backups. A challenge document contains a secret number
  for every custodian, encrypted to the custodian's key. It also contains the key records, the
  private keys of the backups, encrypted to the custodians. So a custodian can answer without a
  store and without a network.
- An answer contains the custodian's number, decrypted, and the names of the keys that the custodian
  could open. It contains no key.
- The receiver compares the answer with the stored challenge document.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import pyrage

from backup.errors import Damaged, NotFound, UsageError, WrongKey
from backup.format.age_header import has_short_header
from backup.format.canonical_json import to_time
from backup.format.object_names import key_name
from backup.format.root_record import REPOSITORY_BYTES
from backup.format.strict_fields import Fields
from backup.ownership.custodian_public_key import Custodian, parse_custodian, parse_custodians
from backup.ownership.decryption_challenge import (
    Challenge,
    challenges_from_json,
    challenges_to_json,
    decrypt_challenges,
    is_answered,
    new_challenge,
)
from backup.ownership.owner_documents import (
    owner_document,
    owner_document_hash,
    read_owner_document,
)
from backup.stores import Store
from backup.trust.key_files import Identity, read_key_record
from backup.trust.root_chain import RootChain

CHALLENGE = "custodian-challenge"
ANSWER = "custodian-answer"
_LONGEST_HEADER = 16 * 1024  # bytes of an age header; each custodian adds 100, an RSA key 700
_CHALLENGE_FIELDS = ("repository", "owner", "created", "text", "challenges", "keys")
_KEY_FIELDS = ("domain", "generation", "recipient", "wrapped")
_ANSWER_FIELDS = ("challenge", "custodian", "nonce", "opens", "lacks", "answered_at")

# The name of a key: an erasure domain (backup sets that share one key), and the number of the key.
Generation = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Answer of one custodian."""

    challenge: str  # SHA-256 of the challenge document
    custodian: Custodian
    nonce: bytes = field(repr=False)
    opens: tuple[Generation, ...]
    lacks: tuple[Generation, ...]  # keys that the custodian should be able to open, but could not
    answered_at: datetime


def make_challenge(
    trust: RootChain, keys: Store, *, now: datetime, random: Callable[[int], bytes]
) -> tuple[bytes, tuple[Custodian, ...]]:
    """Create a challenge document; return it and the challenged custodians.

    Raise `NotFound` if every domain is erased.
    """
    root = trust.root
    records = [
        read_key_record(keys, root, domain) for domain in root.domains if domain.erased is None
    ]
    by_key: dict[str, Custodian] = {}
    for record in records:
        name = key_name(record.domain, record.generation, record.number)
        by_key |= {
            custodian.recipient: custodian
            for custodian in parse_custodians(record.custodians, name)
        }
    if not by_key:
        raise NotFound("custodians: every domain is erased. There is no key to open.")
    text = (
        f"I still hold my recovery identity for repository {root.repository.hex()}, and opened"
        f" this on being asked on {to_time(now)}."
    )
    custodians = tuple(by_key[recipient] for recipient in sorted(by_key))
    document = owner_document(
        CHALLENGE,
        repository=root.repository.hex(),
        owner=root.owner.hex(),
        created=to_time(now),
        text=text,
        challenges=challenges_to_json(
            new_challenge(custodian, kind=CHALLENGE, text=text, random=random)
            for custodian in custodians
        ),
        keys=[
            {
                "domain": record.domain,
                "generation": record.generation,
                "recipient": record.recipient,
                "wrapped": base64.b64encode(record.wrapped).decode(),
            }
            for record in records
        ],
    )
    return document, custodians


def answer_challenge(
    data: bytes, identity: Identity, *, now: datetime, where: str
) -> tuple[bytes, tuple[Answer, ...]]:
    """Answer a challenge document with a custodian's identity file.

    The returned document has one answer for each custodian's key in the file. Raise `WrongKey`
    if the challenge names none of these keys, or belongs to another repository.
    """
    fields = read_owner_document(data, CHALLENGE, _CHALLENGE_FIELDS, where)
    pins = (identity.repository, identity.owner)
    named = (fields.hexadecimal("repository", REPOSITORY_BYTES), fields.hexadecimal("owner", 32))
    if any(pin not in (None, value) for pin, value in zip(pins, named, strict=True)):
        raise WrongKey(
            f"{where}: it belongs to another repository than this identity. Use the file and the "
            "identity of one repository."
        )
    opened = decrypt_challenges(
        _challenges(fields, where), identity, kind=CHALLENGE, text=fields.text("text")
    )
    opens, lacks = _try_keys(fields, identity, where)
    answers = tuple(
        Answer(
            challenge=owner_document_hash(data),
            custodian=challenge.custodian,
            nonce=challenge.nonce,
            opens=opens,
            lacks=lacks,
            answered_at=now,
        )
        for challenge in opened
    )
    return owner_document(
        f"{ANSWER}s", answers=[_answer_to_json(answer) for answer in answers]
    ), answers


def read_answers(data: bytes, where: str) -> tuple[Answer, ...]:
    """Read a document of answers; `check_answer` checks them."""
    fields = read_owner_document(data, f"{ANSWER}s", ("answers",), where)
    return tuple(_answer_from_json(item, where) for item in fields.items("answers"))


def check_answer(challenge_data: bytes, answer: Answer, where: str) -> None:
    """Raise `UsageError` unless an answer matches the stored challenge."""
    fields = read_owner_document(challenge_data, CHALLENGE, _CHALLENGE_FIELDS, where)
    for challenge in _challenges(fields, where):
        if challenge.custodian.recipient == answer.custodian.recipient and is_answered(
            challenge, answer.nonce
        ):
            return
    raise UsageError(
        f"answer of {answer.custodian.title}: it does not fit the challenge; nothing was recorded."
        " Ask for it again, with the file that was sent as this challenge."
    )


def _challenges(fields: Fields, where: str) -> tuple[Challenge, ...]:
    return challenges_from_json(fields.items("challenges"), where)


def _try_keys(
    fields: Fields, identity: Identity, where: str
) -> tuple[tuple[Generation, ...], tuple[Generation, ...]]:
    opens: list[Generation] = []
    lacks: list[Generation] = []
    for item in fields.items("keys"):
        key = Fields(item, where, _KEY_FIELDS)
        generations = opens if _can_open(key, identity) else lacks
        generations.append((key.name("domain"), key.integer("generation")))
    return tuple(opens), tuple(lacks)


def _can_open(fields: Fields, identity: Identity) -> bool:
    try:
        wrapped = fields.base64("wrapped")
        if not has_short_header(wrapped, _LONGEST_HEADER):
            return False
        text = pyrage.decrypt(wrapped, list(identity.keys))
        key = pyrage.x25519.Identity.from_str(text.decode("ascii", "replace"))
    except (pyrage.DecryptError, pyrage.IdentityError, Damaged):
        return False
    return str(key.to_public()) == fields.text("recipient")


def _answer_to_json(answer: Answer) -> dict[str, object]:
    return {
        "challenge": answer.challenge,
        "custodian": answer.custodian.text,
        "nonce": answer.nonce.hex(),
        "opens": [list(generation) for generation in answer.opens],
        "lacks": [list(generation) for generation in answer.lacks],
        "answered_at": to_time(answer.answered_at),
    }


def _answer_from_json(value: object, where: str) -> Answer:
    fields = Fields(value, where, _ANSWER_FIELDS)
    return Answer(
        challenge=fields.hexadecimal("challenge", 32).hex(),
        custodian=parse_custodian(fields.text("custodian")),
        nonce=fields.hexadecimal("nonce", 32),
        opens=tuple(_generation(item, where) for item in fields.items("opens")),
        lacks=tuple(_generation(item, where) for item in fields.items("lacks")),
        answered_at=fields.time("answered_at"),
    )


def _generation(value: object, where: str) -> Generation:
    match value:
        case [str(domain), int(generation)]:
            return domain, generation
    raise UsageError(f"{where}: it names an invalid key. Ask for the answer again.")
