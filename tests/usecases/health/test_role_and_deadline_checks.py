"""`standfast check` lists the legal clocks and vacant roles."""

from pathlib import Path

import pytest

from standfast.usecases.health.check_results import Check, Verdict
from standfast.usecases.health.installation_check import check_installation
from tests.usecases.installations import enrol_people, furnish, installation_at

ENV = {"SCIM_TOKEN": "unused"}


def told(config_file: Path, part: str) -> list[Check]:
    return [one for one in check_installation(config_file, env=ENV).checks if one.part == part]


def installation_with(folder: Path, settings: str, *people: str) -> Path:
    config_file = furnish(folder)
    config_file.write_text(config_file.read_text() + settings)
    with installation_at(config_file) as installation:
        for name in people:
            enrol_people(installation, name)
    return config_file


def test_missing_jurisdictions_are_reported(tmp_path: Path) -> None:
    law, client = told(installation_with(tmp_path, "", "lee"), "deadlines")
    assert (law.verdict, client.verdict) == (Verdict.WARN, Verdict.WARN)
    assert "no jurisdiction is configured" in law.found
    assert "deadlines.jurisdictions" in law.what_to_do
    assert "[contracts.NAME]" in client.what_to_do


@pytest.mark.parametrize(
    ("settings", "verdict", "said"),
    [
        ('jurisdictions = ["Atlantis"]', Verdict.FAIL, "no obligation is known in 'Atlantis'"),
        ('jurisdictions = ["EU/EEA"]', Verdict.WARN, "deadlines.authority_country is not set"),
        (
            'jurisdictions = ["EU/EEA"]\nauthority_country = "QQ"',
            Verdict.FAIL,
            "country 'QQ': its holidays are not known",
        ),
        ('jurisdictions = ["UK"]', Verdict.WARN, "organisation.time_zone is not set"),
        (
            'jurisdictions = ["UK"]\nreminder_roles = ["legal"]',
            Verdict.WARN,
            "nobody with the role legal is enrolled to be reminded",
        ),
        ('jurisdictions = ["UK"]\nparts = ["controller"]', Verdict.OK, "in UK, as controller"),
    ],
)
def test_clock_gaps_have_an_action(
    tmp_path: Path, settings: str, verdict: Verdict, said: str
) -> None:
    found = told(installation_with(tmp_path, f"\n[deadlines]\n{settings}\n", "lee"), "deadlines")
    (one,) = [one for one in found if said in one.found]
    assert one.verdict is verdict
    assert one.what_to_do or verdict is Verdict.OK


def test_unfilled_and_single_roles_are_named(tmp_path: Path) -> None:
    found = told(installation_with(tmp_path, '\n[approvals]\nladder = ["head"]\n', "lee"), "roles")
    sentences = {one.found: one for one in found}
    (alone,) = [
        text for text in sentences if text.startswith("only one person has the role duty-manager:")
    ]
    assert "account-takeover" in alone
    (nobody,) = [
        text for text in sentences if text.startswith("nobody has the role legal or people-lead,")
    ]
    assert sentences[nobody].what_to_do == "`standfast people add NAME --role legal`"
    assert "insider-agent" in nobody
    assert any("approvals.ladder names head" in text for text in sentences)


def test_role_with_two_people_has_no_finding(tmp_path: Path) -> None:
    found = told(installation_with(tmp_path, "", "lee", "kim"), "roles")
    assert (Verdict.OK, "duty-manager: 2 people") in [(one.verdict, one.found) for one in found]
