"""A review of evidence: its files, its gaps, and its custody record."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import StandfastError
from standfast.records import EffectState
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.playbook_review import review_evidence
from standfast.usecases.incidents.built_in_procedures import built_in_procedures
from tests.adapters.evidence_sources.contract import order
from tests.adapters.settings import reveal
from tests.usecases.installations import furnish, installation_at

CASE = "2026-014"
WANTED = ["path:calls.*"]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_at(furnish(tmp_path)) as installation:
        yield installation


def freeze(installation: Installation, source: str) -> Path:
    """Freeze the logs as a source of this name; return the sealed folder."""
    folder = installation.config.custody.folder / CASE
    evidence = FilesEvidence(
        source,
        FilesEvidenceConfig(kind="files", paths=(installation.config.folder / "logs",)),
        SourceContext(
            signing_key=read_signing_key(installation.config.custody.key),
            clock=lambda: datetime.now(UTC),
            reveal=reveal,
        ),
    )
    custody = Custody(incident=CASE, collector="dana", reason="takeover", folder=folder)
    assert evidence.collect(order(), custody).state is EffectState.DONE
    (sealed,) = (folder / source).iterdir()
    return sealed


def test_invalid_evidence_does_not_stop_the_review(
    installation: Installation,
) -> None:
    folders = {source: freeze(installation, source) for source in ("changed", "cut", "sound")}
    (folders["changed"] / "manifest.json").write_text("{}")
    chain = folders["cut"] / "custody.jsonl"
    chain.write_bytes(chain.read_bytes()[:-3])  # as after a power cut
    before = {source: (folder / "custody.jsonl").read_bytes() for source, folder in folders.items()}
    reviewed = review_evidence(installation, CASE, "token", WANTED, [])
    assert (reviewed.folders, reviewed.unsound) == (1, ("changed", "cut"))
    assert reviewed.reason.endswith("is invalid: changed, cut")
    assert {entry.source for entry in reviewed.result.entries} == {"sound"}
    for source, folder in folders.items():
        is_added_to = (folder / "custody.jsonl").read_bytes() != before[source]
        assert is_added_to is (source == "sound")


def test_altered_copy_fails_the_review(
    installation: Installation,
) -> None:
    sealed = freeze(installation, "telephony")
    copies = sorted((sealed / "files").rglob("*.log"))
    for copy in copies:
        copy.chmod(0o600)
        copy.write_bytes(copy.read_bytes().replace(b"agent01", b"agent99"))
    look = built_in_procedures(installation, CASE, "dana")["review"]()
    asked = replace(order(), details={"indicators": ["text:agent99"], "accounts": []})
    (result,) = look.run([asked])
    assert result.state is EffectState.FAILED
    assert "2 copies are altered and omitted: telephony: " in result.reason
    assert (result.facts["altered"], result.facts["entries"]) == (2, 0)
    for copy in copies:
        copy.write_bytes(copy.read_bytes().replace(b"agent99", b"agent01"))
    (again,) = look.run([asked])
    assert again.state is EffectState.DONE


def test_review_without_valid_folder_is_refused(installation: Installation) -> None:
    with pytest.raises(StandfastError, match="no folder is valid"):
        review_evidence(installation, CASE, "token", WANTED, [])
    (freeze(installation, "changed") / "seal.dsse.json").unlink()
    with pytest.raises(StandfastError, match="no folder is valid"):
        review_evidence(installation, CASE, "token", WANTED, [])
    assert not (installation.config.custody.folder / CASE / "reviews").exists()
