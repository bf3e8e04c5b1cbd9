"""The relay of notices may be compromised: the plan names other ways."""

from pathlib import Path

import pytest

from standfast.usecases.incidents.plan import as_lines, plan_incident
from tests.usecases.installations import furnish, installation_at

_POST = (
    '[senders.post]\nkind = "letters"\nreturn_address = ["1 Example Street"]\n\n[audiences.staff]'
)
_SAID = "mail: an attacker may read mail of this relay. If that is possible, "


@pytest.mark.parametrize(
    ("more", "stays"),
    [("", "add another sender"), (_POST, "send through post instead")],
)
def test_plan_names_channels_besides_the_relay(tmp_path: Path, more: str, stays: str) -> None:
    config_file = furnish(tmp_path)
    text = config_file.read_text()
    config_file.write_text(text.replace("[audiences.staff]", more) if more else text)
    with installation_at(config_file) as installation:
        report = plan_incident(installation, "account-takeover", {"accounts": ["agents:agent01"]})
    (step,) = [step for step in report.steps if step.name == "tell_customers"]
    assert f"{_SAID}{stays}" in step.notes
    assert f"      {_SAID}{stays}" in as_lines(report)
