"""The quarterly challenge: does each custodian still hold the key, and does it still open?

- A challenge has a secret number for every custodian (see `attest`), and the key records that he
  should be able to open, so that an answer needs no store and no network.
- An answer says which number was found and which domains' keys opened.  It holds nothing that opens
  anything.
- Who took the answer in compares it with the challenge that he kept.
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
from backup.ownership.attestation import (
    Challenge,
    challenge,
    challenges_from_json,
    challenges_to_json,
    decrypt_challenges,
    is_answered,
)
from backup.ownership.custodian_public_key import Custodian, custodian, named_in
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
_LONGEST_HEADER = 16 * 1024  # of a key: a custodian takes 100 bytes of it, or 700
_CHALLENGE_FIELDS = ("repository", "owner", "created", "text", "challenges", "keys")
_KEY_FIELDS = ("domain", "generation", "recipient", "wrapped")
_ANSWER_FIELDS = ("challenge", "custodian", "nonce", "opens", "lacks", "answered_at")

Generation = tuple[str, int]  # a domain, and which of its keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one custodian gave back."""

    challenge: str  # SHA-256 of the paper
    custodian: Custodian
    nonce: bytes = field(repr=False)
    opens: tuple[Generation, ...]
    lacks: tuple[Generation, ...]  # keys that are his to open, and did not
    answered_at: datetime


def make_challenge(
    trust: RootChain, keys: Store, *, now: datetime, random: Callable[[int], bytes]
) -> tuple[bytes, tuple[Custodian, ...]]:
    """Make a paper that every custodian is to answer, and say who they are.

    `NotFound` when no domain has a key any more.
    """
    root = trust.root
    records = [
        read_key_record(keys, root, domain) for domain in root.domains if domain.erased is None
    ]
    found: dict[str, Custodian] = {}
    for record in records:
        name = key_name(record.domain, record.generation, record.number)
        found |= {one.recipient: one for one in named_in(record.custodians, name)}
    if not found:
        raise NotFound("every domain is erased: there is no key that a custodian could open")
    text = (
        f"I still hold my recovery identity for repository {root.repository.hex()}, and opened"
        f" this on being asked on {to_time(now)}."
    )
    people = tuple(found[recipient] for recipient in sorted(found))
    made = owner_document(
        CHALLENGE,
        repository=root.repository.hex(),
        owner=root.owner.hex(),
        created=to_time(now),
        text=text,
        challenges=challenges_to_json(
            challenge(one, kind=CHALLENGE, text=text, random=random) for one in people
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
    return made, people


def answer_challenge(
    data: bytes, identity: Identity, *, now: datetime, where: str
) -> tuple[bytes, tuple[Answer, ...]]:
    """Open a challenge; one paper with an answer for each custodian's key that the identity holds.

    `WrongKey` when the challenge names none of them, or is of another repository.
    """
    fields = read_owner_document(data, CHALLENGE, _CHALLENGE_FIELDS, where)
    pins = (identity.repository, identity.owner)
    theirs = (
        fields.hexadecimal("repository", REPOSITORY_BYTES),
        fields.hexadecimal("owner", 32),
    )
    if any(pin not in (None, other) for pin, other in zip(pins, theirs, strict=True)):
        raise WrongKey(f"{where} is of another repository than this identity's")
    opened = decrypt_challenges(
        _challenges(fields, where), identity, kind=CHALLENGE, text=fields.text("text")
    )
    opens, lacks = _tried(fields, identity, where)
    answers = tuple(
        Answer(
            challenge=owner_document_hash(data),
            custodian=one.custodian,
            nonce=one.nonce,
            opens=opens,
            lacks=lacks,
            answered_at=now,
        )
        for one in opened
    )
    return owner_document(f"{ANSWER}s", answers=[_answer_to_json(one) for one in answers]), answers


def read_answers(data: bytes, where: str) -> tuple[Answer, ...]:
    """Read a paper of answers; whether they are right is for `check_answer`."""
    fields = read_owner_document(data, f"{ANSWER}s", ("answers",), where)
    return tuple(_answer_from_json(item, where) for item in fields.items("answers"))


def check_answer(challenge_data: bytes, answer: Answer, where: str) -> None:
    """`UsageError` unless the answer is right for the challenge that was kept."""
    fields = read_owner_document(challenge_data, CHALLENGE, _CHALLENGE_FIELDS, where)
    for one in _challenges(fields, where):
        if one.custodian.recipient == answer.custodian.recipient and is_answered(one, answer.nonce):
            return
    raise UsageError(
        f"the answer of {answer.custodian.title} does not fit the challenge: nothing was recorded."
        " Ask for it again, with the file that this challenge was sent as"
    )


def _challenges(fields: Fields, where: str) -> tuple[Challenge, ...]:
    return challenges_from_json(fields.items("challenges"), where)


def _tried(
    fields: Fields, identity: Identity, where: str
) -> tuple[tuple[Generation, ...], tuple[Generation, ...]]:
    opens: list[Generation] = []
    lacks: list[Generation] = []
    for item in fields.items("keys"):
        one = Fields(item, where, _KEY_FIELDS)
        found = opens if _opens(one, identity) else lacks
        found.append((one.name("domain"), one.integer("generation")))
    return tuple(opens), tuple(lacks)


def _opens(one: Fields, identity: Identity) -> bool:
    try:
        wrapped = one.base64("wrapped")
        if not has_short_header(wrapped, _LONGEST_HEADER):
            return False
        text = pyrage.decrypt(wrapped, list(identity.keys))
        key = pyrage.x25519.Identity.from_str(text.decode("ascii", "replace"))
    except (pyrage.DecryptError, pyrage.IdentityError, Damaged):
        return False
    return str(key.to_public()) == one.text("recipient")


def _answer_to_json(one: Answer) -> dict[str, object]:
    return {
        "challenge": one.challenge,
        "custodian": one.custodian.text,
        "nonce": one.nonce.hex(),
        "opens": [list(generation) for generation in one.opens],
        "lacks": [list(generation) for generation in one.lacks],
        "answered_at": to_time(one.answered_at),
    }


def _answer_from_json(value: object, where: str) -> Answer:
    fields = Fields(value, where, _ANSWER_FIELDS)
    return Answer(
        challenge=fields.hexadecimal("challenge", 32).hex(),
        custodian=custodian(fields.text("custodian")),
        nonce=fields.hexadecimal("nonce", 32),
        opens=tuple(_generation(item, where) for item in fields.items("opens")),
        lacks=tuple(_generation(item, where) for item in fields.items("lacks")),
        answered_at=fields.time("answered_at"),
    )


def _generation(value: object, where: str) -> Generation:
    match value:
        case [str(domain), int(generation)]:
            return domain, generation
    raise UsageError(f"{where} names a key that is none: ask for the answer again")
