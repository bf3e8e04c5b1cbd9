import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.procedures.command import Command
from standfast.config.sections.procedures import CommandConfig
from standfast.errors import ConfigurationError, UsageError
from standfast.records import EffectState, Order
from standfast.retry_rules import settles_at
from tests.adapters.procedures.contract import ProcedureContract, Yard
from tests.adapters.settings import reveal, settings_of
from tests.servers import growing

HOST = {"host": {"type": "host"}}


def command_of(argv: Sequence[str], **others: Any) -> Command:
    settings = settings_of(CommandConfig, argv=argv, **others)
    return Command("commands.x", settings, reveal=reveal)


def script(folder: Path, body: str, name: str = "it") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def order(**parameters: str) -> Order:
    return Order(
        token="f00d", verb="run.command", target="x", details={"parameters": dict(parameters)}
    )


class CommandYard(Yard):
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "isolated"
        self.folder.mkdir()
        self.procedure = command_of(
            ("/usr/bin/touch", f"{self.folder}/{{host}}"),
            observe=("/usr/bin/test", "-e", f"{self.folder}/{{host}}"),
            undo=("/bin/rm", "-f", f"{self.folder}/{{host}}"),
            parameters=HOST,
        )

    def is_isolated(self, host: str) -> bool:
        return host in {path.name for path in self.folder.iterdir()}


class TestCommand(ProcedureContract):
    @pytest.fixture
    def yard(self, tmp_path: Path) -> Yard:
        return CommandYard(tmp_path)


def test_output_hides_secrets_and_environment_is_bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SECRET", "not for you")
    command = command_of(
        (script(tmp_path, "env; echo bad >&2"),),
        environment={"SITE": "second"},
        secrets={"API_KEY": "s3cret-value"},
    )
    (result,) = command.run([order()])
    output = str(result.facts["output"])
    assert result.state is EffectState.DONE
    assert "STANDFAST_TOKEN=f00d" in output
    assert "SITE=second" in output
    assert "API_KEY=[secret]" in output
    assert "bad" in output
    assert "s3cret-value" not in output
    assert "OTHER_SECRET" not in output


def test_an_output_without_end_is_cut_and_counted(tmp_path: Path) -> None:
    command = command_of((script(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x"),))
    (result,) = command.run([order()])
    output = str(result.facts["output"])
    assert result.state is EffectState.DONE
    assert len(output) < 17_000
    assert output.endswith(f"[{3_000_000 - 16 * 1024} more left out]")


@pytest.mark.parametrize(
    ("body", "state", "reason"),
    [
        ("exit 3", EffectState.FAILED, "ended with status 3"),
        ("kill -9 $$", EffectState.UNKNOWN, "ended with signal 9"),
        ("exit 4", EffectState.DONE, ""),
    ],
)
def test_its_status_says_what_it_came_to(
    tmp_path: Path, body: str, state: EffectState, reason: str
) -> None:
    command = command_of((script(tmp_path, body),), succeeds_with=(0, 4))
    (result,) = command.run([order()])
    assert result.state is state
    assert reason in result.reason


def test_endless_command_is_cut_and_unknown(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    body = f"(sleep 30; touch {ended}) & echo started; wait"
    for seconds in growing(1):
        command = command_of((script(tmp_path, body),), timeout_seconds=seconds)
        (result,) = command.run([order()])
        if result.facts["output"]:
            break
    assert result.state is EffectState.UNKNOWN
    assert result.facts["output"] == "started\n"
    assert "time-out" in result.reason
    now = datetime.now(UTC)
    assert settles_at(command.limits, now) - now > timedelta(seconds=2)
    assert not ended.exists()


def test_unstartable_program_did_not_happen(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for path in (str(plain), str(tmp_path / "missing")):
        (result,) = command_of((path,)).run([order()])
        assert result.state is EffectState.FAILED
        assert "cannot be run" in result.reason
    gone = command_of(("/bin/true",), user="nobody-of-that-name")
    assert gone.run([order()])[0].state is EffectState.FAILED


@pytest.mark.skipif(os.getuid() != 0, reason="only root may run a command as somebody else")
def test_it_runs_as_the_user_of_its_configuration() -> None:
    command = command_of(("/usr/bin/id", "-un"), user="nobody")
    assert command.run([order()])[0].facts["output"] == "nobody\n"


def test_broken_observation_is_repeated(
    tmp_path: Path,
) -> None:
    broken = command_of(("/bin/true",), observe=(script(tmp_path, "exit 2"),))
    (seen,) = broken.observe([order()])
    assert not seen.is_readable
    assert seen.happened is None
    (blind,) = command_of(("/bin/true",)).observe([order()])
    assert blind.is_readable
    assert blind.happened is None


def test_the_plan_says_what_it_cannot_do() -> None:
    bare = command_of(("/bin/true",))
    assert bare.is_irreversible
    assert "commands.x: cannot be undone" in bare.notes()
    assert any("cannot be checked" in note for note in bare.notes())
    reading = command_of(("/bin/true",), changes_nothing=True)
    assert not reading.is_irreversible
    assert reading.notes() == ()


def test_a_configuration_that_opens_a_door_is_refused() -> None:
    for argv in (("/bin/{host}",), ("/bin/echo", "{user}")):
        with pytest.raises(ConfigurationError):
            command_of(argv, parameters=HOST)
    with pytest.raises(ConfigurationError, match="read as an option"):
        command_of(("/bin/kill", "{pid}"), parameters={"pid": {"type": "number"}})


def test_parameters_are_judged_when_they_are_planned() -> None:
    command = command_of(("/bin/echo", "{host}"), parameters=HOST)
    command.fit({"parameters": {"host": "pc-1"}})
    with pytest.raises(UsageError, match="'host'"):
        command.fit({"parameters": {"host": "--help"}})
