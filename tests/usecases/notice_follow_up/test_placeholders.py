"""Notices use the organisation's own words, in each language."""

from dataclasses import replace

import pytest

from standfast.config.schema import CONTACT_PLACEHOLDER, NAME_PLACEHOLDER
from standfast.errors import ConfigurationError, ExitStatus
from standfast.notices.prepared_notice import Prepared
from standfast.records import Mode
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.notice_follow_up import corrections
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import TOLD, approved

CONTACT_IN = {
    "en": "020 7946 0000, the number on your card",
    "es": "020 7946 0000, el número de su tarjeta",
}


def saying(centre: Centre, **changes: object) -> None:
    config = centre.installation.config
    changed = config.organisation.model_copy(update=changes)
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"organisation": changed})
    )


@pytest.mark.parametrize(
    ("key", "left"), [("name", NAME_PLACEHOLDER), ("contact_line", CONTACT_PLACEHOLDER)]
)
def test_notice_with_placeholder_is_not_planned(centre: Centre, key: str, left: str) -> None:
    centre.scim.create("alice")
    saying(centre, **{key: left})
    report = plan_incident(centre.installation, "account-takeover", {"accounts": ["agents:alice"]})
    steps = {one.name: one.impossible for one in report.steps}
    assert f"Set organisation.{key} in standfast.toml" in steps[TOLD]
    assert steps["lock"] == "", "what locks goes on"
    assert report.exit_status is ExitStatus.REFUSED

    case = centre.open("account-takeover", "agents:alice")
    outcome = centre.advance(case)
    assert outcome.state.steps["lock"].counts.done == 1
    assert centre.mails_to("staff1@example.com") == 0

    rehearsed = centre.open("account-takeover", "agents:bob", mode=Mode.EXERCISE)
    centre.advance(rehearsed)
    assert centre.installation.ledger.notices.of_incident(rehearsed), "an exercise reaches nobody"


def test_correction_with_placeholder_is_not_planned(centre: Centre) -> None:
    case = approved(centre)
    saying(centre, contact_line=CONTACT_PLACEHOLDER)
    with pytest.raises(ConfigurationError, match=r"Set organisation\.contact_line"):
        corrections.correct(centre.installation, case, TOLD, {"what_happened": "not-concerned"})


def test_each_language_has_its_contact_line(centre: Centre) -> None:
    saying(centre, contact_lines={"es": CONTACT_IN["es"]})
    case = approved(centre)
    frozen = centre.installation.ledger.incidents.notice(case, TOLD, 1)
    parts = Prepared.from_json(frozen.body).languages
    read = {language: "".join(piece.text for piece in one.text) for language, one in parts.items()}
    assert CONTACT_IN["en"] in read["en"]
    assert CONTACT_IN["es"] in read["es"]
    assert CONTACT_IN["en"] not in read["es"]
    assert CONTACT_IN["en"] in read["fr"], "who reads none of them gets the first"
