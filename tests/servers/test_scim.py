from tests.servers import send_request
from tests.servers.scim import ScimServer


def test_an_account_is_created_changed_and_read(scim_server: ScimServer) -> None:
    account_id = scim_server.create("alice")
    before = scim_server.version(account_id)
    scim_server.set_active(account_id, False)
    assert not scim_server.is_active(account_id)
    assert scim_server.version(account_id) != before


def test_a_directory_of_another_test_is_not_seen(
    scim_server: ScimServer, scim_process: ScimServer
) -> None:
    scim_process.create("alice")
    headers = {"Authorization": f"Bearer {scim_server.token}"}
    answer = send_request("GET", scim_server.url + "/Users", headers=headers)
    assert answer.json()["totalResults"] == 0


def test_a_wrong_token_is_refused(scim_server: ScimServer) -> None:
    answer = send_request(
        "GET",
        scim_server.url + "/Users",
        headers={"Authorization": "Bearer wrong"},
    )
    assert answer.status_code == 401
