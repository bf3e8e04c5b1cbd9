"""Commands of the README, run in order as a newcomer would type them.

A `console` block has commands (`$ …`), each with its output: a line of `…` stands for any lines,
and a `…` within a line for any text. A command ends with 0, or as `# exits N` says.
"""

import os
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.config import load
from tests.cli.desk import Desk, run_apart
from tests.memory_disk import tmp_path
from tests.servers import need

__all__ = ["tmp_path"]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_WRITTEN_IN = "2026"
_WITH_THE_DEMO, _, _WITHOUT_IT = README.partition("## Your first backup")


@dataclass(frozen=True)
class Step:
    """One command, what it is to print, and how it is to end."""

    command: str
    exit_status: int
    output: tuple[str, ...]


def steps(pages: str = README) -> list[Step]:
    # Incidents are counted by the year, which is not always that of the README.
    text = pages.replace(f"inc-{_WRITTEN_IN}-", f"inc-{datetime.now(UTC).year}-")
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
    """Return the arguments of a command.

    `make demo` has its last line only: its installation is done.
    """
    if command == "make demo":
        assert "\t$(BIN)/standfast demo $(if $(AGAIN),--again)\n" in (ROOT / "Makefile").read_text()
        command = "standfast demo"
    program, *arguments = shlex.split(command)
    assert program == "standfast", command
    return arguments


def shown_digest(desk: Desk, approve: list[str]) -> str:
    """Return the digest that `approve` shows on a terminal."""
    _, _, incident, name, *_ = approve
    steps = desk.json("incident", "status", incident)["steps"]
    return next(str(one["digest"]) for one in steps if one["step"] == name)


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param(_WITH_THE_DEMO, marks=pytest.mark.long, id="demo"),
        pytest.param(_WITHOUT_IT, id="backup"),
    ],
)
def test_readme_commands_do_what_they_say(
    pages: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("scim2-server", "the demo's directory of accounts")
    for name in [name for name in os.environ if name.startswith("STANDFAST_")]:
        monkeypatch.delenv(name)
    (tmp_path / "my-files").mkdir()
    (tmp_path / "my-files/notes.txt").write_text("worth keeping\n")
    monkeypatch.chdir(tmp_path)
    desk = Desk(folder=tmp_path, capture=capsys, monkeypatch=monkeypatch)
    try:
        found = steps(pages)
        assert found
        for step in found:
            if step.command.startswith("export "):
                name, _, value = step.command.removeprefix("export ").partition("=")
                monkeypatch.setenv(name, "".join(shlex.split(value)))
                continue
            words = as_a_newcomer(step.command)
            if words[:2] == ["incident", "approve"]:
                words += ["--digest", shown_digest(desk, words)]
            # The demo chooses its Prefect server before Prefect is imported.
            done = run_apart(*words, cwd=tmp_path) if words[0] == "demo" else desk.run(*words)
            told = f"$ {step.command}\n{done.out}{done.err}"
            assert done.status == step.exit_status, told
            assert re.fullmatch(pattern(step.output), done.out), told
    finally:
        if (tmp_path / "demo-place").exists():
            run_apart(*as_a_newcomer("standfast demo --stop demo-place"), cwd=tmp_path)


def test_readme_settings_load(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    file = tmp_path / "standfast.toml"
    file.write_text(f'[organisation]\nname = "Example"\ncontact_line = "0123"\n{block}')
    assert set(load(file).accounts) == {"staff"}


def test_readme_incidents_are_opened_by_a_person() -> None:
    opened = [one.command for one in steps() if one.command.startswith("standfast incident open")]
    assert opened
    # Otherwise each approval needs two more people, and the demo has fewer.
    assert [command for command in opened if " --as " not in command] == []


def test_the_readme_tells_every_exit_status() -> None:
    from standfast.errors import EXIT_STATUS_MEANING

    for status, meaning in EXIT_STATUS_MEANING.items():
        assert f"| {status.value} | {meaning.partition(':')[0]}" in README


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
