"""From words to values: what is accepted, in which order, and how each mistake is told."""

from pathlib import Path
from typing import Annotated, Any

import pytest

from standfast.cli.parsing.argument_parser import find, values_of
from standfast.cli.parsing.command_declaration import (
    Argument,
    Command,
    Group,
    Option,
    command,
    group,
)
from standfast.cli.parsing.help_text import help_of
from standfast.errors import ExitStatus, UsageError
from tests.cli.desk import Desk


def take(
    call: object,
    point: Annotated[str, Argument(metavar="POINT", help="Which.")],
    patterns: Annotated[list[str] | None, Argument(metavar="PATTERN")] = None,
    to: Annotated[Path | None, Option("--to", metavar="DIR", help="Where.")] = None,
    inputs: Annotated[list[str] | None, Option("--input", "-i", metavar="NAME=VALUE")] = None,
    most: Annotated[int | None, Option(min=1, help="How many.")] = None,
    share: Annotated[float, Option("--share")] = 0.5,
    syncs: Annotated[bool, Option("--sync/--no-sync", help="Wait.")] = True,
    owner: Annotated[bool, Option("--owner")] = False,
) -> ExitStatus:
    """Take a point. And more is said.

    In another paragraph.
    """
    return ExitStatus.DONE


def declared() -> Group:
    root = Group(words=("standfast",), about="Everything.")
    backup = group(root, "backup", "Points.")
    command(backup, "take", exits={ExitStatus.DONE: "it is taken"}, example="standfast …")(take)
    return root


def read(*words: str) -> Any:
    found, rest = find(declared(), ["backup", "take", *words])
    assert isinstance(found, Command)
    return values_of(found, rest)


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(*words)
    message, _, see = str(caught.value).partition("\n")
    assert see == "See `standfast backup take --help`."
    return message


def test_what_is_left_out_has_its_default() -> None:
    assert read("latest") == {
        "point": "latest",
        "patterns": None,
        "to": None,
        "inputs": None,
        "most": None,
        "share": 0.5,
        "syncs": True,
        "owner": False,
    }


def test_options_stand_before_between_and_after_arguments() -> None:
    words = ["--to", "out", "latest", "--owner", "a/*", "-i", "a=1", "b", "--input=b=2", "-ic=3"]
    values = read(*words, "--most", "3", "--share=0.1", "--no-sync")
    assert values == {
        "point": "latest",
        "patterns": ["a/*", "b"],
        "to": Path("out"),
        "inputs": ["a=1", "b=2", "c=3"],
        "most": 3,
        "share": 0.1,
        "syncs": False,
        "owner": True,
    }


def test_the_last_word_on_an_option_counts() -> None:
    values = read("latest", "--to", "a", "--to", "b", "--no-sync", "--sync")
    assert (values["to"], values["syncs"]) == (Path("b"), True)


def test_a_lone_dash_is_a_value_and_after_two_everything_is_an_argument() -> None:
    assert read("latest", "--input", "-")["inputs"] == ["-"]
    assert read("-")["point"] == "-"
    values = read("--owner", "--", "--to", "-x")
    assert (values["point"], values["patterns"], values["owner"]) == ("--to", ["-x"], True)


def test_a_lone_dash_is_a_path_where_the_command_says_what_it_means() -> None:
    def pour(call: object, to: Annotated[Path, Option("--to", takes_dash=True)]) -> ExitStatus:
        return ExitStatus.DONE

    root = declared()
    command(root, "pour", exits={}, example="")(pour)
    found, rest = find(root, ["pour", "--to", "-"])
    assert isinstance(found, Command)
    assert values_of(found, rest) == {"to": Path("-")}


def test_an_empty_value_is_one() -> None:
    assert read("", "--input=") | {"point": ""} == read("", "-i", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument 'POINT'."),
        (["latest", "--tp", "x"], "No such option: --tp (Possible options: --help, --most, --to)"),
        (["latest", "-x"], "No such option: -x"),
        (["latest", "--password=hunter2"], "No such option: --password"),
        (["latest", "--to"], "Option '--to' requires an argument."),
        (["latest", "-i"], "Option '--input' requires an argument."),
        (["latest", "--owner=yes"], "Option '--owner' does not take a value."),
        (["latest", "--help=yes"], "Option '--help' does not take a value."),
        (["latest", "--most", "x"], "Invalid value for '--most': 'x' is no whole number."),
        (["latest", "--most", "1.5"], "Invalid value for '--most': '1.5' is no whole number."),
        (["latest", "--most", "-1"], "Invalid value for '--most': it is 1 at least."),
        (
            ["latest", "--to", "-"],
            "Invalid value for '--to': name a file or folder; '-' stands for none.",
        ),
        (
            ["latest", "--to", ""],
            "Invalid value for '--to': name a file or folder; '' stands for none.",
        ),
        (["latest", "--share", "half"], "Invalid value for '--share': 'half' is no number."),
    ],
)
def test_what_does_not_fit_is_told_with_where_to_read_on(words: list[str], message: str) -> None:
    assert refusal(*words) == message


def test_a_shortened_option_is_none_but_its_whole_name_is_told() -> None:
    message = refusal("latest", "--own")
    assert message.startswith("No such option: --own (Possible options: ")
    assert "--owner" in message


def test_a_word_too_many_is_named() -> None:
    def alone(call: object, name: Annotated[str, Argument()]) -> ExitStatus:
        return ExitStatus.DONE

    root = declared()
    command(root, "alone", exits={}, example="")(alone)
    found, rest = find(root, ["alone", "a", "b", "c"])
    assert isinstance(found, Command)
    with pytest.raises(UsageError, match=r"^Got unexpected extra argument\(s\) \(b c\)\n"):
        values_of(found, rest)


def test_help_is_asked_for_anywhere_but_an_unknown_option_goes_first() -> None:
    assert read("--help") is None
    assert read("latest", "--most", "x", "--help") is None
    assert refusal("--help", "--nosuch").startswith("No such option")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "No such command 'nosuch'.\nSee `standfast --help`."),
        (["backp"], "No such command 'backp'. Did you mean 'backup'?\nSee `standfast --help`."),
        (["take"], "No such command 'take'. Did you mean 'backup take'?\nSee `standfast --help`."),
        (["unlock"], "No such command 'unlock'. Did you mean 'incident undo'?\n"),
        (["backup", "tkae"], "No such command 'tkae'. Did you mean 'take'?\n"),
        (["--nosuch"], "No such option: --nosuch\nSee `standfast --help`."),
        (["backup", "-x", "take"], "No such option: -x\nSee `standfast backup --help`."),
    ],
)
def test_a_command_that_is_not_there_is_answered_with_the_nearest(
    words: list[str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        find(declared(), words)
    assert str(caught.value).startswith(message)


def test_a_switch_that_is_off_by_itself_says_so(desk: Desk) -> None:
    assert "[default: no-sync]" in " ".join(desk.run("backup", "restore", "--help").out.split())


def test_a_help_has_everything_that_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    found, _ = find(declared(), ["backup", "take"])
    text = help_of(found)
    assert text.startswith(
        """\
Usage: standfast backup take [OPTIONS] {POINT} [PATTERN]...

  Take a point. And more is said.

  In another paragraph.

Arguments:
  POINT    Which.  [required]
  PATTERN

Options:
  --to DIR                Where.
  -i, --input NAME=VALUE
  --most N                How many.  [x>=1]
  --share NUMBER          [default: 0.5]
  --sync / --no-sync      Wait.  [default: sync]
  --owner
  -h, --help              Show this message and exit.

Everywhere:
"""
    )
    assert "  0  done\n     e.g. it is taken\n  1  failed\n     e.g. the ledger" in text
    assert text.endswith("     e.g. the ledger is damaged\n\nExample:\n  standfast …")
    assert "\n  take  Take a point.\n" in help_of(declared().parts["backup"])
    assert max(map(len, text.splitlines())) <= 90
