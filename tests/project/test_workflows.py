"""Workflows of CI: every check runs, and `make audit` fails clearly."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.project.test_requirements import INSTALLED
from tests.project.test_tree import ROOT

FOUND = "Found 1 known vulnerability in 1 package\\nName Version ID Fix Versions"
LOST = "Traceback (most recent call last):\\nConnectionError: no route to host"


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(ROOT / f".github/workflows/{name}.yml")
    return found


def commands(name: str) -> list[str]:
    jobs = workflow(name)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def audit(tmp_path: Path, output: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run `make audit` with a program in the place of pip-audit."""
    program = tmp_path / "bin/pip-audit"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >arguments\nprintf '{output}\\n'\nexit {status}\n")
    program.chmod(0o755)
    return subprocess.run(
        [
            "make", "--no-print-directory", "-f", ROOT / "Makefile", "-o", ".venv/installed-dev",
            f"BIN={program.parent}", f"INSTALLED={' '.join(INSTALLED)}", "audit",
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def test_audit_runs_weekly_and_with_new_requirements() -> None:
    assert "make audit" in commands("audit")
    begins = workflow("audit")["on"]
    assert begins["schedule"] == [{"cron": "0 2 * * 0"}]
    assert {"requirements/**", "pyproject.toml"} <= set(begins["pull_request"]["paths"])


def test_licences_are_checked_with_each_change() -> None:
    """`.ci/run` runs the tests, which include test_licences.py."""
    assert "sudo bash .ci/run" in commands("check")
    assert workflow("check")["on"]["pull_request"] is None
    assert "make test " in (ROOT / ".ci/run").read_text()


def test_audit_covers_each_lock_of_a_host(tmp_path: Path) -> None:
    ended = audit(tmp_path, "No known vulnerabilities found", 0)
    assert (ended.returncode, ended.stdout) == (0, "No known vulnerabilities found\n")
    words = (tmp_path / "arguments").read_text().split()
    audited = [word for word in words if word.startswith("requirements/")]
    assert audited == [f"requirements/{lock}.txt" for lock in INSTALLED]
    assert "--strict" in words


@pytest.mark.parametrize(
    ("output", "is_incomplete"), [(FOUND, False), (LOST, True)], ids=["found", "no network"]
)
def test_failed_audit_states_its_cause(tmp_path: Path, output: str, is_incomplete: bool) -> None:
    ended = audit(tmp_path, output, 1)
    assert ended.returncode != 0
    assert ("audit: incomplete" in ended.stderr) == is_incomplete
    assert "Traceback" not in ended.stderr
    assert ("Name Version ID" in ended.stderr) == (not is_incomplete)
