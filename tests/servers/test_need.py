import pytest

from tests.servers import need

ABSENT = "no-such-program-anywhere"


def test_a_missing_server_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STANDFAST_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="it is for this test"):
        need(ABSENT, "it is for this test")


def test_a_missing_server_fails_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDFAST_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="it is for this test"):
        need(ABSENT, "it is for this test")


def test_a_module_or_a_program_is_found() -> None:
    need("json", "a module")
    need("sh", "a program")
