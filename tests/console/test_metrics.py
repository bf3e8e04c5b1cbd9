"""Metrics for Prometheus: access, values, and the rules that use them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from standfast.errors import ConfigurationError
from standfast.records import Mode
from standfast.usecases.incidents.lifecycle import open_incident
from tests.console.installations import ENV, SIEM, Site, about, furnish_with, site_at
from tests.console.test_quiet_incidents import QUIET
from tests.pages.blocks import blocks
from tests.servers import installed, need

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
TOKEN = "a-token-of-prometheus-that-is-long"
SETTINGS = """
[serve]
metrics_tokens = ["env:METRICS_TOKEN"]

[playbooks]
folder = "own"

[[backup.sets.crm.sources]]
kind = "files"
name = "logs"
path = "logs"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/hush.yaml").write_text(QUIET)
    config_file = furnish_with(tmp_path, SIEM, SETTINGS)
    with site_at(config_file, {**ENV, "METRICS_TOKEN": TOKEN}) as found:
        yield found


def scrape(site: Site, authorization: str = f"Bearer {TOKEN}") -> httpx.Response:
    headers = {"authorization": authorization} if authorization else {}
    return httpx.get(f"{site.url}/metrics", headers=headers, trust_env=False)


def metrics(site: Site) -> dict[str, dict[str, float]]:
    """The samples of each family, by the values of their labels."""
    answer = scrape(site)
    assert answer.status_code == 200
    return {
        family.name.removeprefix("standfast_"): {
            " ".join(sample.labels.values()): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.text)
    }


def record_run(site: Site, kind: str, subject: str, state: str, **summary: int) -> None:
    installation = site.installation
    now = installation.clock() - timedelta(hours=1)
    token = installation.ledger.runs.start(kind, subject, "direct", "os:test", now)
    installation.ledger.runs.finish(token, kind, state, {**summary}, "os:test", now)


def test_runs_are_measured_by_set_and_drill(site: Site) -> None:
    record_run(site, "backup", "crm", "done", bytes_total=700, bytes_new=7, bytes_changed=3)
    record_run(site, "drill", "crm", "failed")
    record_run(site, "drill", "service.desk", "partial")
    found = metrics(site)
    assert found["backup_age_seconds"]["crm"] == pytest.approx(3600, abs=60)
    started = found["backup_last_success_timestamp_seconds"]["crm"]
    assert started == pytest.approx(site.installation.clock().timestamp() - 3600, abs=60)
    assert found["backup_failed"] == {"crm": 0}
    assert found["backup_bytes"] == {"total crm": 700, "new crm": 7, "changed crm": 3}
    assert found["drill_failed"] == {"crm": 1, "service.desk": 0}
    assert found["drill_age_seconds"].keys() == {"service.desk"}
    assert found["witness_age_seconds"].keys() == {"ledger"}


def test_incidents_are_counted_without_names(site: Site) -> None:
    case = site.send(about("agent01")).json()["incident"]
    found = metrics(site)
    assert found["incidents_open"] == {"live": 1, "plan": 0, "exercise": 0}
    text = scrape(site).text
    assert "agent01" not in text
    assert case not in text


def test_quiet_incident_is_in_no_metric(site: Site) -> None:
    open_incident(
        site.installation, "hush", {"accounts": ["agents:kim"]}, mode=Mode.LIVE, opened_by="os:test"
    )
    found = metrics(site)
    assert found["incidents_open"]["live"] == 0
    assert set(found["queue_length"].values()) == {0}


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
)
def test_without_the_token_nothing_is_shown(site: Site, authorization: str) -> None:
    answer = scrape(site, authorization)
    assert answer.status_code == 401
    assert "standfast_" not in answer.text


def test_metrics_are_off_by_default(tmp_path: Path) -> None:
    with site_at(furnish_with(tmp_path, SIEM)) as site:
        assert scrape(site).status_code == 404


def test_a_token_in_the_configuration_is_refused(tmp_path: Path) -> None:
    config_file = furnish_with(tmp_path, f'[serve]\nmetrics_tokens = ["{TOKEN}"]\n')
    with pytest.raises(ConfigurationError) as caught, site_at(config_file):
        pass
    assert TOKEN not in str(caught.value)


def test_scrape_fails_while_the_ledger_is_gone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").rename(tmp_path / "elsewhere.db")
    assert scrape(site).status_code == 503


def test_rules_and_dashboard_name_exported_metrics(site: Site) -> None:
    exported = metrics(site).keys()
    dashboard = json.loads((RULES / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for text in ((RULES / "standfast.rules.yaml").read_text(), "\n".join(expressions)):
        named = set(re.findall(r"\bstandfast_(\w+)", text))
        assert named
        assert named <= exported


def test_rules_and_dashboard_use_documented_labels() -> None:
    labels_of = documented_labels()
    dashboard = json.loads((RULES / "grafana-dashboard.json").read_text())
    uses = [
        (target["expr"], re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    for group in YAML(typ="safe").load(RULES / "standfast.rules.yaml")["groups"]:
        uses += [
            (rule["expr"], re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
            for rule in group["rules"]
        ]
    assert uses
    for expression, shown in uses:
        matched = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
        grouped = re.findall(r"\w+", " ".join(re.findall(r"by\s*\(([^)]*)\)", expression)))
        names = re.findall(r"standfast_(\w+)", expression)
        known = {"instance", "job"}.union(*(labels_of[name] for name in names))
        assert names == [] or {*shown, *matched, *grouped} <= known, expression


def test_the_page_names_metrics_and_labels(site: Site) -> None:
    record_run(site, "backup", "crm", "done", bytes_total=700, bytes_new=7, bytes_changed=3)
    record_run(site, "drill", "crm", "done")
    documented = documented_labels()
    found = text_string_to_metric_families(scrape(site).text)
    exported = {family.name.removeprefix("standfast_"): family.samples for family in found}
    assert documented.keys() == exported.keys()
    for name, samples in exported.items():
        for sample in samples:
            assert sample.labels.keys() == documented[name], name


def documented_labels() -> dict[str, set[str]]:
    """The labels of each metric, from the table of the page."""
    page = (RULES.parents[1] / "docs" / "monitoring.md").read_text()
    table = page.split("| metrics |", 1)[1].split("\n\n", 1)[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    return {
        name: set(re.findall(r"`(\w+)`", labels))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }


@pytest.mark.parametrize("check", [("check", "rules"), ("test", "rules")])
def test_promtool_accepts_the_rules(check: tuple[str, str]) -> None:
    file = "standfast.rules.yaml" if check[0] == "check" else "standfast.rules-test.yaml"
    promtool(*check, RULES / file)


def test_promtool_accepts_the_settings_of_the_page(tmp_path: Path) -> None:
    (settings,) = [block for block in blocks("docs/monitoring.md") if block.language == "yaml"]
    token = tmp_path / "token"
    token.write_text(TOKEN)
    place = "/etc/prometheus/standfast-token"
    assert place in settings.text
    (tmp_path / "prometheus.yml").write_text(settings.text.replace(place, str(token)))
    shutil.copy(RULES / "standfast.rules.yaml", tmp_path)
    assert "1 rule files found" in promtool("check", "config", tmp_path / "prometheus.yml")


def promtool(*words: str | Path) -> str:
    need("promtool", "it examines the settings and alert rules of Prometheus")
    done = subprocess.run(
        [installed("promtool"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
