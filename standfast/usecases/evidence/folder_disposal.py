"""Disposal of one evidence folder: keys, items and known other copies.

Disposal destroys the content of a folder. The data key of an encrypted folder encrypts its items
(collected files). Copies of the data key are stored in several places.

Rules
- The caller must verify the folder, and record that its disposal begins, before the call.
- The copies of the data key are removed first. Then nobody can read the encrypted copies in a
  bucket, although an object lock keeps their bytes. After the keys, the items are removed, the
  certificate is written, and the chain of custody (record of all acts on the folder) gets its last
  line.
- After a crash, a repeated call continues the disposal.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.backup import FilesSourceConfig
from standfast.errors import Damaged
from standfast.evidence.bucket_copy import recorded_stores
from standfast.evidence.custody import Act, Entry, append_custody, read_custody
from standfast.evidence.disposal_certificate import (
    DISPOSAL_FILE,
    Certificate,
    RemainingCopy,
    read_certificate,
    write_certificate,
)
from standfast.evidence.item_file import FILES_FOLDER
from standfast.evidence.manifest import Manifest
from standfast.evidence.private_files import sync_folder
from standfast.evidence.seal import manifest_hash, read_sealed
from standfast.evidence.wrapped_key import key_places, recorded_copies
from standfast.ledger.audit.auditor import AuditEvent
from standfast.records import timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import second_location
from standfast.usecases.evidence.playbook_review import REVIEWS


def dispose_of(
    installation: Installation,
    folder: Path,
    manifest_sha256: str,
    request: AuditEvent,
    approval: AuditEvent,
) -> Certificate:
    """Dispose of one folder, or complete an interrupted disposal."""
    signing_key = read_signing_key(installation.config.custody.key)
    manifest = read_sealed(folder, signing_key.public_key())
    if manifest_hash(folder) != manifest_sha256:
        raise Damaged("it is not the folder of the request")
    certificate = read_certificate(folder, signing_key.public_key())
    if certificate is None:
        keys, unconfirmed = _destroy_keys(installation, folder, manifest)
        if (folder / FILES_FOLDER).exists():
            shutil.rmtree(folder / FILES_FOLDER)
        sync_folder(folder)
        certificate = Certificate(
            incident=manifest.incident,
            source=manifest.source,
            token=manifest.token,
            reason=str(request.detail["reason"]),
            requested_by=request.actor,
            requested_at=timestamp(request.at),
            approved_by=approval.actor,
            approved_at=timestamp(approval.at),
            disposed_at=timestamp(installation.clock()),
            is_encrypted=manifest.encryption is not None,
            destroyed_keys=keys,
            unconfirmed=(*unconfirmed, *_other_copies(installation, folder, manifest)),
        )
        write_certificate(folder, certificate, signing_key)
    if not any(entry.act is Act.DISPOSED for entry in read_custody(folder)):
        written = hashlib.sha256((folder / DISPOSAL_FILE).read_bytes()).hexdigest()
        append_custody(
            folder,
            at=installation.clock(),
            who=approval.actor,
            act=Act.DISPOSED,
            detail=f"certificate SHA-256 {written}",
        )
    return certificate


def _destroy_keys(
    installation: Installation, folder: Path, manifest: Manifest
) -> tuple[tuple[str, ...], tuple[RemainingCopy, ...]]:
    """Remove each copy of the data key.

    Return the places of the removed copies, and the copies that perhaps still exist.
    """
    if manifest.encryption is None:
        return (), ()
    own, *configured = key_places(folder, installation.config.custody.key_copies)
    destroyed, unconfirmed = [str(own)], []
    own.unlink(missing_ok=True)  # the key existed at the verification of the folder
    sync_folder(folder)
    for place in dict.fromkeys([*recorded_copies(folder), *configured]):
        try:
            place.unlink()  # fails if the share with the copy is not mounted
            sync_folder(place.parent)
        except OSError as error:
            why = f"copy of the key: {error.strerror}"
            unconfirmed.append(RemainingCopy(where=str(place), why=why))
        else:
            destroyed.append(str(place))
    return tuple(destroyed), tuple(unconfirmed)


def _other_copies(
    installation: Installation, folder: Path, manifest: Manifest
) -> Iterator[RemainingCopy]:
    """Yield the copies that this disposal cannot destroy, with the reasons."""
    config, is_encrypted = installation.config, manifest.encryption is not None
    readable = "unreadable without the key" if is_encrypted else "READABLE: it was not encrypted"
    for where in (stores := recorded_stores(folder)):
        why = f"the bytes stay until their lock ends, {readable}"
        yield RemainingCopy(where=where, why=why)
    to = second_location(config, installation.resolver, installation.clock)
    if to is not None and to.where not in stores:
        why = f"an unfinished copy may have left bytes, {readable}"
        yield RemainingCopy(where=to.where, why=why)
    for name, settings in config.backup.sets.items():
        for source in settings.sources:
            if isinstance(source, FilesSourceConfig) and any(
                place.is_relative_to(source.path)
                for place in (folder, *config.custody.key_copies, *recorded_copies(folder))
            ):
                why = "its recovery points may have the key or the items until they expire"
                yield RemainingCopy(where=f"backup set {name}", why=why)
    for review in sorted((folder.parents[1] / REVIEWS).glob("*.jsonl")):
        why = "it remains, and may quote evidence that was not encrypted"
        yield RemainingCopy(where=str(review), why=why)
    yield from _copies_in_clear(read_custody(folder))


def _copies_in_clear(entries: list[Entry]) -> Iterator[RemainingCopy]:
    """Yield the exports and openings that wrote evidence without encryption.

    An opening is the decryption of one item for a person. It is recorded before and after the
    content is written. An opening without the second record is included.
    """
    opened = [entry.detail.partition(",")[0] for entry in entries if entry.act is Act.VIEWED]
    for entry in entries:
        by = f"by {entry.who} at {entry.at}"
        subject = entry.detail.partition(",")[0]
        if entry.act is Act.EXPORTED and entry.detail.startswith("in clear"):
            why = "the copy left this host, with its key if the evidence was encrypted"
            yield RemainingCopy(where=f"export {by}", why=why)
        elif entry.act is Act.VIEWED and entry.detail.startswith("opened item"):
            why = "content that was written in clear"
            yield RemainingCopy(where=f"{subject}, {by}", why=why)
        elif entry.act is Act.VIEWED and entry.detail.startswith("opening item"):
            item = entry.detail.partition(":")[0]
            if opened.count(item.replace("opening", "opened")) < _openings(entries, item):
                why = "an opening without a receipt may have left content in clear"
                yield RemainingCopy(where=f"{item}, {by}", why=why)


def _openings(entries: list[Entry], item: str) -> int:
    return sum(entry.act is Act.VIEWED and entry.detail.startswith(f"{item}:") for entry in entries)
