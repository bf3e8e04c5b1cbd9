"""Evidence on disk: an unreadable folder is not an absent folder."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.commands import CommandsEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.evidence_sources import CommandsEvidenceConfig
from standfast.errors import ConfigurationError, ExitStatus
from standfast.evidence.custody import CUSTODY_FILE, Act, append_custody, read_custody
from standfast.records import Mode, Order
from standfast.usecases.evidence.frozen_folders import frozen, verify_frozen
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.adapters.settings import reveal
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK as KEEP_LOGS
from tests.usecases.installations import enrol_people, furnish, installation_at


def test_unreadable_evidence_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = "inc-2026-0001"
    scandir = os.scandir
    with installation_at(furnish(tmp_path)) as installation:
        root = installation.config.custody.folder / incident
        (root / "logs" / "token").mkdir(parents=True)

        def refuse(path: Any = ".") -> Any:
            if str(path) == str(root):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", refuse)
            for look in (
                lambda: frozen(installation.config),
                lambda: verify_frozen(installation, incident),
            ):
                with pytest.raises(ConfigurationError, match="permission denied"):
                    look()
        assert [one.folder for one in frozen(installation.config)] == [root / "logs" / "token"]


PLAYBOOK = (
    KEEP_LOGS
    + """\
  traces:
    title: Look for traces
    needs: [freeze_logs]
    do: evidence.review
    with:
      indicators: ["text:agent01"]
    on_partial: go_on
"""
)


@pytest.mark.parametrize("left", [0, 1])
def test_cut_custody_lines_are_named(left: int, tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    config_file.write_text(config_file.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        enrol_people(installation)
        opened = open_incident(installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
        advance(installation, opened.incident, "direct")
        (one,) = verify_frozen(installation, opened.incident).evidence
        assert one.problems == ()
        chain = one.folder / CUSTODY_FILE
        lines = chain.read_bytes().splitlines(keepends=True)
        assert [entry.act for entry in read_custody(one.folder)] == [Act.COLLECTED, Act.VIEWED]
        append_custody(one.folder, at=installation.clock(), who="legal", act=Act.VIEWED)
        assert verify_frozen(installation, opened.incident).exit_status is ExitStatus.DONE
        chain.write_bytes(b"".join(lines[:left]))
        if not left:  # an intruder with access only to the folder begins a new chain
            append_custody(one.folder, at=installation.clock(), who="dana", act=Act.COLLECTED)
        found = verify_frozen(installation, opened.incident)
        assert found.exit_status is ExitStatus.DAMAGED
        assert "it was cut or replaced" in found.evidence[0].problems[0]


def test_incomplete_files_are_counted(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        config = installation.config
        custody = Custody(
            incident="inc-1", collector="dana", reason="", folder=config.custody.folder / "inc-1"
        )
        commands = (("/bin/sh", "-c", "echo half; exit 1"), ("/bin/echo", "whole"), ("/nowhere",))
        source = CommandsEvidence(
            "live",
            CommandsEvidenceConfig(kind="commands", commands=commands),
            SourceContext(
                signing_key=read_signing_key(config.custody.key),
                clock=installation.clock,
                reveal=reveal,
            ),
        )
        source.collect(Order(token="token", verb="evidence.snapshot", target="live"), custody)
        (folder,) = frozen(config)
    # One of the three files contains the messages.
    assert (folder.files, folder.incomplete, folder.unread) == (3, 1, 1)
