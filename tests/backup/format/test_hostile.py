"""Hostile input of the parsers: damage, signed nonsense, bombs, no end.

- A parser returns a record or raises a declared error, and its memory is proportional to its input.
- Signed nonsense represents an attacker with a valid key: it passes the signature check, so its
  content must be harmless.
"""

import base64
import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backup
from backup.errors import BackupError, Damaged
from backup.format.canonical_json import from_json
from backup.format.frame import MAX_RAW_BYTES, from_frame
from backup.format.keep_record import keep_from_bytes
from backup.format.manifest import leaf_from_bytes, list_from_bytes, node_from_bytes
from backup.format.object_names import (
    MAX_KEEP_RECORD_BYTES,
    MAX_KEY_RECORD_BYTES,
    MAX_ROOT_RECORD_BYTES,
    MAX_SNAPSHOT_BYTES,
    keep_name,
    key_name,
    root_name,
    snapshot_name,
)
from backup.format.pack import HEADER_BYTES, OpenPack, parse_header
from backup.format.root_record import key_from_bytes, root_from_bytes
from backup.format.snapshot import open_body, snapshot_from_bytes
from backup.trust.key_files import open_domains
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_slots import read_history
from tests.backup.fixtures.make_vectors import KEEPER, OWNER, WRITER, signed, text_of
from tests.backup.format.test_vectors import FILES, identity, object_bytes
from tests.backup.little_memory import little_memory
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import WRITER as DESK
from tests.backup.site import Site, new_site
from tests.backup.trees import plain_tree

MIB = 1024 * 1024
DOMAIN = identity(FILES["pack"], "domain")
OWNER_PUBLIC = OWNER.public_key().public_bytes_raw()


def open_pack(data: bytes) -> bytes:
    opened = OpenPack(parse_header(data[:HEADER_BYTES], "it"), [DOMAIN], "it")
    return bytes(opened.open_all(data))


def open_sealed(data: bytes) -> object:
    return open_body(data, [DOMAIN], "it")


PARSERS: dict[str, Callable[[bytes], object]] = {
    "root": lambda data: root_from_bytes(data, "it"),
    "keep": lambda data: keep_from_bytes(data, "it"),
    "key": lambda data: key_from_bytes(data, OWNER_PUBLIC, "it"),
    "snapshot": lambda data: snapshot_from_bytes(data, "it"),
    "sealed": open_sealed,
    "pack": open_pack,
    "frame": lambda data: from_frame(data, "it"),
    "leaf": lambda data: leaf_from_bytes(data, "it"),
    "node": lambda data: node_from_bytes(data, "it"),
    "list": lambda data: list(list_from_bytes(data, "it")),
    "json": lambda data: from_json(data, "it"),
}


def _valid() -> Iterator[tuple[str, bytes]]:
    for kind in ("root", "keep", "key", "snapshot", "pack"):
        for vector in FILES[kind]["vectors"]:
            if "name" in vector:
                yield kind, object_bytes(FILES[kind], vector)
    for vector in FILES["frame"]["vectors"]:
        yield "frame", bytes.fromhex(vector["hex"])
    for vector in FILES["page"]["vectors"]:
        if "name" in vector:
            yield vector["kind"], base64.b64decode(vector["data"])
    for vector in FILES["json"]["vectors"]:
        if "hex" in vector:
            yield "json", bytes.fromhex(vector["hex"])
    whole = object_bytes(FILES["snapshot"], FILES["snapshot"]["vectors"][0])
    yield "sealed", snapshot_from_bytes(whole, "it")[1]


VALID = list(_valid())


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a valid object with flipped bits or a part cut, added or doubled."""
    kind, whole = draw(st.sampled_from(VALID))
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 80))
        change = draw(st.sampled_from(("flip", "cut", "insert", "double", "end")))
        if change == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[at : at + length]
        elif change == "insert":
            data[at:at] = draw(st.binary(max_size=40))
        elif change == "double":
            data[at:at] = data[at : at + length]
        else:
            del data[at:]
    return kind, bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_damaged_objects_are_refused_or_read(case: tuple[str, bytes]) -> None:
    kind, data = case
    with suppress(BackupError):
        PARSERS[kind](data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=600))
def test_arbitrary_bytes_are_refused(kind: str, data: bytes) -> None:
    with suppress(BackupError):
        PARSERS[kind](data)


odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from(
        [0, -1, 2**31, 2**32, 2**53, "", "a", "age1x", "AA==", "00" * 32, "\ud7ff\ue000", "%",
         "../x", [], {}, [[]], [None], {"number": 1}, "2026-02-30T00:00:00.000000Z", "9" * 400]
    ),
    st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=7),
)  # fmt: skip


def places_in(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path to each value inside, and to the value itself."""
    yield way
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places_in(item, (*way, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places_in(item, (*way, index))


@st.composite
def nonsense(draw: st.DrawFn) -> tuple[str, Any]:
    """Return valid JSON with some values, fields or items changed."""
    kind, whole = draw(st.sampled_from([one for one in VALID if one[0] in SIGNERS]))
    line = whole if kind in ("leaf", "node", "list") else whole.partition(b"\n")[0]
    value = SEALED_BODY if kind == "sealed" else json.loads(line)
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([place for place in places_in(value) if place]))
        inner = value
        for step in way:
            inner = inner[step]
        change = draw(st.sampled_from(("set", "remove", "double", "add")))
        if change == "remove":
            del inner[last]
        elif change == "double" and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        elif change == "add" and isinstance(inner, dict):
            inner[draw(st.text("abxy_", max_size=3))] = copy.deepcopy(draw(odd_values))
        else:
            # Change a copy: the sampled value must be the same in the next turn.
            inner[last] = copy.deepcopy(draw(odd_values))
    return kind, value


SEALED_BODY = FILES["snapshot"]["vectors"][0]["body"]
SIGNERS: dict[str, Callable[[bytes], bytes]] = {
    "root": lambda text: signed("root", text + b"\n", OWNER),
    "key": lambda text: signed("key", text + b"\n", OWNER),
    "keep": lambda text: signed("keep", text + b"\n", KEEPER),
    "snapshot": lambda text: signed("snapshot", text + b"\nsealed", WRITER),
    "sealed": lambda text: pyrage.encrypt(
        (len(text).to_bytes(4, "big") + text).ljust(4096, b"\0"), [DOMAIN.to_public()]
    ),
    "leaf": lambda text: text,
    "node": lambda text: text,
    "list": lambda text: text,
}


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nonsense())
def test_signed_nonsense_is_refused_or_read(case: tuple[str, Any]) -> None:
    kind, value = case
    with suppress(BackupError):
        PARSERS[kind](SIGNERS[kind](text_of(value)))


@pytest.mark.parametrize("size", [MAX_RAW_BYTES + 1, 64 * MIB, 2**40])
@pytest.mark.parametrize("is_declared", [True, False])
def test_growing_frame_is_stopped(size: int, is_declared: bool) -> None:
    maker = zstandard.ZstdCompressor(level=1, write_content_size=is_declared)
    real = min(size, 64 * MIB)
    if is_declared and size > real:
        # 40 bytes that claim a tebibyte: no parser may trust the claimed size.
        bomb = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"
    else:
        bomb = maker.compress(bytes(real))
    with little_memory(MIB), pytest.raises(Damaged):
        from_frame(b"\1" + bomb, "it")


def test_frame_larger_than_claimed_is_refused() -> None:
    whole = bytearray(zstandard.ZstdCompressor(level=1).compress(bytes(4 * MIB)))
    at = whole.index((4 * MIB).to_bytes(4, "little"), 5, 12)
    whole[at : at + 4] = (1000).to_bytes(4, "little")
    with little_memory(MIB), pytest.raises(Damaged):
        from_frame(b"\1" + bytes(whole), "it")


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"9" * 100_000,
        b"[" + b"9" * 100_000 + b"]",
        b"-" * 100_000,
        b'"' + b"\\u0041" * 20_000 + b'"',
        b'"' + b"a" * 100_000,
        b"[" + b"1," * 50_000 + b"1]",
        b"[" + b"[]," * 30_000 + b"[]]",
        b"[" + b"{}," * 30_000 + b"{}]",
        b"{" + b",".join(b'"%d":1' % number for number in range(10_000)) + b"}",
    ],
    ids=lambda data: data[:8].decode(),
)
@pytest.mark.parametrize("kind", ["json", "leaf", "snapshot"])
def test_json_memory_is_proportional_to_its_bytes(kind: str, data: bytes) -> None:
    whole = data + b"\n" + bytes(64) if kind == "snapshot" else data
    # orjson reserves most of this memory for its output and never uses it.
    with little_memory(160 * len(data) + MIB // 4), suppress(BackupError):
        PARSERS[kind](whole)


class EndlessStore(MemoryStore):
    """A store with an object of 5 GB that no reader may read whole."""

    def __init__(self) -> None:
        super().__init__()
        self.endless = ""
        self.most_asked = 0

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        if name != self.endless:
            return super()._get_range(name, start, length)
        assert length is not None, f"{name} would be read whole"
        self.most_asked = max(self.most_asked, length)
        return bytes(min(length, 5 * 1024 * MIB))


@pytest.fixture
def endless(tmp_path: Path) -> tuple[Site, EndlessStore]:
    store = EndlessStore()
    site = new_site(tmp_path / "site", store)
    site.back_up(plain_tree(tmp_path / "source"))
    return site, store


def test_endless_records_are_not_read(endless: tuple[Site, EndlessStore]) -> None:
    site, store = endless
    trust = load_root_chain(store)
    readers: tuple[tuple[str, int, Callable[[], object]], ...] = (
        (root_name(1), MAX_ROOT_RECORD_BYTES, lambda: load_root_chain(store)),
        (keep_name(0), MAX_KEEP_RECORD_BYTES, lambda: load_retention_log(store, trust)),
        (
            snapshot_name(DESK, 2),
            MAX_SNAPSHOT_BYTES,
            lambda: list(read_history(store, trust, DESK)),
        ),
        (snapshot_name(DESK, 3), MAX_SNAPSHOT_BYTES, lambda: site.repository().points()),
    )
    for name, most, read in readers:
        store.put(name, b"")
        store.endless, store.most_asked = name, 0
        read()
        assert store.most_asked == most + 1
    assert site.repository().resolve("latest").sequence == 1


def test_an_endless_key_record_is_not_read(endless: tuple[Site, EndlessStore]) -> None:
    site, _ = endless
    root, keys = load_root_chain(site.vault).root, EndlessStore()
    keys.put(key_name("main", 0, 1), b"")
    keys.endless = key_name("main", 0, 1)
    with pytest.raises(Damaged, match="is not read"):
        open_domains(root, keys, site.identity)
    assert keys.most_asked == MAX_KEY_RECORD_BYTES + 1
    # The oversize record does not prevent a put of the valid one.
    keys.put(key_name("main", 0, 0), site.keys.get(key_name("main", 0, 0)))
    assert open_domains(root, keys, site.identity).keys() == {("main", 0)}


_IN_A_SMALL_PROCESS = """
import resource, sys
from backup.errors import BackupError
from tests.backup.format.test_hostile import PARSERS, VALID
import zstandard
before = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = before + 192 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
bombs = [
    ("frame", b"\\1" + zstandard.ZstdCompressor(level=1).compress(bytes(2**26))),
    ("frame", b"\\1\\x28\\xb5\\x2f\\xfd\\x80\\xa8\\x10\\0\\0\\0\\x81\\0\\0"),
    ("json", b"[" * 2**20), ("leaf", b'{"a":' * 2**17), ("root", b"[" * 2**20 + bytes(64)),
    ("pack", b"sf-pack\\0" + b"\\xff" * 4088), ("sealed", b"age-encryption.org/v1\\n" * 1000),
]
for kind, data in VALID + bombs:
    try:
        PARSERS[kind](data)
    except BackupError:
        pass
print("done")
"""


def test_parsers_work_in_a_small_process() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _IN_A_SMALL_PROCESS],
        cwd=Path(backup.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
