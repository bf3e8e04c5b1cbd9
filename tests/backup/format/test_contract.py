"""Agreement of FORMAT.md with the code, as far as tests can compare them."""

import inspect
import json
import re
from pathlib import Path

import backup
from backup import break_glass
from backup.archiver import archiver_records, blob_writer, chunker, manifest_builder, unusable_packs
from backup.archiver.backup_run import INTERIM_AFTER, INTERIM_PACKS, back_up
from backup.format.frame import MAX_STORED_BYTES, WORTHWHILE_RATIO
from backup.format.keep_record import MAX_LISTED
from backup.format.object_names import (
    MAX_BUNDLED_FILE_BYTES,
    MAX_KEEP_RECORD_BYTES,
    MAX_KEY_RECORD_BYTES,
    MAX_NUMBER,
    MAX_ROOT_RECORD_BYTES,
    MAX_SNAPSHOT_BYTES,
)
from backup.format.pack import CAPACITY, MAX_PACK_BYTES, SEGMENT_PAYLOAD
from backup.format.root_record import MAX_GENERATION
from backup.format.signature import KEEP_CONTEXT, KEY_CONTEXT, ROOT_CONTEXT, SNAPSHOT_CONTEXT
from backup.format.snapshot import MAX_TREE_DEPTH, MAX_UNREAD_BYTES, MAX_UNREAD_NAMED
from backup.retention import retention_plan
from backup.sources import chunk_sizes
from backup.sources.files import extended_attributes, file_content
from tests.backup.format.test_vectors import FAILURES, FILES, LENIENT, object_bytes

TEXT = (Path(backup.__file__).parent / "FORMAT.md").read_text()
MIB = 1024 * 1024


def section(title: str) -> str:
    (found,) = re.findall(rf"^#+ {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    return str(found)


def test_every_failure_of_the_vectors_is_explained() -> None:
    table = re.findall(
        r"^\| ((?:`[a-z-]+`(?:, )?)+) \|", section("Failures that a reader must report"), re.M
    )
    explained = {name for row in table for name in re.findall(r"`([a-z-]+)`", row)}
    assert explained == set(FAILURES)
    (lenient,) = re.findall(r"It may then ignore .*", TEXT)
    assert set(re.findall(r"`([a-z-]+)`", lenient)) == LENIENT


def test_contexts_are_those_that_are_signed_under() -> None:
    named = set(re.findall(r"`(standfast-backup-1 \w+)`", section("Signatures")))
    contexts = (ROOT_CONTEXT, KEY_CONTEXT, KEEP_CONTEXT, SNAPSHOT_CONTEXT)
    assert named == {context.decode() for context in contexts}


def test_sizes_are_those_that_are_read() -> None:
    objects = section("Objects")
    assert MAX_ROOT_RECORD_BYTES == MAX_KEY_RECORD_BYTES == MAX_BUNDLED_FILE_BYTES == MIB
    assert "copies of this page and the reader | 1 MiB" in objects
    assert (MAX_KEEP_RECORD_BYTES, MAX_SNAPSHOT_BYTES) == (16 * MIB, 64 * MIB)
    assert "keep record | 16 MiB | and at most 100,000 things" in objects
    assert "snapshot | 64 MiB" in objects
    assert f"pack | {MAX_PACK_BYTES:,}" in objects
    assert MAX_LISTED == 100_000
    assert MAX_GENERATION == 2**32 - 1
    assert MAX_STORED_BYTES == 8 * MIB + 1
    assert f"{SEGMENT_PAYLOAD:,}" in section("Pack")
    assert f"{CAPACITY:,}" in section("Pack")
    assert f"{MAX_NUMBER:,}" in section("Limits")
    assert (MAX_TREE_DEPTH, MAX_UNREAD_NAMED, MAX_UNREAD_BYTES) == (8, 10_000, 4 * MIB)
    assert "at most 8\n" in section("Snapshot")
    assert "at most 10,000 and 4 MiB of them" in section("Snapshot")


def test_long_run_commits_as_often_as_documented() -> None:
    minutes, seconds = divmod(INTERIM_AFTER.total_seconds(), 60)
    assert seconds == 0
    often = f"every {minutes:.0f} minutes or {INTERIM_PACKS:,} packs"
    assert f"commits an interim snapshot {often}" in section("Order of writes")
    assert f"interim commits are every {minutes:.0f} minutes" in TEXT
    defaults = inspect.signature(back_up).parameters
    assert defaults["interim_after"].default == INTERIM_AFTER
    assert defaults["interim_packs"].default == INTERIM_PACKS


def test_chunks_and_bundles_have_documented_sizes() -> None:
    chosen = section("Choices of a writer")
    for said, size in {
        "files under 64 KiB are one blob": chunk_sizes.SMALL_FILE_BYTES,
        "pictures are cut every 4096 KiB": chunk_sizes.MEDIA_CHUNK_BYTES,
        "average 64 KiB for databases, dumps and text": chunk_sizes.EDITED_CHUNK_BYTES,
        "1024 KiB for the rest": chunk_sizes.CHUNK_BYTES,
        "what compresses and is under 256 KiB": chunker.USUAL_PACKING.shares_below_bytes,
        "of databases, dumps and text under 16 KiB": chunker.choose_packing(
            chunk_sizes.EDITED_CHUNK_BYTES
        ).shares_below_bytes,
        "shares frames of about 1024 KiB": blob_writer.BUNDLE_BYTES,
        "or at about 2048 KiB": manifest_builder.PAGE_BYTES,
    }.items():
        assert said in re.sub(r"(\d+) MiB", lambda found: f"{int(found[1]) * 1024} KiB", chosen)
        assert f"{size // 1024} KiB" in said
    assert f"saves less than {1 - WORTHWHILE_RATIO:.0%}".replace("%", " %") in chosen
    assert (
        f"CRC-32 is 0 mod {manifest_builder.CUT_MASK + 1:,}, "
        f"at {manifest_builder.MAX_PAGE_ENTRIES:,} entries" in chosen
    )
    assert f"more than {archiver_records.MAX_REFS:,} references gets lists" in chosen
    lists = f"first of {archiver_records.FIRST_REFS}, the others of {archiver_records.MAX_REFS:,}"
    assert lists in chosen
    assert f"at most {blob_writer.MOST_BLOBS_IN_BUNDLE:,} small blobs" in chosen
    assert f"the pack that has {blob_writer.MOST_BLOBS_IN_PACK:,} of them" in chosen
    limits = section("Limits")
    assert (
        f"of a file are kept up to {extended_attributes.MOST_ATTRIBUTE_BYTES // 1024} KiB in total"
        in limits
    )
    assert f"At most {file_content.MOST_HOLES:,} holes of a file" in limits


def test_packs_move_and_expire_as_documented() -> None:
    order, keeping = section("Order of writes"), section("Retention in two phases")
    assert f"Packs under {unusable_packs.SPARSE_BELOW:.0%}".replace("%", " %") in order
    assert f"at most {unusable_packs.SPARSE_BYTES_PER_RUN >> 30} GiB" in order
    assert f"the store has had it for more than {retention_plan.MARK_AGE.days} days" in keeping
    assert f"has been marked for {retention_plan.DROP_AFTER.days} days or more" in keeping
    assert (retention_plan.MAX_EXPIRED_PERCENT, retention_plan._CLOCKS_DIFFER.total_seconds()) == (
        20,
        3600,
    )
    assert "more than a fifth of the points would expire" in keeping
    assert (
        f"more than {retention_plan._CLOCK_JUMPED.days} days after it, or more than an hour"
        in keeping
    )


def test_bundled_documents_are_small_enough_to_read() -> None:
    for path in (Path(break_glass.__file__), Path(backup.__file__).parent / "FORMAT.md"):
        assert path.stat().st_size < MAX_BUNDLED_FILE_BYTES


def test_records_have_the_fields_that_the_page_lists() -> None:
    titles = {"root": "Root record", "key": "Key record", "keep": "Keep record"}
    for kind, title in (titles | {"snapshot": "Snapshot"}).items():
        for vector in FILES[kind]["vectors"]:
            if "name" in vector:
                line = object_bytes(FILES[kind], vector).partition(b"\n")[0]
                value = {"record": json.loads(line), "sealed": vector.get("body", {})}
                blocks = re.findall(r"```\n(.*?)```", section(title), re.S)
                listed = set(re.findall(r'"(\w+)":', "".join(blocks)))
                # A link between records is explained once for all kinds of record.
                assert fields_in(value) - listed <= {"record", "sealed", "number", "sha256"}
                assert listed <= fields_in(value)


def fields_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(fields_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(fields_in, value))
    return set()
