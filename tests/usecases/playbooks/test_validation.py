"""`playbook check` reports all that a run would refuse or ask at night."""

from pathlib import Path

import pytest

from standfast.errors import PlaybookInvalid
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.playbooks.validation import check_files
from tests.usecases.installations import furnish, installation_at
from tests.usecases.twins import add_playbooks

TELL = """
playbook: tell
version: 1
title: Tell
use_when: In a test.
steps:
  tell:
    title: Tell them
    do: notices.send
    with: {template: customers-account-takeover, audience: AUDIENCE, context: {CONTEXT}}
    approval: {APPROVAL}
"""
CALL = """
playbook: tell
version: 1
title: Call
use_when: In a test.
steps:
  tell:
    title: Run it
    do: run.command
    with: {command: isolate}
"""
FITTING = "what_happened: account-takeover"
COMMAND = '\n[commands.isolate]\nargv = ["/bin/true"]\n'


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    config_file = furnish(tmp_path)
    with config_file.open("a") as file:
        file.write(COMMAND)
    add_playbooks(config_file, "playbook: tell\n")
    with installation_at(config_file) as installation:
        return installation


def is_sound(installation: Installation, text: str) -> bool:
    (installation.config.folder / "playbooks/tell.yaml").write_text(text)
    try:
        return bool(check_files(installation.config, ["tell"]))
    except PlaybookInvalid:
        return False


@pytest.mark.parametrize(
    ("audience", "approval", "expected"),
    [
        ("staff", "none_because: They must know now.", True),
        ("customers", "none_because: They must know now.", False),
        ("customers", "none_because: x", False),
        ("customers", "count: 1", True),
    ],
)
def test_notice_to_customers_needs_an_approval(
    installation: Installation, audience: str, approval: str, expected: bool
) -> None:
    text = TELL.replace("AUDIENCE", audience).replace("APPROVAL", approval)
    assert is_sound(installation, text.replace("CONTEXT", FITTING)) is expected


@pytest.mark.parametrize(
    ("context", "expected"),
    [(FITTING, True), ("what_hapened: x", False), ("data_concerned: 7", False)],
)
def test_notice_fits_its_template(installation: Installation, context: str, expected: bool) -> None:
    text = TELL.replace("AUDIENCE", "customers").replace("APPROVAL", "count: 1")
    assert is_sound(installation, text.replace("CONTEXT", context)) is expected


@pytest.mark.parametrize(("more", "expected"), [("", False), ("    approval: {count: 1}\n", True)])
def test_command_without_undo_needs_an_approval(
    installation: Installation, more: str, expected: bool
) -> None:
    assert is_sound(installation, CALL + more) is expected


def test_notice_to_customers_needs_approval_despite_playbook(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    unapproved = TELL.replace("AUDIENCE", "customers").replace("APPROVAL", "none_because: x")
    add_playbooks(config_file, unapproved.replace("CONTEXT", FITTING))
    with installation_at(config_file) as installation:
        (step,) = plan_incident(installation, "tell", {}, is_signed=True).steps
    assert step.approvals == 1
