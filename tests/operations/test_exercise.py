"""An exercise rehearses the whole playbook and can reach nothing that is real."""

import socket
from pathlib import Path

import pytest

from standfast.config import SecretReference
from standfast.errors import ExitStatus
from standfast.operations import decisions, incident
from standfast.records import Mode
from standfast.secrets import Secret
from tests.operations.places import PASSPHRASES, enrol_people, furnish, place_at


class RaisingResolver:
    """A resolver that shows whether anybody asked."""

    def resolve(self, reference: SecretReference) -> Secret:
        raise AssertionError(f"an exercise asked for {reference}")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("an exercise opened a connection")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_an_exercise_completes_where_no_network_exists_and_no_secret_is_given(
    tmp_path: Path,
) -> None:
    config_file = furnish(tmp_path)
    (tmp_path / "crm.db").unlink()  # it reads no customer either
    with place_at(config_file, resolver=RaisingResolver()) as place:
        enrol_people(place)
        case = incident.open_incident(
            place,
            "account-takeover",
            {"accounts": ["agent01", "agents:agent02"]},
            mode=Mode.EXERCISE,
            opened_by="dana",
        ).incident
        assert incident.advance(place, case, "direct").exit_status is ExitStatus.WAITS_FOR_PEOPLE
        decisions.answer(place, case, "customers_affected", "yes")
        incident.advance(place, case, "direct")
        decisions.decide(place, case, None, "lee", PASSPHRASES["lee"])
        decisions.answer(place, case, "watch", "rehearsed")
        outcome = incident.advance(place, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome.standing
        decisions.undo(place, case)
        outcome = incident.advance(place, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome.standing
        assert place.ledger.effects.locked_targets(case) == []
        assert place.ledger.audit.verify().is_whole
    assert not (tmp_path / "evidence").exists()
