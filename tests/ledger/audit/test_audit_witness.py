"""The witness detects rolled-back ledgers, and accuses no other ledger."""

import gc
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.errors import ConfigurationError, Damaged
from standfast.ledger import Ledger, open_ledger
from standfast.ledger.audit.hash_chain import Chain
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import open_incident


def _sequences(witness: Path) -> list[int]:
    return [json.loads(line)["sequence"] for line in witness.read_text().splitlines()]


def _signed(ledger: Ledger) -> int:
    open_incident(ledger)
    return ledger.audit.sign_head(NOW)


def test_rolled_back_database_is_named_and_not_changed(sqlite_place: Place) -> None:
    sqlite_place.create()
    copy = sqlite_place.file.with_suffix(".copy")
    with sqlite_place.opened() as ledger:
        _signed(ledger)
    shutil.copy(sqlite_place.file, copy)
    with sqlite_place.opened() as ledger:
        newest = _signed(ledger)
        assert ledger.audit.verify().is_whole
    shutil.copy(copy, sqlite_place.file)
    with sqlite_place.opened() as ledger:
        (finding,) = ledger.audit.verify().findings
        assert finding.where == "witness line 3"
        assert finding.problem.startswith(f"its event {newest} is missing")
        with pytest.raises(Damaged, match=f"event {newest} "):
            ledger.audit.sign_head(NOW)
        with pytest.raises(Damaged, match=f"event {newest} "):
            open_incident(ledger)
        assert [one.where for one in ledger.audit.verify().findings] == ["witness line 3"]


def test_head_removed_from_ledger_is_named(ledger: Ledger, intruder: Intruder) -> None:
    newest = _signed(ledger)
    intruder.run("DELETE FROM audit_head WHERE sequence = :newest", newest=newest)
    (finding,) = ledger.audit.verify().findings
    assert finding.where == "witness line 2"
    assert finding.problem.startswith(f"head {newest} is missing")


def test_every_head_goes_to_the_witness_in_order(ledger: Ledger, place: Place) -> None:
    expected = [1, _signed(ledger), _signed(ledger)]
    assert _sequences(place.witness) == expected
    report = ledger.audit.verify()
    assert (report.heads, report.witnessed, report.missing_heads, report.findings) == (3, 3, 0, ())


def test_torn_last_line_is_written_again(ledger: Ledger, place: Place) -> None:
    newest = _signed(ledger)
    whole = place.witness.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1, 20):
        place.witness.write_bytes(whole[:-cut])
        report = ledger.audit.verify()
        assert (report.findings, report.heads, report.witnessed, report.missing_heads) == (
            (),
            2,
            1,
            1,
        )
        assert ledger.audit.sign_head(NOW) == newest
        assert place.witness.read_bytes() == whole


def test_unsent_heads_reach_the_witness_later(ledger: Ledger, place: Place) -> None:
    """The ledger commits first, while the witness cannot be written."""
    aside = place.witness.parent.with_name("aside")
    place.witness.parent.rename(aside)
    place.witness.parent.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"witness .*cannot be written"):
        _signed(ledger)
    place.witness.parent.unlink()
    aside.rename(place.witness.parent)
    assert ledger.audit.verify().findings == ()
    assert _sequences(place.witness) == [1]
    newest = _signed(ledger)
    assert _sequences(place.witness) == [1, newest - 1, newest]
    assert ledger.audit.verify().witnessed == 3


def test_witness_may_lag_behind_another_host(
    postgres_ledger: Ledger, postgres_place: Place
) -> None:
    """Each host may have a witness, which `serve` updates every 5 minutes."""
    elsewhere = postgres_place.witness.with_name("elsewhere.jsonl")
    with open_ledger(postgres_place.url, postgres_place.keys, elsewhere) as other:
        _signed(other)
        _signed(postgres_ledger)
        _signed(other)
        for ledger, missing_heads in ((postgres_ledger, 1), (other, 0)):
            assert ledger.audit.verify().missing_heads == missing_heads
            found = ledger.audit.verify(now=NOW + timedelta(minutes=14))
            assert (found.findings, found.heads, found.missing_heads) == ((), 4, 0)
            assert (
                ledger.audit.verify(now=NOW + timedelta(minutes=16)).missing_heads == missing_heads
            )
    kept = elsewhere.read_bytes().splitlines(keepends=True)
    elsewhere.write_bytes(b"".join(kept[:2] + kept[3:]))  # the witness has lost an earlier head
    with open_ledger(postgres_place.url, postgres_place.keys, elsewhere) as other:
        assert other.audit.verify(now=NOW).missing_heads == 1


def test_lost_witness_receives_all_heads_again(ledger: Ledger, place: Place) -> None:
    _signed(ledger)
    whole = place.witness.read_bytes()
    place.witness.unlink()
    report = ledger.audit.verify()
    assert (report.witnessed, report.missing_heads) == (0, 2)
    ledger.audit.sign_head(NOW)
    assert place.witness.read_bytes() == whole


def test_signing_reads_the_end_of_the_witness(
    ledger: Ledger, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of a year are tens of megabytes, and each run and watch signs."""
    for _ in range(50):
        _signed(ledger)
    looked: list[int] = []
    read = os.pread

    def counted(descriptor: int, size: int, at: int) -> bytes:
        looked.append(size)
        return read(descriptor, size, at)

    monkeypatch.setattr(os, "pread", counted)
    newest = _signed(ledger)
    assert sum(looked) < place.witness.stat().st_size * 3 / 4
    assert _sequences(place.witness)[-1] == newest
    assert len(_sequences(place.witness)) == 52


def test_signature_is_verified_once_for_ledger_and_witness(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _signed(ledger)
    verified: list[int] = []
    problem = Chain.problem_of_head

    def counted(self: Chain, head: Mapping[str, Any], hashes: Mapping[int, str]) -> str:
        verified.append(head["sequence"])
        return problem(self, head, hashes)

    monkeypatch.setattr(Chain, "problem_of_head", counted)
    report = ledger.audit.verify()
    assert (report.heads, report.witnessed, len(verified)) == (2, 2, 2)


def test_duplicate_witness_line_confirms_one_head(ledger: Ledger, place: Place) -> None:
    place.witness.write_bytes(place.witness.read_bytes() * 2)
    report = ledger.audit.verify()
    assert (report.heads, report.witnessed, report.findings) == (1, 1, ())


def test_head_signed_during_verification_counts(ledger: Ledger, place: Place) -> None:
    _signed(ledger)
    whole = place.witness.read_bytes()
    place.witness.write_bytes(b"")

    def send_meanwhile(_: int) -> None:
        place.witness.write_bytes(whole)

    report = ledger.audit.verify(send_meanwhile)
    assert (report.heads, report.witnessed, report.missing_heads) == (2, 0, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hash": "0" * 64}, "is not the event that was signed"),
        ({"signature": "00" * 64}, "its signature does not verify"),
        ({"signed_at": "2020-01-01T00:00:00.000000Z"}, "its signature does not verify"),
        ({"key": "00" * 32}, "signed by another key"),
        ({"sequence": 7}, "is missing, the ledger was rolled back"),
    ],
)
def test_a_changed_line_of_the_witness_is_named(
    ledger: Ledger, place: Place, change: dict[str, object], problem: str
) -> None:
    head = json.loads(place.witness.read_text())
    place.witness.write_text(json.dumps(head | change) + "\n")
    (finding,) = ledger.audit.verify().findings
    assert finding.where == "witness line 1"
    assert problem in finding.problem


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Let no finalizer of another test run, and fail, in deep recursion."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff\xfe", b"[]", b"5", b"{}", b'{"sequence":[]}', b'{"sequence":1e999}', b"[" * 9_999],
    ids=lambda line: repr(line)[:30],
)  # fmt: skip
@pytest.mark.usefixtures("no_collection")
def test_invalid_witness_line_is_named_and_skipped(
    ledger: Ledger, place: Place, line: bytes
) -> None:
    before = place.witness.read_bytes()
    place.witness.write_bytes(before + line + b"\n")
    (finding,) = ledger.audit.verify().findings
    assert finding.where == "witness line 2"
    _signed(ledger)
    assert place.witness.read_bytes().startswith(before + line + b"\n")
    report = ledger.audit.verify()
    assert (report.heads, report.witnessed, len(report.findings)) == (2, 2, 1)
