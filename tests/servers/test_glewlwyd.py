import uuid

from tests.servers.glewlwyd import GlewlwydServer


def test_only_the_right_password_signs_in(glewlwyd_server: GlewlwydServer) -> None:
    name = f"agent-{uuid.uuid4().hex[:8]}"
    glewlwyd_server.add(name, "the right one", is_enabled=True)
    assert glewlwyd_server.browse(name, "a wrong one") is None
    session = glewlwyd_server.browse(name, "the right one")
    assert session is not None
    assert glewlwyd_server.is_signed_in(session)
    tokens = glewlwyd_server.sign_in(name, "the right one")
    assert tokens is not None
    assert glewlwyd_server.admits(tokens)
    assert glewlwyd_server.refresh(tokens) is not None
