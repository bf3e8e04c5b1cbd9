"""Commands in pages exist, with the options and arguments shown."""

import re
import shlex
from contextlib import suppress
from itertools import takewhile

import click
import pytest

from standfast.cli.app import app
from standfast.cli.terminal.invocation import PROGRAM, Call
from tests.pages.blocks import pages

_BLOCK = re.compile(r"^ *```(?:sh|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    r"^\s*(?:\$ )?(?:sudo -u \w+ )?(?:/[\w/.]+/)?standfast ([a-z-].*)$", re.MULTILINE
)
_IN_TEXT = re.compile(r"`standfast (?!help |--)([^`…<>]+)(?<! v1)`")
_ENDS_COMMAND = {"|", "&&", ";", ">", "<", "2>"}


IN_BLOCKS = [
    (page, command)
    for page, text in pages().items()
    for block in _BLOCK.findall(text)
    for command in _COMMAND.findall(block.replace("\\\n", " "))
]
IN_TEXT = [(page, command) for page, text in pages().items() for command in _IN_TEXT.findall(text)]


def parse(command: str) -> click.Context:
    """Parse a command line as the program does, without running it."""
    words = list(
        takewhile(lambda word: word not in _ENDS_COMMAND, shlex.split(command, comments=True))
    )
    if words[0] in ("-c", "--config"):
        del words[:2]
    call = Call(config=None, as_json=False, env={})
    context = click.Context(app, info_name=PROGRAM, obj=call)
    while isinstance(context.command, click.Group) and words:
        name = words.pop(0)
        found = context.command.get_command(context, name)
        assert found is not None, f"no command {name!r}"
        if not isinstance(found, click.Group):
            return found.make_context(name, words, parent=context)
        context = click.Context(found, info_name=name, parent=context, obj=call)
    return context


def test_pages_have_examples() -> None:
    assert len(IN_BLOCKS) > 80
    assert len(IN_TEXT) > 80


@pytest.mark.parametrize(("page", "command"), IN_BLOCKS)
def test_command_of_an_example_is_complete(page: str, command: str) -> None:
    parse(command)


@pytest.mark.parametrize(("page", "command"), sorted(set(IN_TEXT)))
def test_command_in_text_exists(page: str, command: str) -> None:
    # The text may name a command without its arguments, an option without its value, or `--help`.
    with suppress(click.MissingParameter, click.BadOptionUsage, click.exceptions.Exit):
        parse(command)
