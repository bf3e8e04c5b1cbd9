"""Only triggers with signed messages may act."""

from pathlib import Path

import pytest

from standfast.config.loader import parse
from standfast.config.sections.triggers import WebhookTriggerConfig
from standfast.errors import FileInvalid

ORGANISATION = '[organisation]\nname = "Example"\ncontact_line = "+44 20 7946 0000"\n'
WEBHOOK = 'kind = "webhook"\nsecrets = ["env:SIEM"]'
UNSIGNED = {
    "alertmanager": 'kind = "alertmanager"\ntokens = ["env:ALERTS"]',
    "suricata": 'kind = "suricata"\nfile = "eve.json"\nsignature_ids = [1]',
    "report": 'kind = "report"',
}


def configured(settings: str) -> bytes:
    return f'{ORGANISATION}[triggers.it]\n{settings}\nscenario = "lock"\n'.encode()


@pytest.mark.parametrize("settings", UNSIGNED.values(), ids=UNSIGNED)
@pytest.mark.parametrize("mode", ["plan", "live"])
def test_unsigned_trigger_has_no_mode(settings: str, mode: str) -> None:
    parse(configured(settings), Path("standfast.toml"))
    with pytest.raises(FileInvalid) as caught:
        parse(configured(f'{settings}\nmode = "{mode}"'), Path("standfast.toml"))
    (problem,) = caught.value.problems
    assert "triggers.it.mode" in problem.message


@pytest.mark.parametrize(
    ("more", "mode"), [("", "plan"), ('\nmode = "plan"', "plan"), ('\nmode = "live"', "live")]
)
def test_signed_trigger_plans_by_default(more: str, mode: str) -> None:
    found = parse(configured(WEBHOOK + more), Path("standfast.toml")).triggers["it"]
    assert isinstance(found, WebhookTriggerConfig)
    assert found.mode == mode
