"""Challenges to custodians, their answers, and consents to erasures.

A custodian is a person with a private key that decrypts the keys of the backups. A challenge asks a
custodian to prove this. An erasure deletes the key of a domain (backup sets that share one key).

Rules
- To answer, a custodian needs no configuration, no backups and no network: the command reads the
  request and the private key from files, and writes the answer to a file.
- An answer is accepted only on the machine that made its challenge, because the answer is compared
  with a copy of the challenge there.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.ownership.custodian_challenge import (
    Answer,
    Generation,
    answer_challenge,
    check_answer,
    make_challenge,
    read_answers,
)
from backup.ownership.custodian_public_key import Custodian
from backup.ownership.erasure.erasure_order import Order, attest, read_order
from backup.ownership.owner_documents import owner_document_hash
from backup.system.durable_files import create_file, read_file
from backup.trust.key_files import Identity
from backup.trust.root_chain import load_root_chain
from standfast.errors import UsageError
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.key_ceremonies.custodian_answers import (
    challenge_file,
    folder_of,
    note_answered,
    note_asked,
)
from standfast.usecases.key_ceremonies.owner_operations import Stores, check_new_file


@dataclass(frozen=True, kw_only=True)
class SentChallenge:
    """A new challenge and its recipients."""

    file: Path
    challenge: str  # SHA-256
    custodians: tuple[Custodian, ...]


def ask_custodians(stores: Stores, to: Path) -> SentChallenge:
    """Write a challenge, one file for all custodians."""
    with translated_errors("making a challenge"):
        check_new_file(to)
        trust = load_root_chain(stores.vault, owner=stores.known_owner)
        data, people = make_challenge(trust, stores.keys, now=stores.clock(), random=os.urandom)
        sha256 = owner_document_hash(data)
        folder = folder_of(stores.config.backup.send_log)
        create_file(challenge_file(folder, sha256), data)
        create_file(to.absolute(), data)
        recipients = [(person.fingerprint, person.name) for person in people]
        note_asked(folder, sha256, recipients, stores.clock())
    return SentChallenge(file=to, challenge=sha256, custodians=people)


def answer(challenge: Path, identity: Identity, to: Path, now: datetime) -> tuple[Answer, ...]:
    """Decrypt a challenge and write the answer file."""
    with translated_errors("answering the challenge"):
        check_new_file(to)
        data, answers = answer_challenge(
            read_file(challenge), identity, now=now, where=str(challenge)
        )
        create_file(to.absolute(), data)
    return answers


def accept(stores: Stores, file: Path) -> tuple[Answer, ...]:
    """Compare answers with the stored challenges and record them."""
    folder = folder_of(stores.config.backup.send_log)
    with translated_errors("accepting an answer"):
        answers = read_answers(read_file(file), str(file))
        for answered in answers:
            kept = challenge_file(folder, answered.challenge)
            if not kept.is_file():
                raise UsageError(
                    "answer: its challenge was not made here. Accept the answer on the machine "
                    "that made the challenge."
                )
            check_answer(read_file(kept), answered, str(kept))
        for answered in answers:
            note_answered(
                folder,
                sha256=answered.challenge,
                fingerprint=answered.custodian.fingerprint,
                opens=[key_text(key) for key in answered.opens],
                lacks=[key_text(key) for key in answered.lacks],
                now=stores.clock(),
            )
    return answers


def order_in(file: Path) -> Order:
    """Read an erasure order, for display; verify the owner's signature.

    The owner is the person with the offline signing key.
    """
    with translated_errors("reading the order"):
        return read_order(read_file(file), str(file))


def attest_order(
    file: Path, identity: Identity, *, name: str, to: Path, now: datetime
) -> tuple[Path, ...]:
    """Sign consent to an order, once for each key; return the paths."""
    with translated_errors("attesting"):
        papers = attest(read_file(file), identity, attested_by=name, now=now, where=str(file))
        paths = [to.absolute()]
        paths += [to.absolute().with_name(f"{to.name}.{n}") for n in range(2, len(papers) + 1)]
        for path in paths:
            check_new_file(path)
        for path, data in zip(paths, papers, strict=True):
            create_file(path, data)
    return tuple(paths)


def key_text(generation: Generation) -> str:
    """Return the name of a key pair, such as `main/0`: domain and number."""
    domain, number = generation
    return f"{domain}/{number}"
