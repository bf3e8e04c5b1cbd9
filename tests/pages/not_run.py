"""Blocks of pages that no course types or takes.

Rules
- A block of commands that cannot run in a test is in `NOT_RUN`, by its page and the beginning of
  its first line. It must contain the program that prevents it, so that the entry fails when the
  block is removed or no longer needs that program.
- Other blocks are in `APPLIED`, with the test that applies them, or in `SHOWN`, with the reason why
  nothing in them can be executed. A block that is in none of the three fails a test.
"""

from typing import NamedTuple

from tests.pages.blocks import Block


class NotRun(NamedTuple):
    """The program that prevents a block from running here."""

    program: str
    reason: str
    tested_by: str = ""  # the file of a test that reads the block from its page


_ROOT = "it changes users, services or files of the machine"
_AWS = "it changes an account of AWS"
_DOWNLOADS = "it downloads packages"
_RECOVERY = "tests/usecases/recovery/test_data_directory_by_hand.py"

NOT_RUN: dict[tuple[str, str], NotRun] = {
    ("CONTRIBUTING.md", "make lint"): NotRun(
        "make", "it is the complete check, of which this test is a part"
    ),
    ("CONTRIBUTING.md", ".venv/bin/pytest"): NotRun(".venv/bin/pytest", "it runs other tests"),
    ("deploy/s3/README.md", "export BUCKET=example-vault"): NotRun("aws", _AWS),
    ("deploy/s3/README.md", "for role in owner"): NotRun("aws", _AWS),
    ("deploy/s3/README.md", "(cd vault && find pub"): NotRun("aws", _AWS),
    ("deploy/s3/README.md", "aws s3api list-object-versions"): NotRun("aws", _AWS),
    ("deploy/s3/README.md", "radosgw-admin"): NotRun("radosgw-admin", "it needs a cluster of Ceph"),
    ("deploy/serve/README.md", "python3 -m venv /opt/standfast/.venv"): NotRun(
        "useradd", _ROOT, "tests/project/test_serve_page.py"
    ),
    ("docs/accounts.md", "ldapwhoami"): NotRun(
        "ldapwhoami", "it asks four servers of a site, with passwords at the terminal"
    ),
    ("docs/accounts.md", "samba-tool user create"): NotRun(
        "samba-tool",
        "it needs a domain controller",
        "tests/adapters/accounts/test_active_directory.py",
    ),
    ("docs/accounts.md", "install -o root"): NotRun(
        "useradd", _ROOT, "tests/adapters/accounts/test_linux.py"
    ),
    ("docs/install.md", ".venv/bin/python -m hatchling"): NotRun(
        "pipx", _DOWNLOADS, "tests/project/test_requirements.py"
    ),
    ("docs/install.md", "podman build"): NotRun("podman", _DOWNLOADS),
    ("docs/recover-a-service.md", "standfast backup restore host-1/0000000041"): NotRun(
        "sudo -u postgres", _ROOT, _RECOVERY
    ),
    ("docs/recover-a-service.md", "systemctl stop postgresql@18-main"): NotRun(
        "systemctl", _ROOT, _RECOVERY
    ),
    ("docs/sources.md", "standfast backup restore host-1/0000000041"): NotRun(
        "chown", _ROOT, _RECOVERY
    ),
    ("docs/triggers.md", 'id="msg_$(date +%s%N)"'): NotRun(
        "curl", "it needs `standfast serve`", "tests/project/test_triggers_page.py"
    ),
    ("docs/write-a-notice.md", ".venv/bin/pip install"): NotRun("pip", _DOWNLOADS),
}


class Applied(NamedTuple):
    """The blocks of one language on a page, and the file that applies them."""

    tested_by: str
    number: int = 1


_RIGHTS = "tests/adapters/accounts/rights.py"

# By page and language.
APPLIED: dict[tuple[str, str], Applied] = {
    ("deploy/site/README.md", ""): Applied("tests/project/test_site_deployment.py"),
    ("docs/accounts.md", "sql"): Applied(_RIGHTS, 3),
    ("docs/accounts.md", "ldif"): Applied(_RIGHTS, 5),
    ("docs/accounts.md", ""): Applied(_RIGHTS),
    ("docs/evidence.md", "sql"): Applied("tests/adapters/evidence_sources/test_postgresql.py"),
    ("docs/sources.md", "sql"): Applied("tests/project/test_sources_page.py", 3),
    ("docs/sources.md", ""): Applied("tests/servers/postgres_cluster.py"),
}

# By page and beginning of the first line.
SHOWN: dict[tuple[str, str], str] = {
    ("docs/accounts.md", "dsacls"): "it needs a domain controller of Microsoft",
    ("docs/drills.md", "Predicted time"): "the times of a prediction differ on each machine",
    ("docs/evidence.md", "INCIDENT/SOURCE/TOKEN/"): "it names the files of a folder",
    ("docs/sources.md", "postgresql://USER"): "it lists the forms of a target",
}


def is_shown(block: Block) -> bool:
    return any(page == block.page and block.begins.startswith(it) for page, it in SHOWN)


def reason_not_run(block: Block) -> NotRun | None:
    """Return the entry of a block; None if a test types its commands."""
    for (page, beginning), entry in NOT_RUN.items():
        if block.page == page and block.begins.startswith(beginning):
            return entry
    return None
