"""References become values late, wrapped, and never in a message."""

import copy
import os
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from standfast.config import SecretReference
from standfast.errors import Refused, SecretMissing
from standfast.secrets import Secret, SystemResolver

VALUE = "hunter2-é"


def resolver(folder: Path, **env: str) -> SystemResolver:
    return SystemResolver(env=env, base_dir=folder)


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return path


class MemoryKeyring(KeyringBackend):
    """A keyring with one entry, and one service that does not open."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the package's own is not annotated

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        if service == "locked":
            raise KeyringLocked(VALUE)
        return VALUE if (service, username) == ("standfast", "me/x") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("nothing writes into a keyring")


@pytest.fixture
def memory_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(MemoryKeyring())
    yield
    keyring.set_keyring(before)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(VALUE)
    assert secret.reveal() == VALUE
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>30}",
        str([secret]),
    ]
    assert not [text for text in shown if "hunter2" in text]


def test_a_secret_is_not_pickled_or_copied() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret(VALUE))
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.deepcopy(Secret(VALUE))


def test_the_environment_gives_a_secret(tmp_path: Path) -> None:
    assert resolver(tmp_path, TOKEN=VALUE).resolve(SecretReference("env:TOKEN")).reveal() == VALUE


@pytest.mark.parametrize("env", [{}, {"TOKEN": ""}])
def test_a_variable_that_is_not_set_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(SecretMissing, match="env:TOKEN"):
        resolver(tmp_path, **env).resolve(SecretReference("env:TOKEN"))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_secret_file_loses_its_line_end(tmp_path: Path, end: bytes) -> None:
    secret_file(tmp_path, VALUE.encode() + end)
    assert resolver(tmp_path).resolve(SecretReference("file:token")).reveal() == VALUE


def test_only_one_line_end_is_dropped(tmp_path: Path) -> None:
    secret_file(tmp_path, b" two lines\n\n")
    assert resolver(tmp_path).resolve(SecretReference("file:token")).reveal() == " two lines\n"


def test_a_file_may_lie_anywhere_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = secret_file(tmp_path, VALUE.encode())
    elsewhere = resolver(Path("/nowhere"))
    assert elsewhere.resolve(SecretReference(f"file:{path}")).reveal() == VALUE
    monkeypatch.setenv("HOME", str(tmp_path))
    assert elsewhere.resolve(SecretReference("file:~/token")).reveal() == VALUE


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666])
def test_readable_secret_file_is_refused_with_command(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, VALUE.encode(), mode)
    with pytest.raises(Refused) as caught:
        resolver(tmp_path).resolve(SecretReference("file:token"))
    assert f"chmod o-rwx '{path}'" in str(caught.value)
    path.chmod(mode & ~0o007)
    assert resolver(tmp_path).resolve(SecretReference("file:token")).reveal() == VALUE


def test_a_file_shared_with_a_group_is_read(tmp_path: Path) -> None:
    secret_file(tmp_path, VALUE.encode(), 0o640)
    assert resolver(tmp_path).resolve(SecretReference("file:token")).reveal() == VALUE


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"\n", "empty"), (b"x" * 65537, "64 KiB"), (b"hunter2\xff", "UTF-8")],
    ids=["empty", "line end alone", "too large", "not text"],
)
def test_unusable_secret_file_is_named_not_shown(
    tmp_path: Path, content: bytes, message: str
) -> None:
    secret_file(tmp_path, content)
    with pytest.raises(SecretMissing, match=message) as caught:
        resolver(tmp_path).resolve(SecretReference("file:token"))
    assert "file:token" in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_missing_file_folder_or_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    for reference in ("file:missing", "file:folder", "file:~no-such-user/token"):
        with pytest.raises(SecretMissing, match=reference):
            resolver(tmp_path).resolve(SecretReference(reference))


def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", mode=0o600)
    with pytest.raises(SecretMissing, match="not a file"):
        resolver(tmp_path).resolve(SecretReference("file:pipe"))


@pytest.mark.usefixtures("memory_keyring")
def test_a_keyring_gives_a_secret(tmp_path: Path) -> None:
    reference = SecretReference("keyring:standfast/me/x")
    assert resolver(tmp_path).resolve(reference).reveal() == VALUE


@pytest.mark.usefixtures("memory_keyring")
def test_locked_or_empty_keyring_is_named(tmp_path: Path) -> None:
    for reference in ("keyring:locked/me", "keyring:standfast/you"):
        with pytest.raises(SecretMissing, match=reference) as caught:
            resolver(tmp_path).resolve(SecretReference(reference))
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
