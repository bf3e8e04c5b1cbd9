"""Container file: read as text, because no test builds the image."""

import re
from pathlib import Path

from tests.project.test_packages import PACKAGES, PAGES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy/container/Containerfile").read_text()
LAST_STAGE = TEXT.rpartition("\nFROM ")[2]


def test_container_runs_as_a_user_without_rights() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", LAST_STAGE, re.MULTILINE)
    assert "0" not in user
    assert f"--uid {user[0]} " in LAST_STAGE
    assert LAST_STAGE.index("\nUSER ") < LAST_STAGE.index("\nENTRYPOINT ")


def test_container_installs_locks_with_hashes() -> None:
    installs = re.findall(r"pip install ((?:\\\n|.)*)", TEXT)
    assert len(installs) == 2
    locked, own = installs
    assert "--require-hashes --requirement requirements/${lock}.txt" in locked
    assert "--no-deps --no-build-isolation ." in own


def test_container_copies_what_the_build_needs() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.MULTILINE)
        for word in line.split()
    }
    assert copied == {*PACKAGES, *PAGES, "requirements", "pyproject.toml", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in copied)


def test_container_names_a_version_of_its_base() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", TEXT, re.MULTILINE)
    assert re.search(r":\d+\.\d+", base)
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) == {"${BASE}"}
