"""Command forms that users rely on, on a small tree of commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from standfast.cli.parsing.commands import Command, Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus
from tests.cli.desk import Desk

_received: dict[str, Any] = {}


@command("take", exits={ExitStatus.DONE: "it is taken"}, example="standfast backup take latest")
@click.argument("point", help="Which.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option("--to", type=FilePath(), metavar="DIR", help="Where.")
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME=VALUE")
@click.option("--most", type=click.IntRange(min=1), metavar="N", help="How many.")
@click.option("--share", type=float, default=0.5, show_default=True)
@click.option("--sync/--no-sync", default=True, show_default=True, help="Wait.")
@click.option("--owner", is_flag=True)
@click.pass_obj
def take(call: Call, /, **values: Any) -> ExitStatus:
    """Take a point. And more is said.

    In another paragraph.
    """
    _received.update(values, config=call.config)
    return ExitStatus.DONE


@command("pour", exits={}, example="standfast pour")
@click.option("--to", type=FilePath(allow_dash=True))
@click.pass_obj
def pour(call: Call, to: Path) -> ExitStatus:
    """Pour to a file."""
    _received.update(to=to)
    return ExitStatus.DONE


backup = Group("backup", help="Points.", commands=[take])
root = Group("standfast", help="Everything.", commands=[backup, pour])


def run(*words: str) -> dict[str, Any]:
    _received.clear()
    call = Call(config=None, as_json=False, env={})
    with root.make_context("standfast", list(words), obj=call) as context:
        assert root.invoke(context) is ExitStatus.DONE
    return dict(_received)


def read(*words: str) -> dict[str, Any]:
    return run("backup", "take", *words)


def refusal(*words: str) -> str:
    with pytest.raises(click.UsageError) as caught:
        run(*words)
    assert caught.value.ctx is not None
    return caught.value.format_message()


def help_of(words: Sequence[str]) -> str:
    at: click.Command = root
    context = click.Context(root, info_name="standfast")
    for word in words:
        assert isinstance(at, Group)
        at = at.commands[word]
        context = click.Context(at, info_name=word, parent=context)
    return at.get_help(context)


def test_missing_options_have_their_defaults() -> None:
    assert read("latest") == {
        "point": "latest",
        "patterns": (),
        "to": None,
        "inputs": (),
        "most": None,
        "share": 0.5,
        "sync": True,
        "owner": False,
        "config": None,
    }


def test_options_and_arguments_may_be_mixed() -> None:
    words = ["--to", "out", "latest", "--owner", "a/*", "-i", "a=1", "b", "--input=b=2", "-ic=3"]
    values = read(*words, "--most", "3", "--share=0.1", "--no-sync", "-c", "here.toml")
    assert values == {
        "point": "latest",
        "patterns": ("a/*", "b"),
        "to": Path("out"),
        "inputs": ("a=1", "b=2", "c=3"),
        "most": 3,
        "share": 0.1,
        "sync": False,
        "owner": True,
        "config": Path("here.toml"),
    }


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "here.toml", "backup", "take", "latest"],
        ["--json", "backup", "--config", "here.toml", "take", "latest"],
        ["backup", "take", "--config=here.toml", "latest", "--json"],
    ],
)
def test_common_options_are_accepted_anywhere(words: list[str]) -> None:
    values = run(*words)
    assert (values["point"], values["config"]) == ("latest", Path("here.toml"))


def test_last_value_of_an_option_counts() -> None:
    values = read("latest", "--to", "a", "--to", "b", "--no-sync", "--sync")
    assert (values["to"], values["sync"]) == (Path("b"), True)


def test_double_dash_ends_the_options() -> None:
    assert read("latest", "--input", "-")["inputs"] == ("-",)
    assert read("-")["point"] == "-"
    values = read("--owner", "--", "--to", "-x")
    assert (values["point"], values["patterns"], values["owner"]) == ("--to", ("-x",), True)


def test_negative_number_is_the_value_of_an_option() -> None:
    assert read("latest", "--share", "-0.5")["share"] == -0.5


def test_attached_value_may_equal_an_option_name() -> None:
    assert read("latest", "--input=--owner")["inputs"] == ("--owner",)


def test_dash_is_a_path_only_where_allowed() -> None:
    assert run("pour", "--to", "-") == {"to": Path("-")}
    assert "--to" in refusal("backup", "take", "latest", "--to", "-")
    assert "--to" in refusal("pour", "--to", "")


def test_empty_text_is_a_value() -> None:
    assert read("", "--input=") | {"point": ""} == read("", "-i", "")


@pytest.mark.parametrize(
    ("words", "error", "names"),
    [
        ([], click.MissingParameter, "POINT"),
        (["latest", "-x"], click.NoSuchOption, "-x"),
        (["latest", "--own"], click.NoSuchOption, "--owner"),
        (["latest", "--tp", "x"], click.NoSuchOption, "--to"),
        (["latest", "--to"], click.BadOptionUsage, "--to"),
        (["latest", "--to", "--owner"], click.BadOptionUsage, "--to"),
        (["latest", "--owner=yes"], click.BadOptionUsage, "--owner"),
        (["latest", "--most", "x"], click.BadParameter, "--most"),
        (["latest", "--most", "-1"], click.BadParameter, "--most"),
        (["latest", "--share", "half"], click.BadParameter, "--share"),
        (["--help", "--nosuch"], click.NoSuchOption, "--nosuch"),
    ],
)
def test_usage_error_names_the_parameter(
    words: list[str], error: type[click.UsageError], names: str
) -> None:
    with pytest.raises(error) as caught:
        read(*words)
    assert names in caught.value.format_message()
    assert caught.value.ctx is not None
    assert caught.value.ctx.command_path == "standfast backup take"


def test_value_of_an_unknown_option_stays_secret() -> None:
    assert "hunter2" not in refusal("backup", "take", "latest", "--password=hunter2")


def test_superfluous_argument_is_named() -> None:
    assert "surplus" in refusal("pour", "surplus")


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["nosuch"], None),
        (["backp"], "'backup'"),
        (["take"], "'backup take'"),
        (["unlock"], "'incident undo'"),
        (["backup", "tkae"], "'take'"),
        (["help", "backup", "tkae"], "'take'"),
    ],
)
def test_unknown_command_suggests_the_nearest(words: list[str], suggestion: str | None) -> None:
    message = refusal(*words)
    assert repr(words[-1]) in message
    assert ("Did you mean" in message) == (suggestion is not None)
    assert suggestion is None or suggestion in message


def test_switch_off_by_default_shows_it(desk: Desk) -> None:
    assert "[default: no-sync]" in " ".join(desk.run("backup", "restore", "--help").out.split())


def test_help_has_everything_that_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(["backup", "take"])
    assert text.startswith(
        """\
Usage: standfast backup take [OPTIONS] POINT [PATTERN]...

  Take a point. And more is said.

  In another paragraph.
"""
    )
    for row in ("POINT         Which.", "--most N                How many.  [x>=1]"):
        assert row in text
    assert "--share FLOAT           [default: 0.5]" in text
    assert (
        "  0  done\n     e.g. it is taken\n  1  failed\n     e.g. the database of the ledger"
        in text
    )
    assert text.endswith("Example:\n  standfast backup take latest")
    assert "\n  take  Take a point.\n" in help_of(["backup"]) + "\n"
    assert isinstance(backup.commands["take"], Command)
