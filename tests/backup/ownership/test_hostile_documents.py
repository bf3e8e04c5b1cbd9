"""Hostile documents: only declared errors are raised.

- Keys, documents of an erasure and of a challenge, an owner's unfinished operation, the journal of
  a restore: each is made by the program and then damaged.
- Bytes are flipped, cut, doubled and inserted. JSON gets values of other types, numbers of
  thousands of digits, texts that are invalid names, and deeply nested lists.
- Signed documents are signed again, so that the code after the signature check is reached.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from backup.errors import BackupError, UsageError, WrongKey
from backup.format.canonical_json import to_json
from backup.format.signature import SIGNATURE_BYTES, sign
from backup.ownership.custodian_challenge import (
    answer_challenge,
    check_answer,
    make_challenge,
    read_answers,
)
from backup.ownership.custodian_public_key import wrap
from backup.ownership.decryption_challenge import decrypt_challenges
from backup.ownership.erasure.domain_erasure import erase, order_erasure
from backup.ownership.erasure.erasure_certificate import (
    _CONTEXT,
    CERTIFICATE,
    certificate_from_bytes,
    certificate_to_bytes,
)
from backup.ownership.erasure.erasure_order import (
    _ORDER_CONTEXT,
    ORDER,
    attest,
    read_attestation,
    read_order,
)
from backup.ownership.operation_plan import (
    Create,
    Forget,
    Plan,
    Put,
    _plan_to_json,
    execute_plan,
    read_plan,
)
from backup.ownership.operations.custodians import add_custodian
from backup.ownership.owner_session import open_owner
from backup.restorer.restore_journal import open_target
from backup.restorer.safe_paths import JOURNAL
from backup.retention.keeper_key import Keeper
from backup.trust.key_files import Host, open_identity
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import new_keeper
from tests.backup.owner_site import KeyDrawer, new_person, owned_site
from tests.backup.site import DOMAIN, TamperedStore

LEE, LEES = new_person("Lee")
KINDS = (
    "host", "owner", "keeper", "identity", "ssh identity", "order", "attestation", "challenge",
    "sealed number", "answers", "certificate", "plan", "journal",
)  # fmt: skip
TEXTS = ("ssh identity", "identity")  # not JSON
# JSON texts as a file may contain them; Python values cannot produce some of them.
STRANGE = (
    "null", "true", "false", "0", "-1", "-0", "1.0", "1e999", "NaN", "Infinity", "9007199254740993",
    "1" * 4000, "1" * 5000, "-" + "9" * 5000, "[]", "{}", "[null]", '[["main",0]]',
    '[["main",true]]', '[["main",' + "1" * 4000 + "]]", '{"a":1}', '""', '"x"', '"\\u0000"',
    '"a\\u0000b"', '"\\ud800"', '"é"', '"%00"', '"../../x"', '"."', '".."', '"/"', '"age1"',
    '"age1 x"',
    '"ssh-ed25519 AAAA"', '"ssh-rsa "', '"AGE-SECRET-KEY-1"', '"AAAA"', '"AAA"',
    '"0000-00-00T00:00:00.000000Z"', '"9999-12-31T23:59:59.999999Z"',
    '"' + "a" * 70_000 + '"', '"' + "00" * 32 + '"', "[" * 5000 + "]" * 5000,
    "[" * 200_000 + "]" * 200_000, '{"a":' * 5000 + "1" + "}" * 5000,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Paper:
    """A document of the program, its reader, and its writer from JSON."""

    data: bytes
    read: Callable[[bytes], object]
    made_of: Callable[[bytes], bytes] = lambda text: text + b"\n"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Paper]:
    folder = tmp_path_factory.mktemp("papers")
    site = owned_site(folder / "site")
    new_keeper(site)
    add_custodian(site.office, custodian=LEE, identity=site.identity)
    owner = site.office.owner.key
    now = site.clock()
    read_at = folder / "read"
    read_at.mkdir()

    def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def written(data: bytes) -> object:
            (read_at / name).write_bytes(data)
            return read(read_at / name)

        return written

    order = order_erasure(site.office, domain=DOMAIN, ordered_by="Dana Ray", reason="it ended")
    (attestation,) = attest(order, LEES, attested_by="Lee Moss", now=now, where="order")
    challenge, _ = make_challenge(
        load_root_chain(site.vault), site.keys, now=now, random=os.urandom
    )
    answers, _ = answer_challenge(challenge, LEES, now=now, where="challenge")
    (answer,) = read_answers(answers, "answers")
    told = read_order(order, "order")
    (sealed,) = (one for one in told.challenges if one.custodian.recipient == LEE.recipient)
    number = pyrage.decrypt(sealed.sealed, list(LEES.keys))

    def ordered(data: bytes) -> None:
        read_order(data, "order", owner=site.host.owner)
        attest(data, LEES, attested_by="Lee Moss", now=now, where="order")

    def signed(context: bytes) -> Callable[[bytes], bytes]:
        return lambda text: sign(context, text + b"\n", owner)

    def challenged(data: bytes) -> None:
        check_answer(data, answer, "challenge")
        answer_challenge(data, LEES, now=now, where="challenge")

    def answered(data: bytes) -> None:
        for one in read_answers(data, "answers"):
            check_answer(challenge, one, "answers")

    def opened(data: bytes) -> None:
        one = replace(sealed, sealed=wrap(data, (LEE,)))
        decrypt_challenges([one], LEES, kind=ORDER, text=told.text)

    def erased(data: bytes) -> None:
        """Erase with the consent of one custodian of two, which is refused."""
        one = read_attestation(data, "attestation")
        whole = read_order(order, "order")
        certificate = folder / "certificate.json"
        erase(site.office, order=whole, attestations=[one], certificate=certificate)
        raise AssertionError("it was erased on the word of one")

    def completed(path: Path) -> None:
        if read_plan(path) is None:
            raise AssertionError("there is a plan")
        with chdir(read_at):
            vault, keys = TamperedStore(), KeyDrawer()
            stores: dict[str, Any] = {"vault": vault, "keys": keys, "forget_in": [keys]}
            execute_plan(path, "deed", {"of": "x"}, lambda: plan, **stores)

    plan = Plan(
        operation="deed",
        request={"of": "x"},
        result={"root": 1},
        steps=(
            Put(where="vault", name="pub/root/0000000009", data=b"a record"),
            Put(where="keys", name="k/main/0000000000/0000000009", data=b"another"),
            Create(path=Path("made/file"), data=b"keys"),
            Forget(prefix="k/gone/", names=("k/gone/0000000000/0000000000",)),
            Forget(prefix="k/gone/"),
        ),
    )
    ssh = Ed25519PrivateKey.generate()
    request: dict[str, object] = {"point": "desk-1/1", "patterns": ["a"]}

    def restored(path: Path) -> None:
        target = path.with_name("target")
        for name in ((), ("other",)):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            (target / os.fsdecode(JOURNAL)).write_bytes(path.read_bytes())
            for one in name:
                (target / one).write_text("of somebody")
            with open_target(target, request) as opened:
                assert opened.is_resumed == (path.read_bytes() == to_json(request) + b"\n")

    host_file = site.folder / "host" / "host.json"
    return {
        "host": Paper(
            data=host_file.read_bytes(),
            read=in_file("host.json", lambda path: Host.load(path.parent)),
        ),
        "owner": Paper(
            data=(site.folder / "owner.json").read_bytes(), read=in_file("owner.json", open_owner)
        ),
        "keeper": Paper(
            data=(site.folder / "keeper.json").read_bytes(),
            read=in_file("keeper.json", Keeper.load),
        ),
        "identity": Paper(
            data=(site.folder / "custodian.txt").read_bytes(),
            read=in_file("custodian.txt", open_identity),
        ),
        "ssh identity": Paper(
            data=ssh.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            read=open_identity,
        ),
        "order": Paper(data=order, read=ordered, made_of=signed(_ORDER_CONTEXT)),
        "attestation": Paper(data=attestation, read=erased),
        "challenge": Paper(data=challenge, read=challenged),
        "sealed number": Paper(data=number, read=opened, made_of=lambda text: text),
        "answers": Paper(data=answers, read=answered),
        "certificate": Paper(
            data=certificate_to_bytes({"format": 1, "kind": CERTIFICATE, "points": 3}, owner),
            read=lambda data: certificate_from_bytes(data, site.host.owner, "certificate"),
            made_of=lambda text: in_hexadecimal(signed(_CONTEXT)(text)),
        ),
        "plan": Paper(
            data=to_json(_plan_to_json(plan)),
            read=in_file("owner.json.unfinished", completed),
            made_of=lambda text: text,
        ),
        "journal": Paper(data=to_json(request) + b"\n", read=in_file("journal", restored)),
    }


def in_hexadecimal(signed: bytes) -> bytes:
    """Encode a signature as a line of text, as in a certificate."""
    return signed[:-SIGNATURE_BYTES] + signed[-SIGNATURE_BYTES:].hex().encode() + b"\n"


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_document_is_read_as_written(papers: dict[str, Paper], kind: str) -> None:
    """The undamaged documents pass, so only the damage can cause refusals."""
    paper = papers[kind]
    if kind == "attestation":
        with pytest.raises(UsageError, match="is missing; nothing was erased"):
            paper.read(paper.data)
    else:
        paper.read(paper.data)
    if kind not in TEXTS:
        text = paper.data.partition(b"\n")[0]
        assert paper.made_of(text) == paper.data


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@given(data=st.data())
def test_damaged_documents_raise_declared_errors(
    papers: dict[str, Paper], kind: str, data: st.DataObject
) -> None:
    paper = papers[kind]
    spoilt = bytearray(paper.data)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(spoilt)))
        end = data.draw(st.integers(at, min(len(spoilt), at + 80)))
        match data.draw(st.sampled_from(["flip", "cut", "put in", "double", "end"])):
            case "flip" if at < len(spoilt):
                spoilt[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del spoilt[at:end]
            case "put in":
                spoilt[at:at] = data.draw(st.binary(max_size=40))
            case "double":
                spoilt[at:at] = spoilt[at:end]
            case _:
                del spoilt[at:]
    # A damaged path in a plan may point anywhere, so the test only reads the plan.
    read = read_plan_of(papers[kind]) if kind == "plan" else paper.read
    check(read, bytes(spoilt))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in TEXTS])
@settings(max_examples=100)
@given(data=st.data())
def test_json_of_other_values_raises_declared_errors(
    papers: dict[str, Paper], kind: str, data: st.DataObject
) -> None:
    paper = papers[kind]
    text = paper.data.partition(b"\n")[0]
    places = list(places_in(json.loads(text), ()))
    value = data.draw(st.sampled_from(places), label="place")
    strange = data.draw(st.sampled_from(STRANGE), label="value")
    check(paper.read, paper.made_of(with_strange(json.loads(text), value, strange)))


@pytest.mark.sampled
@pytest.mark.parametrize("opens", [open_identity, open_owner])
def test_truncated_encrypted_file_precedes_the_passphrase(
    papers: dict[str, Paper], tmp_path: Path, opens: Callable[..., object]
) -> None:
    """An attempt takes a second or more on purpose, so the test samples cuts."""
    locked = pyrage.passphrase.encrypt(papers["identity"].data, "word")
    path = tmp_path / "locked"
    for length in range(21, locked.index(b"\n---") + 40):
        path.write_bytes(locked[:length])
        with pytest.raises(WrongKey):
            opens(path, passphrase="word")


@pytest.mark.sampled
@pytest.mark.parametrize("opens", [open_identity, open_owner])
def test_slow_passphrase_is_not_called_wrong(
    papers: dict[str, Paper], tmp_path: Path, opens: Callable[..., object]
) -> None:
    """A slow or busy machine cannot unlock what a faster one locked."""
    locked = pyrage.passphrase.encrypt(papers["identity"].data, "word")
    path = tmp_path / "locked"
    path.write_bytes(re.sub(rb"(-> scrypt \S+) \d+", rb"\1 40", locked, count=1))
    with pytest.raises(WrongKey, match="too long"):
        opens(path, passphrase="word")


def check(read: Callable[[bytes], object], data: bytes) -> None:
    """Call the reader; only a declared error may be raised."""
    with suppress(BackupError):
        read(data)


def read_plan_of(plan: Paper) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plan"
            path.write_bytes(data)
            return read_plan(path)

    return read


def places_in(value: object, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Return the positions in a JSON value that can be replaced."""
    yield at
    if isinstance(value, dict):
        for name, below in value.items():
            yield from places_in(below, (*at, name))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from places_in(below, (*at, number))


def with_strange(value: Any, at: tuple[str | int, ...], strange: str) -> bytes:
    """Return canonical JSON with another text at one position."""
    mark = "@@here@@"
    if at:
        inner = value
        for step in at[:-1]:
            inner = inner[step]
        inner[at[-1]] = mark
    else:
        value = mark
    return to_json(value).replace(f'"{mark}"'.encode(), strange.encode())
