import uuid

from tests.servers.canaille import Canaille


def test_only_the_right_password_signs_in(canaille_server: Canaille) -> None:
    name = f"agent-{uuid.uuid4().hex[:8]}"
    canaille_server.add(name, "right")
    assert canaille_server.sign_in(name, "wrong") is None
    tokens = canaille_server.sign_in(name, "right")
    assert tokens is not None
    assert canaille_server.admits(tokens)
    renewed = canaille_server.refresh(tokens)
    assert renewed is not None
    assert canaille_server.admits(renewed)
