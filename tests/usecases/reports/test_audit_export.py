"""Export for examiners: program, timeline and evidence agree."""

import json
import re
import runpy
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, ExitStatus, StandfastError, UsageError
from standfast.evidence import standfast_verify
from standfast.evidence.custody import Act, append_custody
from standfast.evidence.manifest import read_manifest
from standfast.evidence.seal import read_sealed, write_seal
from standfast.records import Mode, canonical
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import verify_frozen
from standfast.usecases.incidents import lifecycle as incident
from standfast.usecases.reports.audit_export import ExportedTimeline, export_timeline
from tests.sampling import sample
from tests.servers.scim import ScimServer
from tests.servers.smtp import running_smtp
from tests.usecases.installations import enrol_people, furnish, installation_at

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


@dataclass
class Handed:
    """Exported evidence of an incident, and the original."""

    installation: Installation
    incident: str
    exported: ExportedTimeline
    capture: pytest.CaptureFixture[str]

    @property
    def evidence(self) -> Path:
        return self.installation.config.custody.folder / self.incident

    @property
    def folders(self) -> list[Path]:
        return sorted(self.evidence.glob("*/*"))

    def ours(self) -> ExitStatus:
        return verify_frozen(self.installation, self.incident).exit_status

    def theirs(self, *more: str, **keys: str) -> int:
        """Return the exit status of the program; `keys` replace the usual keys."""
        given = {"seal-key": self.exported.seal_key, "ledger-key": self.exported.ledger_key, **keys}
        words = [word for name, key in given.items() for word in (f"--{name}", key)]
        where = ["--timeline", str(self.exported.timeline), "--witness", str(self.witness)]
        self.capture.readouterr()
        return standfast_verify.main([str(self.evidence), *words, *where, *more])

    @property
    def witness(self) -> Path:
        return self.installation.config.ledger.witness

    def named(self) -> str:
        """Return all problems that the program names."""
        self.theirs("--json")
        found = json.loads(self.capture.readouterr().out)["problems"]
        return "\n".join(problem for problems in found.values() for problem in problems)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scim_process: ScimServer) -> tuple[Path, str]:
    """Make a folder with two takeovers, to copy; return the first one's id."""
    folder = tmp_path_factory.mktemp("handed") / "place"
    folder.mkdir()
    with (
        running_smtp() as smtp,
        installation_at(
            furnish(folder, scim_url=scim_process.url, smtp_port=smtp.port),
            token=scim_process.token,
        ) as installation,
    ):
        enrol_people(installation)
        opened = []
        for account in ("agents:a", "agents:b"):
            targets = {"accounts": [account]}
            case = incident.open_incident(
                installation, "account-takeover", targets, mode=Mode.LIVE, opened_by="dana"
            ).incident
            incident.advance(installation, case, "direct")
            opened.append(case)
        first = opened[0]
        step_decisions.answer(installation, first, "customers_affected", "no", by="lee")
        for frozen in installation.config.custody.folder.glob(f"{first}/*/*"):
            append_custody(frozen, at=installation.clock(), who="legal", act=Act.VIEWED)
    return folder, first


@pytest.fixture
def handed(
    model: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Handed]:
    """Two takeovers; the evidence of the first is exported."""
    shutil.copytree(model[0], tmp_path, dirs_exist_ok=True)
    with installation_at(tmp_path / "standfast.toml") as installation:
        exported = export_timeline(installation, model[1], tmp_path / "out")
        yield Handed(
            installation=installation, incident=model[1], exported=exported, capture=capsys
        )


def test_export_agrees_for_both_verifiers(handed: Handed) -> None:
    assert handed.ours() is ExitStatus.DONE
    assert handed.theirs() == 0, handed.capture.readouterr().out
    assert handed.theirs("--json") == 0
    document = json.loads(handed.capture.readouterr().out)
    assert document["is_whole"] is True
    assert document["unchecked"] == []


def test_verifier_works_alone(handed: Handed, tmp_path: Path) -> None:
    text = handed.exported.program.read_text()
    assert text == Path(standfast_verify.__file__).read_text()
    assert len(text.splitlines()) <= 550  # an examiner reads it in an hour
    alone = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
    assert set(alone) - sys.stdlib_module_names == {"cryptography"}
    words = [sys.executable, "-I", handed.exported.program, handed.evidence]
    done = subprocess.run(
        list(map(str, words)), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("not checked, without") == 4


def test_missing_inputs_are_named_as_unchecked(handed: Handed) -> None:
    assert standfast_verify.main([str(handed.evidence)]) == 3
    told = handed.capture.readouterr().out
    for name in ("--seal-key", "--timeline", "--ledger-key", "--witness"):
        assert f"not checked, without {name}:" in told
    with pytest.raises(SystemExit) as ended:
        standfast_verify.main([str(handed.evidence.parent / "nowhere")])
    assert ended.value.code == 2


def _flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def _swap(one: Path, other: Path) -> None:
    beside = one.with_name("beside")
    one.rename(beside)
    other.rename(one)
    beside.rename(other)


def _link(copy: Path, elsewhere: Path) -> None:
    copy.rename(elsewhere)
    copy.symlink_to(elsewhere)


def _copy_of(folder: Path) -> Path:
    return next(path for path in (folder / "files").rglob("*.log") if path.stat().st_size)


def _cut(file: Path, number: int) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


def _seal_with(folder: Path, key: Ed25519PrivateKey, installation: Installation) -> None:
    ours = read_signing_key(installation.config.custody.key).public_key()
    write_seal(folder, read_sealed(folder, ours), key)


def _seal_another(folder: Path, installation: Installation) -> None:
    """Freeze other content under the same name, as an intruder on the host."""
    key = read_signing_key(installation.config.custody.key)
    manifest = (folder / "manifest.json").read_bytes().replace(b'"reason":"i', b'"reason":"I')
    (folder / "manifest.json").write_bytes(manifest)
    write_seal(folder, read_manifest(manifest), key)
    (folder / "custody.jsonl").unlink()
    append_custody(folder, at=installation.clock(), who="dana", act=Act.COLLECTED)


DAMAGE: dict[str, Callable[[Path, Installation], object]] = {
    "a bit of a copy": lambda folder, _: _flip(_copy_of(folder), 3),
    "a bit of the manifest": lambda folder, _: _flip(folder / "manifest.json", 40),
    "a bit of the seal": lambda folder, _: _flip(folder / "seal.dsse.json", 40),
    "a bit of the custody": lambda folder, _: _flip(folder / "custody.jsonl", 40),
    "a missing copy": lambda folder, _: _copy_of(folder).unlink(),
    "a missing manifest": lambda folder, _: (folder / "manifest.json").unlink(),
    "a missing seal": lambda folder, _: (folder / "seal.dsse.json").unlink(),
    "a missing chain of custody": lambda folder, _: (folder / "custody.jsonl").unlink(),
    "a missing folder": lambda folder, _: shutil.rmtree(folder),
    "a foreign file among the copies": lambda folder, _: (folder / "files" / "new").touch(),
    "a foreign file beside them": lambda folder, _: (folder / "new").touch(),
    "a link for a copy": lambda folder, _: _link(_copy_of(folder), folder.parents[2] / "away.log"),
    "another key": lambda folder, installation: _seal_with(folder, OTHER, installation),
    "swapped copies": lambda folder, _: _swap(
        *[path for path in (folder / "files").rglob("*") if path.is_file()][:2]
    ),
    "the first line of custody removed": lambda folder, _: _cut(folder / "custody.jsonl", 0),
    "sealed anew by this host": lambda folder, installation: _seal_another(folder, installation),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_both_verifiers_find_each_damage(kind: str, handed: Handed) -> None:
    folder = handed.folders[0]
    logs = handed.installation.config.folder / "logs"
    assert len(list(logs.iterdir())) >= 2
    DAMAGE[kind](folder, handed.installation)
    assert handed.ours() is ExitStatus.DAMAGED
    assert handed.theirs() == 6
    assert handed.named()


def test_cut_chain_shows_in_the_timeline(handed: Handed) -> None:
    _cut(handed.folders[0] / "custody.jsonl", 1)
    assert handed.theirs() == 6
    assert "custody.jsonl lacks lines that it had" in handed.named()


def test_evidence_of_another_incident_is_rejected(handed: Handed) -> None:
    folder = handed.folders[0]
    (other,) = (
        one for one in handed.evidence.parent.glob("*/*/*") if one.parents[1] != handed.evidence
    )
    shutil.rmtree(folder)
    shutil.copytree(other, folder.parent / other.name)
    assert handed.theirs() == 6
    assert "it is of another incident" in handed.named()
    assert "it is missing: it was frozen and sealed" in handed.named()
    (folder.parent / other.name).rename(folder)
    assert f"it was moved here: it was frozen as telephony/{other.name}" in handed.named()


def test_later_line_is_no_damage(handed: Handed) -> None:
    folder = handed.folders[0]
    append_custody(folder, at=handed.installation.clock(), who="police", act=Act.TRANSFERRED)
    assert handed.theirs() == 0


def _lines(handed: Handed) -> list[bytes]:
    return handed.exported.timeline.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("kind", "forge", "named"),
    [
        ("from the end", lambda lines: [*lines[:-2], lines[-1]], "covers|is of another event"),
        ("with its head", lambda lines: lines[:-2], "it ends with event"),
        ("from the middle", lambda lines: lines[:9] + lines[10:], "is missing: see line 10"),
        ("from the beginning", lambda lines: [lines[0], *lines[2:]], "is missing: see line 2"),
        ("the head", lambda lines: lines[:-1], "no signed head covers its end"),
        ("the statement", lambda lines: lines[1:], "its content cannot be parsed"),
        ("all", lambda lines: [], "its content cannot be parsed"),
        ("one twice", lambda lines: [*lines[:9], lines[8], *lines[9:]], "is missing: see line 10"),
        ("two swapped", lambda lines: [*lines[:8], lines[9], lines[8], *lines[10:]], "is missing"),
        ("half a line", lambda lines: [*lines[:-1], lines[-1][:-1]], "cannot be parsed"),
    ],
)
def test_a_timeline_that_is_cut_anywhere_is_found(
    kind: str, forge: Callable[[list[bytes]], list[bytes]], named: str, handed: Handed
) -> None:
    handed.exported.timeline.write_bytes(b"".join(forge(_lines(handed))))
    assert handed.theirs() == 6
    assert re.search(named, handed.named()), (kind, handed.named())


@pytest.mark.parametrize("field", ["actor", "detail", "changes", "at", "subject", "hash"])
def test_a_changed_event_is_found(field: str, handed: Handed) -> None:
    lines = _lines(handed)
    record = json.loads(lines[5])
    record["event"][field] = record["event"][field] + "x"
    lines[5] = canonical(record) + b"\n"
    handed.exported.timeline.write_bytes(b"".join(lines))
    assert handed.theirs() == 6
    assert "its hash differs" in handed.named()


def test_no_bit_of_a_timeline_says_nothing(handed: Handed) -> None:
    whole = handed.exported.timeline.read_bytes()
    check = standfast_verify.Check(handed.exported.seal_key, handed.exported.ledger_key)
    check.attempt("it", check.timeline, handed.exported.timeline)
    assert check.problems == {"it": []}
    positions = [*range(0, 1500, 3), *range(1500, len(whole), 997), *range(-600, 0, 2)]
    for position in sample(positions, "bits of a timeline"):
        for bit in (1, 0x20):
            changed = bytearray(whole)
            changed[position] ^= bit
            handed.exported.timeline.write_bytes(changed)
            check = standfast_verify.Check("", handed.exported.ledger_key)
            check.attempt("it", check.timeline, handed.exported.timeline)
            assert check.problems["it"], position


def test_foreign_keys_are_reported(handed: Handed) -> None:
    another = OTHER.public_key().public_bytes_raw().hex()
    assert handed.theirs(**{"seal-key": another}) == 6
    assert handed.theirs(**{"ledger-key": another}) == 6
    assert "it is signed by another key" in handed.capture.readouterr().out


def test_contradicting_witness_is_reported(handed: Handed) -> None:
    lines = handed.witness.read_bytes().splitlines()
    head = json.loads(lines[-1])
    handed.witness.write_bytes(canonical({**head, "hash": "0" * 64}) + b"\n")
    assert handed.theirs() == 6
    assert "is of another event" in handed.named()
    handed.witness.write_bytes(b"")
    assert "it has no head of these events" in handed.named()


def test_a_timeline_names_nobody_and_no_account(handed: Handed) -> None:
    text = handed.exported.timeline.read_text()
    assert '"subject":"' + handed.incident in text
    for personal in ("agents:a", "agents:b", "example.com", "Customer 1"):
        assert personal not in text


def test_invalid_chain_is_not_exported(handed: Handed, tmp_path: Path) -> None:
    with closing(sqlite3.connect(handed.installation.config.folder / "ledger.db")) as database:
        database.execute("UPDATE audit_event SET actor = 'nobody' WHERE sequence = 20")
        database.commit()
    with pytest.raises(Damaged):
        export_timeline(handed.installation, handed.incident, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_unexportable_timeline_writes_nothing(handed: Handed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        export_timeline(handed.installation, handed.incident, tmp_path / "out")
    with pytest.raises(UsageError):
        export_timeline(handed.installation, "inc-2020-0001", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StandfastError, match="Name a new folder"):
        export_timeline(handed.installation, handed.incident, tmp_path / "file" / "out")


def test_verifier_is_the_same_as_a_file() -> None:
    assert runpy.run_path(standfast_verify.__file__)["canonical"]({"b": 1, "a": "é"}) == (
        canonical({"a": "é", "b": 1})
    )
