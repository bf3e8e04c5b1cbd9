"""The tree of commands: names, help, suggestions and shell completion."""

import subprocess
from pathlib import Path

import pytest

from standfast.cli.app import app
from standfast.cli.parsing.commands import leaf_commands
from standfast.errors import EXIT_STATUS_MEANING, ExitStatus
from tests.cli.desk import Desk
from tests.servers import need

COMMANDS = sorted(words for words, _ in leaf_commands(app))


def test_command_forms_of_scripts_exist() -> None:
    fixed = (
        "init|check|serve|status|lock|demo|backup run|backup list|backup restore|backup verify|"
        "drill run|drill list|incident plan|incident open|incident status|incident approve|"
        "incident answer|incident retry|incident stop|incident undo|incident close|"
        "playbook list|playbook show|playbook check|notice preview|people add|people list|"
        "audit verify"
    )
    assert {tuple(form.split()) for form in fixed.split("|")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_lists_exit_statuses_and_an_example(words: tuple[str, ...], desk: Desk) -> None:
    answer = desk.run(*words, "--help")
    assert answer.status == 0
    listed = answer.out.partition("Exit statuses:\n")[2].partition("\nExample:")[0].splitlines()
    codes = [line.split()[0] for line in listed if not line.startswith("     ")]
    assert "0" in codes
    assert codes == sorted(codes)
    for line in listed[::2]:
        code, _, meaning = line.strip().partition("  ")
        assert meaning == EXIT_STATUS_MEANING[ExitStatus(int(code))]
    assert all(line.startswith("     e.g. ") for line in listed[1::2])
    assert f"standfast {' '.join(words)}" in answer.out.partition("Example:")[2]


def test_no_sentence_about_a_command_is_cut(desk: Desk) -> None:
    for group in {words[:-1] for words in COMMANDS} | {()}:
        assert "..." not in desk.run(*group, "--help").out.partition("\nCommands:")[2], group


def test_first_help_page_says_what_a_breach_needs(desk: Desk) -> None:
    told = " ".join(desk.run("--help").out.split())
    for command in ("playbook list", "incident plan PLAYBOOK", "lock ACCOUNT"):
        assert f"`standfast {command}`" in told


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_the_common_options(words: tuple[str, ...], desk: Desk) -> None:
    out = desk.run(*words, "--help").out
    assert "-c, --config FILE" in out
    assert "--json" in out


@pytest.mark.parametrize("words", [(), ("backup",), ("backup", "owner"), *COMMANDS], ids=" ".join)
def test_help_is_printed_for_every_usual_spelling(words: tuple[str, ...], desk: Desk) -> None:
    asked = desk.run(*words, "--help")
    assert asked.status == 0
    assert desk.run(*words, "-h") == asked
    assert desk.run("help", *words) == asked
    assert desk.run(*words[:-1], "help", *words[-1:]) == asked
    assert desk.json(*words, "--help") == {"help": asked.out.removesuffix("\n")}


def test_help_of_mistyped_command_suggests_a_command(desk: Desk) -> None:
    answer = desk.run("help", "incident", "opne")
    assert answer.status == 2
    assert "Did you mean 'open'" in answer.err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_has_a_passphrase_argument(words: tuple[str, ...], desk: Desk) -> None:
    assert "--passphrase " not in desk.run(*words, "--help").out


def test_ledger_command_documents_status_without_ledger(desk: Desk) -> None:
    for words, statuses in (
        (("incident", "list"), "0126"),
        (("deadline", "notified"), "0126"),
        (("deadline", "places"), "02"),
        (("playbook", "show"), "012"),
    ):
        listed = desk.run(*words, "--help").out.partition("Exit statuses:\n")[2]
        assert "".join(line[2] for line in listed.splitlines() if line[2:3].isdigit()) == statuses


def test_each_exit_status_is_in_some_help(desk: Desk) -> None:
    listed = "".join(desk.run(*words, "--help").out for words in COMMANDS)
    for status, meaning in EXIT_STATUS_MEANING.items():
        assert f"  {status.value}  {meaning}" in listed


def test_a_group_without_a_command_shows_its_help(desk: Desk) -> None:
    answer = desk.run("incident")
    assert (answer.status, answer.out) == (2, "")
    assert "undo" in answer.err


def test_mistyped_command_suggests_a_command(desk: Desk) -> None:
    answer = desk.run("incident", "opne")
    assert answer.status == 2
    assert "open" in answer.err
    assert "standfast incident --help" in answer.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, desk: Desk) -> None:
    script = desk.run("completion", shell).out
    assert f"_STANDFAST_COMPLETE={shell}_complete" in script
    assert desk.json("completion", shell)["script"] == script.removesuffix("\n")


def test_completion_refuses_another_shell(desk: Desk) -> None:
    assert desk.run("completion", "tcsh").status == ExitStatus.USAGE


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("incident ap", {"approve"}),
        ("backup restore --s", {"--set", "--sync"}),
        ("-c standfast.toml backup owner show --j", {"--json"}),
    ],
)
def test_shell_completes_commands_and_options(
    typed: str, completions: set[str], desk: Desk
) -> None:
    words = ["standfast", *typed.split()]
    desk.monkeypatch.setenv("_STANDFAST_COMPLETE", "bash_complete")
    desk.monkeypatch.setenv("COMP_WORDS", " ".join(words))
    desk.monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    answer = desk.run()
    assert {line.partition(",")[2] for line in answer.out.splitlines()} == completions


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])]
)
def test_shell_accepts_its_completion_script(
    shell: str, check: list[str], desk: Desk, tmp_path: Path
) -> None:
    need(shell, "it reads the completion script")
    script = tmp_path / "script"
    script.write_text(desk.run("completion", shell).out)
    done = subprocess.run([shell, *check, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_accepts_the_completion_script(desk: Desk) -> None:
    script = desk.run("completion", "bash").out
    done = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p standfast"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
