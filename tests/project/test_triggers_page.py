"""Settings and commands in docs/triggers.md work."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from standfast.config import Config, load
from standfast.triggers.standard_webhooks import read_secret
from standfast.usecases.playbooks import library
from standfast.usecases.triggers.message_intake import obstacles, triggers_of
from tests.console.installations import furnish_with, site_at
from tests.servers import need

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "triggers.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def the(language: str, begins: str) -> str:
    (found,) = [block for block in blocks(language) if begins in block]
    return found


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An installation with every trigger of the page, and its playbook."""
    (tmp_path / "playbooks").mkdir()
    text = the("yaml", "playbook: suspicion")
    (tmp_path / "playbooks" / "suspicion.yaml").write_text(text)
    return load(furnish_with(tmp_path, *blocks("toml")))


def test_every_trigger_of_the_page_would_work(config: Config) -> None:
    triggers = triggers_of(config)
    assert set(triggers) == {"siem", "alerts", "credentials-leave", "staff"}
    for trigger in triggers.values():
        assert obstacles(config, trigger) == []
    assert library.find(config, "suspicion").title


def test_the_table_names_every_kind(config: Config) -> None:
    kinds = {one.kind for one in config.triggers.values()}
    table = PAGE.split("| kind |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)) == kinds


def test_a_message_signed_by_hand_is_taken(tmp_path: Path) -> None:
    need("curl", "the page sends with it")
    made = subprocess.run(
        ["bash", "-c", the("sh", "urandom")], capture_output=True, text=True, check=True
    )
    secret = made.stdout.strip()
    assert read_secret(secret)
    block = the("toml", "[triggers.siem]").replace("account-takeover", "lock")
    with site_at(furnish_with(tmp_path, block), {"SIEM_SECRET": secret}) as site:
        env = {**os.environ, "SIEM_SECRET": secret, "STANDFAST_URL": site.url}
        env = {name: value for name, value in env.items() if not name.lower().endswith("_proxy")}
        sent = subprocess.run(
            ["bash", "-c", the("sh", "webhook-signature")],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
        answer = json.loads(sent.stdout)
        assert answer["incident"] in site.incidents
        assert answer.keys() == json.loads(the("json", "incident")).keys()


def test_the_other_snippets_are_what_they_say() -> None:
    receiver = YAML(typ="safe").load(the("yaml", "receivers:"))
    (webhook,) = receiver["receivers"][0]["webhook_configs"]
    assert webhook["url"].endswith("/triggers/alerts")
    for block in blocks("toml"):
        assert tomllib.loads(block)
    unit = (ROOT / "deploy" / "serve" / "standfast.service").read_text()
    assert "standfast serve -c " in unit
