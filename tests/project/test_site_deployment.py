"""Site units, compose file and manifests have the same commands."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
from ruamel.yaml import YAML

from flows.roles import ROLES
from tests.pages.blocks import blocks
from tests.project.test_commands_in_pages import parse
from tests.servers import installed, need
from tests.servers.prefect_site import SITE, unit_command, variables

PAGE = (SITE / "README.md").read_text()
ROLE_COMMAND = unit_command("standfast@.service")


def documents(name: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(SITE / name))


def by_compose() -> Iterator[list[str]]:
    for service in documents("compose.yaml")[0]["services"].values():
        if service["image"] == "standfast":
            yield [*service.get("entrypoint", ["standfast"]), *service["command"]]


def by_kubernetes() -> Iterator[list[str]]:
    for document in documents("kubernetes.yaml"):
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            if container["image"] == "standfast":
                yield [*container["command"], *container["args"]]


def commands_of_units(port: str, host: str) -> set[tuple[str, ...]]:
    api = [word.replace("%i", port) for word in unit_command("prefect-api@.service")]
    found = [
        [word if word != "127.0.0.1" else host for word in api],
        unit_command("prefect-services.service"),
        unit_command("prefect-services.service", "ExecStartPre"),
        *(
            [word.replace("%i", role) for word in ROLE_COMMAND]
            for role in ROLES
            if role not in ("all", "drills")  # a drill machine has an installation of its own
        ),
    ]
    return {tuple(command) for command in found}


@pytest.mark.parametrize("commands", [by_compose, by_kubernetes])
def test_containers_run_the_commands_of_the_units(commands: Any) -> None:
    assert {tuple(command) for command in commands()} == commands_of_units("4200", "0.0.0.0")


def test_units_are_valid(tmp_path: Path) -> None:
    need("systemd-analyze", "apt-get install systemd")
    units = [*SITE.glob("*.service"), SITE.parent / "serve/standfast.service"]
    for unit in units:  # systemd looks for each program
        text = re.sub(r"=/opt/standfast/\.venv/bin/\w+", "=/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    copies = map(str, tmp_path.iterdir())
    command = [installed("systemd-analyze"), "verify", "--man=no", *copies]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_role_exists_in_the_command_line() -> None:
    named = re.findall(r"^\| `(\w+)` \| .* \|", PAGE, re.MULTILINE)
    assert {*named} - {"response", "drill"} == {*ROLES}
    for role in ROLES:
        words = [word.replace("%i", role) for word in ROLE_COMMAND[1:]]
        assert parse(" ".join(words)).params["role"] == role


def test_environment_has_only_settings_of_prefect() -> None:
    (secrets,) = [block.text for block in blocks("deploy/site/README.md") if not block.language]
    names = [name for name in variables(SITE / "prefect.env") if name != "DO_NOT_TRACK"]
    names += re.findall(r"^(\w+)=", secrets, re.MULTILINE)
    assert len(names) > len(secrets.splitlines()) == 2
    settings = [name for name in names if not name.startswith("PREFECT_REDIS_")]
    assert [name for name in settings if not hasattr(prefect.settings, name)] == []


def test_ports_and_services_agree() -> None:
    services = documents("compose.yaml")[0]["services"]
    balanced = re.findall(r"server \S+ (\S+):(\d+)$", (SITE / "haproxy.cfg").read_text(), re.M)
    assert {name for name, _ in balanced} == {name for name in services if "api-" in name}
    assert {port for _, port in balanced} == {"4200"}
    redis = {
        found
        for value in variables(SITE / "prefect.env").values()
        for found in re.findall(r"redis://(\w+):(\d+)/", value)
    }
    assert redis == {("redis", "6379")}
    ports = {
        document["metadata"]["name"]: document["spec"]["ports"][0]["port"]
        for document in documents("kubernetes.yaml")
        if document["kind"] == "Service"
    }
    assert ports == {"redis": 6379, "prefect": 4200, "standfast": 8350}


def test_references_of_the_manifests_resolve() -> None:
    kustomization = documents("kustomization.yaml")[0]
    assert kustomization["resources"] == ["kubernetes.yaml"]
    generated = kustomization["configMapGenerator"]
    assert all((SITE / file).is_file() for maps in generated for file in maps["envs"])
    known = {("configMapRef", maps["name"]) for maps in generated}
    needed = PAGE.split("Kubernetes needs two secrets:", 1)[1].replace("\n", " ")
    known |= {("secretRef", name) for name in re.findall(r"`(\w+)` with", needed)}
    manifests = documents("kubernetes.yaml")
    workloads = [each["spec"] for each in manifests if "template" in each.get("spec", {})]
    labels = [spec["template"]["metadata"]["labels"] for spec in workloads]
    assert [spec["selector"]["matchLabels"] for spec in workloads] == labels
    services = [each["spec"]["selector"] for each in manifests if each["kind"] == "Service"]
    assert [selector for selector in services if selector not in labels] == []
    for spec in workloads:
        pod = spec["template"]["spec"]
        claims = [claim["metadata"] for claim in spec.get("volumeClaimTemplates", [])]
        volumes = {volume["name"] for volume in [*claims, *pod.get("volumes", [])]}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            sources = container.get("envFrom", [])
            assert {(k, ref["name"]) for each in sources for k, ref in each.items()} <= known


def test_references_of_the_compose_file_resolve() -> None:
    compose = documents("compose.yaml")[0]
    services = compose["services"]
    for service in services.values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            is_file = source.startswith("./") and (SITE / source).is_file()
            assert is_file or source in compose["volumes"]
    used = set(re.findall(r"\$\{(\w+)", (SITE / "compose.yaml").read_text()))
    sentence = PAGE.split("- Compose takes ", 1)[1].split("\n", 1)[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == used


COMPOSE = [["/usr/libexec/docker/cli-plugins/docker-compose", "config", "--quiet"]]
KUBERNETES = [
    ["kustomize", "build", ".", "--output", "built.yaml"],
    ["kubernetes-validate", "--strict", "built.yaml"],
]
HAPROXY = [["haproxy", "-c", "-dr", "-f", "haproxy.cfg"]]  # it needs no address of the containers


def fault(tools: list[list[str]], folder: Path) -> str:
    """Examine a copy of the site with tools; return the first error."""
    secrets = {"POSTGRES_PASSWORD": "a", "PREFECT_PASSWORD": "b"}
    for program, *words in tools:
        need(program, "it examines deploy/site")
        done = subprocess.run(
            [installed(program), *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, **secrets},
        )
        if done.returncode != 0:
            return done.stdout + done.stderr or program
    return ""


@pytest.fixture
def copied_site(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SITE, tmp_path / "site"))


@pytest.mark.parametrize("tools", [COMPOSE, KUBERNETES, HAPROXY])
def test_files_are_valid(tools: list[list[str]], copied_site: Path) -> None:
    assert fault(tools, copied_site) == ""


@pytest.mark.parametrize(
    ("tools", "name", "key"),
    [
        (COMPOSE, "compose.yaml", "restart"),
        (KUBERNETES, "kubernetes.yaml", "readinessProbe"),
        (KUBERNETES, "kustomization.yaml", "configMapGenerator"),
        (HAPROXY, "haproxy.cfg", "retry-on"),
    ],
)
def test_misspelt_key_is_refused(
    tools: list[list[str]], name: str, key: str, copied_site: Path
) -> None:
    text = (copied_site / name).read_text()
    assert key in text
    (copied_site / name).write_text(text.replace(key, f"{key}x"))
    assert f"{key}x" in fault(tools, copied_site)


def test_files_of_the_site_have_no_secret() -> None:
    texts = [path.read_text() for path in SITE.iterdir() if path.suffix != ".md"]
    assert not any(re.search(r"(?i)password[=:] *[\"']?\w", text) for text in texts)


def test_page_links_every_file() -> None:
    linked = set(re.findall(r"\]\(([\w@.-]+)\)", PAGE))
    files = {path.name for path in Path(SITE).iterdir()} - {"README.md", "kustomization.yaml"}
    assert files == linked
