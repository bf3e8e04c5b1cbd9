"""Commands of a page, typed in order as its reader would type them.

Rules
- A line of an `sh` block is a command. A `console` block has commands (`$ …`), each with its
  output: a line of `…` stands for any lines, and a `…` within a line for any text. If the page
  shows no output, the command may print anything.
- A command ends with 0, or as `# exits N` says.
- `standfast` runs in this process. Other commands, pipes and redirections run in bash.
- The person after `--as` signs in, unless the page itself exports a passphrase.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.cli.desk import Answer, Desk
from tests.pages.blocks import Block
from tests.servers.timestamp_authority import Authority

_WRITTEN_IN = "2026"
_OPERATOR = re.compile(r"(?<=\s)(?:\||\|\||&&|;|>|<|2>)(?=\s)")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command, the output that the page shows, and its exit status."""

    line: str  # as the page has it
    command: str
    exit_status: int
    output: tuple[str, ...]

    def check(self, answer: Answer, where: object) -> None:
        """Compare an answer with the page."""
        shown = f"{where}\n$ {self.command}\n{answer.out}{answer.err}"
        assert answer.status == self.exit_status, shown
        pattern = self._pattern()
        # A page shows the results, or all that a terminal shows.
        printed = (answer.out, answer.out + answer.err)
        assert not self.output or any(re.fullmatch(pattern, text) for text in printed), shown

    def _pattern(self) -> str:
        parts = [
            r"(?:.*\n)*?"
            if line == "…"
            else r"[^\n]*".join(map(re.escape, line.split("…"))) + r"\n"
            for line in self.output
        ]
        return "".join(parts)


def steps(block: Block, instead: Mapping[str, str] | None = None) -> list[Step]:
    """Return the commands of a block, with other words for placeholders."""
    # Incidents are counted by the year, which is not always that of the page.
    text = block.text.replace(f"inc-{_WRITTEN_IN}-", f"inc-{datetime.now(UTC).year}-")
    text = text.replace("\\\n", " ")
    if block.language == "sh":
        parts = [line for line in text.splitlines() if line.strip()]
    else:
        before, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
        assert not before, f"{block}: text before the first command"
    return [_step(part, instead or {}) for part in parts]


def _step(part: str, instead: Mapping[str, str]) -> Step:
    line, *output = part.rstrip("\n").split("\n")
    command, _, exits = line.partition("  # exits ")
    for text, replacement in instead.items():
        command = command.replace(text, replacement)
    status = int(exits.split()[0]) if exits else 0
    return Step(line=line, command=command, exit_status=status, output=tuple(output))


@dataclass(frozen=True, kw_only=True)
class Typist:
    """A person that types commands in a folder."""

    desk: Desk
    folder: Path
    demo: Path  # the installation of the demo, to copy
    authority: Authority  # of time stamps

    @property
    def config_file(self) -> Path:
        return self.folder / os.environ["STANDFAST_CONFIG"]

    def done(self, command: str, passphrases: Mapping[str, str] | None = None) -> None:
        """Type a command that must end with 0 or wait for a person."""
        answer = self.type(command, passphrases)
        assert answer.status in (0, 5), f"$ {command}\n{answer.out}{answer.err}"

    def type(self, command: str, passphrases: Mapping[str, str] | None = None) -> Answer:
        """Type one command; the person after `--as` signs in."""
        if command.startswith("export "):
            return self._export(command)
        person = re.search(r" --as (\w+)", command)
        if person and passphrases:
            self.desk.sign_in_with(passphrases[person[1]])
        if command.startswith("standfast ") and not _OPERATOR.search(command):
            words = shlex.split(command, comments=True)[1:]
            if words[:2] == ["incident", "approve"]:
                words += ["--digest", self._shown_digest(words)]
            return self.desk.run(*words)
        programs = Path(sys.executable).parent
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            check=False,
            timeout=60,
        )
        return Answer(status=done.returncode, out=done.stdout, err=done.stderr)

    def _export(self, command: str) -> Answer:
        for word in shlex.split(command)[1:]:
            name, _, value = word.partition("=")
            if name != "PATH":  # every command finds the programs
                self.desk.monkeypatch.setenv(name, value)
        return Answer(status=0, out="", err="")

    def _shown_digest(self, approve: list[str]) -> str:
        """Return the digest that `approve` shows on a terminal."""
        _, _, incident, name, *_ = approve
        found = self.desk.json("incident", "status", incident)["steps"]
        return next(str(step["digest"]) for step in found if step["step"] == name)


Act = Callable[[Typist], None]
