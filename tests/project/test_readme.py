"""Every command of the README is run here, in order, as a newcomer would type it.

A `console` block holds commands (`$ …`), each with the output that it promises: a line of `…` is
any lines, and a `…` within a line any text. A command ends with 0, or as `# exits N` says.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers import need

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_WRITTEN_IN = "2026"


@dataclass(frozen=True)
class Step:
    """One command, what it is to print, and how it is to end."""

    command: str
    exit_status: int
    output: tuple[str, ...]


def steps() -> list[Step]:
    # Incidents are counted by the year, which is not always that of the README.
    text = README.replace(f"inc-{_WRITTEN_IN}-", f"inc-{datetime.now(UTC).year}-")
    found: list[Step] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *output = part.rstrip("\n").split("\n")
            command, _, exits = line.partition("  # exits ")
            found.append(Step(command, int(exits or 0), tuple(output)))
    return found


def pattern(output: tuple[str, ...]) -> str:
    parts = [
        r"(?:.*\n)*?" if line == "…" else r"[^\n]*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in output
    ]
    return "".join(parts)


def as_a_newcomer(command: str) -> list[str]:
    """What is run: `make demo` has installed already, so its last line is what is left of it."""
    if command == "make demo":
        assert "\t$(BIN)/standfast demo $(if $(AGAIN),--again)\n" in (ROOT / "Makefile").read_text()
        command = "standfast demo"
    program, *arguments = shlex.split(command)
    assert program == "standfast", command
    return [str(Path(sys.executable).with_name("standfast")), *arguments]


def shown_digest(approve: list[str], cwd: Path, env: dict[str, str]) -> str:
    """Return what a newcomer at a terminal is shown, and says yes to."""
    program, _, _, incident, name, *_ = approve
    status = [program, "incident", "status", incident, "--json"]
    done = subprocess.run(
        status, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    steps = json.loads(done.stdout)["steps"]
    return next(str(one["digest"]) for one in steps if one["step"] == name)


def test_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    need("scim2-server", "the demo's directory of accounts")
    env = {name: value for name, value in os.environ.items() if not name.startswith("STANDFAST_")}
    (tmp_path / "my-files").mkdir()
    (tmp_path / "my-files/notes.txt").write_text("worth keeping\n")
    try:
        for step in steps():
            if step.command.startswith("export "):
                name, _, value = step.command.removeprefix("export ").partition("=")
                env[name] = "".join(shlex.split(value))
                continue
            words = as_a_newcomer(step.command)
            if words[1:3] == ["incident", "approve"]:
                words += ["--digest", shown_digest(words, tmp_path, env)]
            done = subprocess.run(
                words,
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            told = f"$ {step.command}\n{done.stdout}{done.stderr}"
            assert done.returncode == step.exit_status, told
            assert re.fullmatch(pattern(step.output), done.stdout), told
    finally:
        if (tmp_path / "demo-place").exists():
            stop = as_a_newcomer("standfast demo --stop demo-place")
            subprocess.run(stop, cwd=tmp_path, env=env, check=True, timeout=60)


def test_an_incident_of_the_readme_is_opened_by_somebody_who_signs_in() -> None:
    opened = [one.command for one in steps() if one.command.startswith("standfast incident open")]
    assert opened
    # Otherwise each approval needs two people beside, and the demo's place has not as many.
    assert [command for command in opened if " --as " not in command] == []


def test_the_readme_tells_every_exit_status() -> None:
    from standfast.errors import EXIT_STATUS_MEANING

    for status, meaning in EXIT_STATUS_MEANING.items():
        assert f"| {status.value} | {meaning.partition(':')[0]}" in README


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
