import pytest

from tests.servers import need, refused_to_root

ABSENT = "no-such-program-anywhere"


def test_a_missing_server_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STANDFAST_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="it is for this test"):
        need(ABSENT, "it is for this test")


def test_a_missing_server_fails_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDFAST_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="it is for this test"):
        need(ABSENT, "it is for this test")


@pytest.mark.parametrize(
    ("user", "required", "is_failure"),
    [(0, "1", True), (0, "", False), (1000, "1", False), (1000, "", False)],
)
def test_refused_root_fails_where_servers_are_required(
    monkeypatch: pytest.MonkeyPatch, user: int, required: str, is_failure: bool
) -> None:
    monkeypatch.setenv("STANDFAST_REQUIRE_SERVERS", required)
    monkeypatch.setattr("os.geteuid", lambda: user)
    ended = pytest.fail.Exception if is_failure else pytest.skip.Exception
    with pytest.raises(ended, match="nobody may mount"):
        refused_to_root("nobody may mount")


def test_a_module_or_a_program_is_found() -> None:
    need("json", "a module")
    need("sh", "a program")
