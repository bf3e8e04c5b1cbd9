"""Edits of one setting in a configuration file."""

import tomllib

import pytest

from standfast.config.setting_edit import with_setting
from standfast.errors import ConfigurationError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[backup]\n",
        '[backup] # where\nvault = "old" # a comment\n[backup.sets.main]\n',
        "[backup]\nvault = 'old'\n",
        "[backup.sets.main]\nsources = []\n",
        'backup.vault = "old"\n',
        'backup = { vault = "old", writer = "h" }\n',
        '[backup]\nwriter = "vault = old"\nvault = "old"\n',
        '[other]\nvault = "kept"\n',
    ],
)
def test_setting_is_changed_and_others_stay(text: str) -> None:
    before = tomllib.loads(text)
    after = tomllib.loads(with_setting(text, "backup", "vault", '/mnt/a "b"\\c'))
    assert after["backup"].pop("vault") == '/mnt/a "b"\\c'
    before.setdefault("backup", {}).pop("vault", None)
    assert after == before


@pytest.mark.parametrize(
    "text", ['[backup]\nvault = """\nold"""\n', 'backup = { writer = "host-1" }\n']
)
def test_other_layout_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        with_setting(text, "backup", "vault", "new")


def test_comments_and_layout_stay() -> None:
    text = "# first\n[backup]  # here\n\n# of the vault\nvault = 'old'  # end\n"
    assert with_setting(text, "backup", "vault", "new") == text.replace("'old'", '"new"')
