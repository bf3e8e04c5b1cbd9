"""Freezing of evidence, killed or without power at each disk operation."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import Damaged
from standfast.evidence.custody import (
    CUSTODY_FILE,
    Act,
    append_custody,
    read_custody,
    verify_custody,
)
from standfast.evidence.item_file import KEY_FILE, open_item
from standfast.evidence.private_files import make_private, sync_folder, write_atomically
from standfast.evidence.seal import read_sealed, verify_seal
from standfast.evidence.wrapped_key import open_key
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import CONTEXT, KEY, NOW, order
from tests.backup.conftest import folder
from tests.backup.disk_trace import Phase, in_tracing_process, kill_everywhere
from tests.backup.ptrace import WHERE_TRACED

pytestmark = WHERE_TRACED
__all__ = ["folder"]
DEATHS = pytest.mark.parametrize(
    ("phase", "names_survive"),
    [(Phase.DURING, None), (Phase.AFTER, None), (Phase.AFTER, False), (Phase.AFTER, True)],
    ids=["during", "after", "nothing else survives", "names survive"],
)


def report(file: Path) -> None:
    file.touch()
    sync_folder(file.parent)


def anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def examine_custody(place: Path) -> None:
    """Remove a torn line, as a person does: before that, nothing is appended."""
    file = place / CUSTODY_FILE
    written, _, torn = file.read_bytes().rpartition(b"\n")
    if torn:
        with pytest.raises(Damaged, match="ends within a line"):
            read_custody(place)
        file.write_bytes(written + b"\n")


class _Freezing:
    """Two logs, frozen again in each run, and a file for the report."""

    def __init__(self, folder: Path) -> None:
        logs = folder / "log"
        (logs / "calls").mkdir(parents=True)
        (logs / "auth.log").write_bytes(b"alice signed in\n" * 10)
        (logs / "calls" / "monday.log").write_bytes(b"bob called\n" * 10)
        self._all, self._told = folder / "evidence", folder / "told"
        self.custody = Custody(
            incident="2025-014",
            collector="dana",
            reason="takeover",
            folder=self._all / "2025-014",
        )
        self.settings = FilesEvidenceConfig(kind="files", paths=(logs,))
        self.source = FilesEvidence("logs", self.settings, CONTEXT)
        self.place = self.custody.folder / "logs" / "token-1"
        self.reported = self._told / "done"

    def again(self) -> list[Path]:
        anew(self._all)
        anew(self._told)
        return [self._all, self._told]

    def act(self) -> None:
        assert self.source.collect(order(), self.custody).state is EffectState.DONE
        report(self.reported)

    def check(self) -> None:
        if self.place.exists() or self.reported.exists():
            self._is_whole()
        self.act()
        self._is_whole()
        assert list(self.place.parent.iterdir()) == [self.place]

    def _is_whole(self) -> None:
        assert verify_seal(self.place, KEY.public_key()) == []
        assert verify_custody(self.place) == []


class _Encrypting(_Freezing):
    """Freezing for a custodian, with a copy of the key in another folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._copies, self._identity = folder / "key-copies", pyrage.x25519.Identity.generate()
        custodian = str(self._identity.to_public())
        context = replace(CONTEXT, custodians=(custodian,), key_copies=(self._copies,))
        self.source = FilesEvidence("logs", self.settings, context)

    def again(self) -> list[Path]:
        anew(self._copies)
        return [*super().again(), self._copies]

    def check(self) -> None:
        if self.place.exists():
            examine_custody(self.place)
        super().check()

    def _is_whole(self) -> None:
        super()._is_whole()
        manifest = read_sealed(self.place, KEY.public_key())
        item = next(each for each in manifest.items if each.path.endswith("/auth.log"))
        key = open_key(self.place, manifest, (), [self._identity])
        with open_item(self.place, item, key) as content:
            assert content.read() == b"alice signed in\n" * 10
        if self.reported.exists():
            (self.place / KEY_FILE).rename(self.place.parent / "hidden")
            assert open_key(self.place, manifest, (self._copies,), [self._identity]) == key
            (self.place.parent / "hidden").rename(self.place / KEY_FILE)


class _Looking:
    """A view of evidence that is reported afterwards."""

    def __init__(self, folder: Path) -> None:
        self._freezing = _Freezing(folder)

    def again(self) -> list[Path]:
        roots = self._freezing.again()
        self._freezing.act()
        self._freezing.reported.unlink()
        return roots

    def act(self) -> None:
        append_custody(self._freezing.place, at=NOW, who="legal", act=Act.VIEWED)
        report(self._freezing.reported)

    def check(self) -> None:
        examine_custody(self._freezing.place)
        acts = [entry.act for entry in read_custody(self._freezing.place)]
        assert acts[0] is Act.COLLECTED
        assert acts[1:] == [Act.VIEWED] or not self._freezing.reported.exists()


class _Replacing:
    """A file in a new folder: written, reported, replaced."""

    def __init__(self, folder: Path) -> None:
        self._all, self._told = folder / "all", folder / "told"
        self._file = self._all / "new" / "file"

    def again(self) -> list[Path]:
        anew(self._all)
        anew(self._told)
        return [self._all, self._told]

    def act(self) -> None:
        make_private(self._file.parent)
        for content in (b"one", b"another"):
            write_atomically(self._file, content)
            report(self._told / content.decode())

    def check(self) -> None:
        there = self._file.read_bytes() if self._file.exists() else b""
        told = {one.name for one in self._told.iterdir()}
        assert (
            there
            in {
                frozenset[str](): (b"", b"one"),
                frozenset({"one"}): (b"one", b"another"),
                frozenset({"one", "another"}): (b"another",),
            }[frozenset(told)]
        )
        self.act()
        assert [one.name for one in self._file.parent.iterdir()] == ["file"]


def _kill(
    doing: type[_Freezing | _Looking | _Replacing], folder: Path, phase: Phase, names: bool | None
) -> None:
    one = doing(folder)
    one.again()
    one.check()  # loads the modules before the fork, so that no killed process imports them
    kill_everywhere(roots=one.again, act=one.act, check=one.check, phase=phase, names_survive=names)


@DEATHS
def test_standing_evidence_is_whole_after_any_crash(
    folder: Path, phase: Phase, names_survive: bool | None
) -> None:
    in_tracing_process(_kill, _Freezing, folder, phase, names_survive)


@pytest.mark.long
@DEATHS
def test_encrypted_evidence_opens_after_any_crash(
    folder: Path, phase: Phase, names_survive: bool | None
) -> None:
    in_tracing_process(_kill, _Encrypting, folder, phase, names_survive)


@DEATHS
def test_act_is_recorded_before_it_is_reported(
    folder: Path, phase: Phase, names_survive: bool | None
) -> None:
    in_tracing_process(_kill, _Looking, folder, phase, names_survive)


@DEATHS
def test_file_is_old_or_new_after_crash(
    folder: Path, phase: Phase, names_survive: bool | None
) -> None:
    in_tracing_process(_kill, _Replacing, folder, phase, names_survive)
