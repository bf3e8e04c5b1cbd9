"""Formats: written records are read back; hostile bytes are refused."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyrage
import pytest
import rfc8785
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup.errors import BackupError, Damaged, FormatUnknown, WrongKey
from backup.format.canonical_json import (
    from_json,
    from_path_text,
    from_time,
    to_json,
    to_path_text,
    to_time,
)
from backup.format.frame import MAX_RAW_BYTES, from_frame, to_frame
from backup.format.manifest import (
    leaf_from_bytes,
    list_from_bytes,
    node_from_bytes,
    path_key,
    ref_from_json,
)
from backup.format.manifest_encoding import (
    entry_to_text,
    metadata_to_text,
    page_to_bytes,
    parse_metadata,
    rare_metadata_to_json,
    refs_to_texts,
    with_metadata,
)
from backup.format.object_names import (
    pack_name,
    parse_number,
    parse_pack_name,
    root_name,
    snapshot_name,
)
from backup.format.pack import (
    CAPACITY,
    HEADER_BYTES,
    MAX_PACK_BYTES,
    OpenPack,
    PackSettings,
    padded_size,
    parse_header,
    seal_pack,
)
from backup.format.root_record import key_from_bytes, root_from_bytes
from backup.format.signature import ROOT_CONTEXT, SNAPSHOT_CONTEXT, check_signature, sign
from backup.format.snapshot import (
    bitmap_to_indexes,
    indexes_to_bitmap,
    open_body,
    snapshot_from_bytes,
)

DOMAIN_KEY = pyrage.x25519.Identity.generate()
OWNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TO = PackSettings(
    repository=bytes(range(16)),
    writer="desk-1",
    domain="main",
    generation=3,
    recipient=str(DOMAIN_KEY.to_public()),
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=12,
)
names = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)


@given(json_values)
def test_json_follows_rfc_8785(value: Any) -> None:
    assert to_json(value) == rfc8785.dumps(value)
    assert from_json(to_json(value), "it") == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1, 2]", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'"\\u0041"', b"NaN", b"1e3",
     b"\xff", b"[" * 100_000, b'"\\ud800"', b"9" * 5000, b"1 ", b"\xef\xbb\xbf1", b"-0.5",
     b'{"a":[1,2.0]}', b'[{"a":1.5}]', b"18446744073709551616.0", b"[" * 300 + b"]" * 300],
)  # fmt: skip
def test_json_that_is_not_canonical_is_refused(text: bytes) -> None:
    with pytest.raises(Damaged, match="the thing"):
        from_json(text, "the thing")


def test_json_of_every_character_is_canonical() -> None:
    """Writer and reader are two libraries; a key may contain any character."""
    characters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    for start in range(0, len(characters), 4096):
        text = "".join(characters[start : start + 4096])
        assert from_json(to_json({text: text}), "it") == {text: text}
    keys = dict.fromkeys(characters[:0x800], 0)
    assert from_json(to_json(keys), "it") == keys


@given(st.binary(max_size=60))
def test_every_path_has_a_reversible_text(path: bytes) -> None:
    text = to_path_text(path)
    assert text.isprintable() or re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]*", text)
    assert from_path_text(text, "it") == path


@pytest.mark.parametrize("text", ["%", "%4", "%41", "%zz", "%c3%a9", "a\nb", "\udcff", 7, None])
def test_invalid_path_text_is_refused(text: object) -> None:
    with pytest.raises(Damaged):
        from_path_text(text, "it")


@given(st.lists(st.lists(names.map(lambda n: n.replace(b"/", b"_")), min_size=1, max_size=4)))
def test_paths_sort_component_by_component(paths: list[list[bytes]]) -> None:
    joined = sorted((b"/".join(parts) for parts in paths), key=path_key)
    assert joined == [b"/".join(parts) for parts in sorted(paths)]


def test_times_are_utc_with_microseconds() -> None:
    moment = datetime(2026, 3, 1, 1, 2, 3, 4, timezone(timedelta(hours=2)))
    assert to_time(moment) == "2026-02-28T23:02:03.000004Z"
    assert from_time(to_time(moment), "it") == moment
    assert from_time(to_time(moment), "it").tzinfo == UTC
    with pytest.raises(ValueError, match="zone"):
        to_time(datetime(2026, 3, 1))  # noqa: DTZ001 - what must be refused
    for wrong in ("2026-02-30T00:00:00.000000Z", "2026-02-28T23:02:03Z", "", None, 5):
        with pytest.raises(Damaged):
            from_time(wrong, "it")


@given(st.binary(max_size=5000), st.booleans())
def test_frame_round_trips(raw: bytes, repeated: bool) -> None:
    raw = raw * 20 if repeated else raw
    frame = b"".join(to_frame(raw))
    assert len(frame) <= len(raw) + 1
    assert from_frame(frame, "it") == raw


def test_frame_of_unbounded_size_is_refused() -> None:
    bomb = b"\1" + zstandard.ZstdCompressor().compress(bytes(MAX_RAW_BYTES + 1))
    with pytest.raises(Damaged):
        from_frame(bomb, "it")
    hidden = b"\1" + zstandard.ZstdCompressor(write_content_size=False).compress(
        bytes(MAX_RAW_BYTES)
    )
    with pytest.raises(Damaged):
        from_frame(hidden, "it")
    with pytest.raises(ValueError, match="at most"):
        to_frame(bytes(MAX_RAW_BYTES + 1))


def sealed(payload: bytes) -> bytes:
    return bytes(seal_pack(payload, TO, lambda count: b"\7" * count).data)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300_000))
def test_pack_round_trips_with_padding(size: int) -> None:
    payload = (bytes(range(1, 252)) * (size // 251 + 1))[:size]
    pack = sealed(payload)
    header = parse_header(pack[:HEADER_BYTES], "it")
    assert (header.writer, header.domain, header.generation) == ("desk-1", "main", 3)
    opened = OpenPack(header, [DOMAIN_KEY], "it").open_all(pack)
    assert opened == payload.ljust(padded_size(size), b"\0")


def test_a_full_pack_is_exactly_full() -> None:
    for size in (CAPACITY, CAPACITY - 1):
        assert len(sealed(b"x" * size)) == MAX_PACK_BYTES == 4096 + 255 * 65_536
    for size in (0, CAPACITY + 1):
        with pytest.raises(ValueError, match="contains"):
            sealed(b"x" * size)


def test_padding_costs_at_most_an_eighth() -> None:
    sizes = [padded_size(size) for size in range(4096, 2_000_000, 37)]
    assert all(p >= s for s, p in zip(range(4096, 2_000_000, 37), sizes, strict=True))
    assert all(p <= s * 1.125 for s, p in zip(range(4096, 2_000_000, 37), sizes, strict=True))
    assert len(set(sizes)) < 250


def test_repeated_random_number_repeats_no_key() -> None:
    one, other = map(sealed, (b"one", b"other"))
    assert one[96:128] != other[96:128]
    assert one[HEADER_BYTES : HEADER_BYTES + 3] != b"one"
    mask = bytes(a ^ b for a, b in zip(one[HEADER_BYTES:], other[HEADER_BYTES:], strict=True))
    # With one key and one nonce, the zero padding of both texts would cancel out.
    assert mask[100:200].count(0) < 20


def test_segments_cannot_be_cut_off_swapped_or_moved() -> None:
    payload = bytes(range(256)) * 1024
    data = sealed(payload)
    header = parse_header(data[:HEADER_BYTES], "it")
    opened = OpenPack(header, [DOMAIN_KEY], "it")
    segments = [data[at : at + 65_536] for at in range(HEADER_BYTES, len(data), 65_536)]
    assert len(segments) > 3
    cut = b"".join([data[:HEADER_BYTES], *segments[:-1]])
    with pytest.raises(Damaged, match="shorter or longer"):
        opened.open_all(cut)
    swapped = b"".join([data[:HEADER_BYTES], segments[1], segments[0], *segments[2:]])
    with pytest.raises(Damaged, match="segment 0"):
        opened.open_all(swapped)
    with pytest.raises(Damaged, match="segment 0"):
        opened.open_segments(0, segments[1])
    # A header with fewer segments is another header, so it yields another key.
    fewer = data[:10] + (len(segments) - 1).to_bytes(2, "big") + data[12:HEADER_BYTES]
    with pytest.raises(Damaged, match="does not match its key"):
        OpenPack(parse_header(fewer, "it"), [DOMAIN_KEY], "it")


def test_pack_needs_its_key_and_known_version() -> None:
    data = sealed(b"x")
    with pytest.raises(WrongKey):
        OpenPack(parse_header(data[:HEADER_BYTES], "it"), [pyrage.x25519.Identity.generate()], "it")
    with pytest.raises(FormatUnknown, match="newer version"):
        parse_header(data[:8] + b"\0\2" + data[10:HEADER_BYTES], "it")


def test_signature_binds_content_key_and_purpose() -> None:
    public = OWNER.public_key().public_bytes_raw()
    signed = sign(ROOT_CONTEXT, b"content", OWNER)
    check_signature(ROOT_CONTEXT, signed, public, "it")
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for context, data, key in (
        (SNAPSHOT_CONTEXT, signed, public),
        (ROOT_CONTEXT, b"C" + signed[1:], public),
        (ROOT_CONTEXT, signed, stranger),
        (ROOT_CONTEXT, signed[:-1], public),
        (ROOT_CONTEXT, b"", public),
    ):
        with pytest.raises(Damaged):
            check_signature(context, data, key, "it")


@given(st.sets(st.integers(0, 300)))
def test_bitmap_round_trips(indices: set[int]) -> None:
    assert bitmap_to_indexes(indexes_to_bitmap(indices)) == sorted(indices)


def test_object_names_are_classified() -> None:
    sha = "ab" * 32
    assert root_name(7) == "pub/root/0000000007"
    assert parse_number(snapshot_name("desk-1", 12), "w/desk-1/s/") == 12
    assert parse_pack_name(pack_name("desk-1", sha)) == ("desk-1", sha)
    for name in ("w/desk-1/s/12", "w/desk-1/s/00000000012", "w/x/s/0000000012"):
        assert parse_number(name, "w/desk-1/s/") is None
    for name in (f"w/desk-1/p/ff/{sha}", f"w/desk-1/p/ab/{sha}0", f"w//p/ab/{sha}"):
        assert parse_pack_name(name) is None


def an_entry(**changes: object) -> dict[str, object]:
    rare = rare_metadata_to_json(
        xattrs=((b"user.a", b"\xff"),), target=None, hard_link=None, device=None, holes=((2, 8),)
    )
    text = metadata_to_text(
        path=b"s/a", kind="file", mode=0o644, uid=0, gid=0, user="root", group="root",
        modified_ns=-1, size=10, rare=rare,
    )  # fmt: skip
    ref = [0, 5, 20, 0, 2, "cd" * 32, -1]
    return parse_metadata(text) | {"blobs": [ref], "lists": []} | changes


STRANGE = '"lists":[],\\"'


@given(
    path=st.binary(min_size=1, max_size=40),
    group=st.text(max_size=8) | st.just(STRANGE),
    modified_ns=st.integers(-(2**60), 2**60),
    holes=st.just(()) | st.just(((2, 8),)),
    lists=st.just([]) | st.just([(0, 5, 20, 0, 2, "cd" * 32, -1)]),
)
def test_entry_written_as_text_is_canonical(
    path: bytes,
    group: str,
    modified_ns: int,
    holes: tuple[tuple[int, int], ...],
    lists: list[tuple[object, ...]],
) -> None:
    rare = rare_metadata_to_json(
        xattrs=(), target=None, hard_link=STRANGE.encode(), device=None, holes=holes
    )
    text = metadata_to_text(
        path=path, kind="file", mode=0o644, uid=0, gid=0, user="root", group=group,
        modified_ns=modified_ns, size=10, rare=rare if holes else None,
    )  # fmt: skip
    texts = ",".join(refs_to_texts(lists, {0: 0, -1: -1}))
    whole = json.loads(entry_to_text(text, texts, texts))
    assert entry_to_text(text, texts, texts).encode() == to_json(whole)
    assert whole["blobs"] == whole["lists"] == [list(ref) for ref in lists]
    assert whole["path"] == to_path_text(path)
    assert whole["group"] == group
    seconds, nanoseconds = whole["modified"]
    assert seconds * 1_000_000_000 + nanoseconds == modified_ns
    fields = parse_metadata(with_metadata(text, {"hard_link": None, "mode": 0o600}))
    assert fields == {
        name: value for name, value in parse_metadata(text).items() if name != "hard_link"
    } | {"mode": 0o600}


def test_leaf_page_round_trips() -> None:
    page = page_to_bytes("leaf", ["ab" * 32], [an_entry()])
    (entry,) = leaf_from_bytes(page, "it")
    assert (entry.path, entry.modified_ns, entry.holes) == (b"s/a", -1, ((2, 8),))
    assert entry.xattrs == ((b"user.a", b"\xff"),)
    assert entry.blobs[0].pack.hex() == "ab" * 32
    assert entry.blobs[0].next is None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": 5},
        {"path": "%"},
        {"kind": "socket"},
        {"kind": "symlink"},
        {"target": "x"},
        {"mode": 0o10000},
        {"mode": True},
        {"mode": 1.5},
        {"uid": -1},
        {"size": -1},
        {"size": 2**53},
        {"modified": [0, 1_000_000_000]},
        {"modified": [0]},
        {"holes": [[5, 2], [3, 1]]},
        {"holes": [[9, 9]]},
        {"holes": [[0, 0]]},
        {"xattrs": [["a", "***"]]},
        {"device": [1, 2]},
        {"unheard_of": 1},
        {"blobs": [[1, 5, 20, 0, 2, "cd" * 32, -1]]},
        {"blobs": [[0, -5, 20, 0, 2, "cd" * 32, -1]]},
        {"blobs": [[0, CAPACITY, 20, 0, 2, "cd" * 32, -1]]},
        {"blobs": [[0, 5, 0, 0, 2, "cd" * 32, -1]]},
        {"blobs": [[0, 5, 2**40, 0, 2, "cd" * 32, 0]]},
        {"blobs": [[0, 5, 20, 0, 2, "cd" * 32, 0]]},
        {"blobs": [[0, CAPACITY - 5, 20, 0, 2, "cd" * 32, -1]]},
        {"blobs": [[0, 5, 20, MAX_RAW_BYTES, 2, "cd" * 32, -1]]},
        {"blobs": [[0, 5, 20, 0, 2, "CD" * 32, -1]]},
        {"blobs": [[0, 5, 20, 0, 2, " c" * 32, -1]]},
        {"blobs": [[True, 5, 20, 0, 2, "cd" * 32, -1]]},
        {"blobs": [7]},
        {"blobs": {}},
    ],
)
def test_an_entry_that_no_writer_writes_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Damaged):
        leaf_from_bytes(page_to_bytes("leaf", ["ab" * 32], [an_entry(**changes)]), "it")


PARSERS: list[Callable[[bytes], object]] = [
    lambda data: root_from_bytes(data, "it"),
    lambda data: key_from_bytes(data, bytes(32), "it"),
    lambda data: snapshot_from_bytes(data, "it"),
    lambda data: open_body(data, [DOMAIN_KEY], "it"),
    lambda data: open_body(pyrage.encrypt(data, [DOMAIN_KEY.to_public()]), [DOMAIN_KEY], "it"),
    lambda data: parse_header(data, "it"),
    lambda data: parse_header(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"), "it"),
    lambda data: from_frame(data, "it"),
    lambda data: from_frame(b"\1(\xb5/\xfd" + data, "it"),
    lambda data: leaf_from_bytes(data, "it"),
    lambda data: node_from_bytes(data, "it"),
    lambda data: list(list_from_bytes(data, "it")),
]


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.binary(max_size=300))
def test_no_bytes_break_a_parser(parse: Callable[[bytes], object], data: bytes) -> None:
    with suppress(BackupError):
        parse(data)


records = st.fixed_dictionaries(
    {},
    optional={
        name: json_values
        | st.sampled_from([0, "root", "key", "snapshot", "leaf", "node", "list", "ab" * 16])
        for name in (
            "format", "kind", "repository", "number", "previous", "owner", "created", "writers",
            "domains", "keeper", "items", "packs", "uses", "root", "sources", "path", "blobs",
        )
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(record=records, kind=st.sampled_from(["leaf", "node", "list"]), items=json_values)
def test_no_json_breaks_a_parser(record: object, kind: str, items: object) -> None:
    text = to_json(record)
    page = json.dumps({"items": [items], "kind": kind, "packs": ["ab" * 32]}, separators=(",", ":"))
    sealed = pyrage.encrypt(len(text).to_bytes(4, "big") + text, [DOMAIN_KEY.to_public()])
    for parse, data in (
        (PARSERS[0], sign(ROOT_CONTEXT, text + b"\n", OWNER)),
        (PARSERS[1], text + b"\n" + bytes(64)),
        (PARSERS[2], text + b"\n" + bytes(64)),
        (PARSERS[3], sealed),
        (PARSERS[9], page.encode()),
        (PARSERS[10], page.encode()),
        (PARSERS[11], page.encode()),
        (lambda data: ref_from_json(json.loads(data), "it"), text),
    ):
        with suppress(BackupError):
            parse(data)
