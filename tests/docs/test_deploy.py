"""The files of config/deploy and the Containerfile: valid by their own programs, and true about this program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from gateway.config.load import Config, load
from gateway.plugin import SmtpConnection
from tests.acceptance.harness import ROOT
from tests.cli import CommandLine

DEPLOY = ROOT / "config/deploy"
SYSTEMD = DEPLOY / "systemd"
CHART = DEPLOY / "helm"
SECRET_FILES = "/run/secrets/gateway"


def tool(name: str) -> str:
    """A program that CI installs."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs the program {name}")
    return found


# -- systemd --------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there."""
    program = tmp_path / "gateway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = []
    for unit in SYSTEMD.glob("stripe-gateway.*"):
        made.append(tmp_path / unit.name)
        made[-1].write_text(unit.read_text().replace("/opt/stripe-gateway/bin/gateway", str(program)))
    return made


def test_systemd_takes_the_units_without_a_word(units: list[Path]) -> None:
    done = subprocess.run([tool("systemd-analyze"), "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert {unit.suffix for unit in units} == {".service", ".socket"}


def test_the_unit_is_hardened(units: list[Path]) -> None:
    (service,) = [str(unit) for unit in units if unit.suffix == ".service"]
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", "--threshold=15", service]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # an exposure of 1.5 of 10 at most; programs of Debian have 9


def test_the_socket_unit_hands_over_what_the_gateway_takes() -> None:
    lines = (SYSTEMD / "stripe-gateway.socket").read_text().splitlines()
    assert "FileDescriptorName=public" in lines
    (listen,) = [line.partition("=")[2] for line in lines if line.startswith("ListenStream=")]
    assert listen == system_config().settings.server.listen


def test_the_units_give_a_stop_the_time_that_it_may_take() -> None:
    from gateway.app.gateway import DRAIN_SECONDS, SHUTDOWN_SECONDS

    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)s$", (SYSTEMD / "stripe-gateway.service").read_text(), re.M)
    pod = manifests()["Deployment", "stripe-gateway"]["spec"]["template"]["spec"]
    for seconds in (int(stop), pod["terminationGracePeriodSeconds"]):
        assert seconds > DRAIN_SECONDS + 5 + SHUTDOWN_SECONDS + 5


def system_config() -> Config:
    environ = {"GATEWAY_ADMIN_TOKEN": "t" * 32, "ACME_SIGNING_SECRET": "whsec_x"}
    return load(SYSTEMD / "gateway.yaml", environ)


def test_the_configuration_for_systemd_loads_and_writes_only_where_the_unit_lets_it() -> None:
    settings = system_config().settings
    unit = (SYSTEMD / "stripe-gateway.service").read_text().splitlines()
    assert settings.store.url.get_secret_value().startswith("sqlite:////var/lib/stripe-gateway/")
    assert "StateDirectory=stripe-gateway" in unit
    assert str(settings.reload.socket).startswith("/run/stripe-gateway/")
    assert "RuntimeDirectory=stripe-gateway" in unit


# -- proxies in front -----------------------------------------------------------------------------------------


def test_caddy_takes_its_example() -> None:
    example = ["--config", str(DEPLOY / "caddy/Caddyfile"), "--adapter", "caddyfile"]
    done = subprocess.run([tool("caddy"), "validate", *example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    adapted = subprocess.run([tool("caddy"), "adapt", *example], capture_output=True, text=True)
    text = json.dumps(json.loads(adapted.stdout))
    assert '"path": ["/webhooks", "/webhooks/*", "/readyz"]' in text
    assert '"dial": "127.0.0.1:8080"' in text


# nginx takes its example in tests/acceptance/test_restarts.py, which sends events through it.


# -- Kubernetes -----------------------------------------------------------------------------------------------


SECRETS = {
    "store-url": "postgresql://gateway:PASSWORD@postgresql/gateway?sslmode=require",
    "admin-token": "CHANGE-ME-operator",
    "viewer-token": "CHANGE-ME-viewer",
    "acme-signing-secret": "whsec_CHANGE_ME",
    "warehouse-secret": "whsec_Q0hBTkdFX01F",
}


def helm(*words: str, **values: object) -> subprocess.CompletedProcess[str]:
    """What Helm says of the chart with values."""
    program = Path(sys.executable).with_name("helm")
    command = [str(program), *words, str(CHART), "--values", "-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)


@cache
def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """What the chart makes of a release called stripe-gateway, by kind and name."""
    rendered = helm("template", "stripe-gateway", secrets={"values": SECRETS}, ingress={"enabled": True})
    assert rendered.returncode == 0, rendered.stderr
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(rendered.stdout)}


KINDS = {
    ("ConfigMap", "stripe-gateway"), ("Secret", "stripe-gateway"), ("Job", "stripe-gateway-migrate"),
    ("Deployment", "stripe-gateway"), ("Service", "stripe-gateway"), ("Service", "stripe-gateway-admin"),
    ("PodDisruptionBudget", "stripe-gateway"), ("Ingress", "stripe-gateway"),
}  # fmt: skip


@pytest.mark.parametrize("version", ["1.29", "newest"])
def test_every_manifest_fits_kubernetes_own_schema(version: str) -> None:
    import kubernetes_validate  # takes seconds, which the collection of every worker would wait for

    if version == "newest":
        version = kubernetes_validate.latest_version()
    found = manifests()
    assert set(found) == KINDS
    for one in found.values():
        kubernetes_validate.validate(one, version, strict=True)


def test_helm_takes_the_chart_without_a_warning() -> None:
    said = helm("lint", "--strict", secrets={"values": SECRETS})
    assert said.returncode == 0, said.stdout
    assert "[WARNING]" not in said.stdout


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "secrets.values is empty and secrets.existing is not named"),
        ({"secrets": {"existing": "made"}, "replicas": 0}, "replicas: Must be greater than or equal to 1"),
        ({"secrets": {"existing": "made"}, "replica": 2}, "Additional property replica is not allowed"),
    ],
)
def test_values_that_cannot_be_are_told(values: dict[str, object], message: str) -> None:
    said = helm("template", "stripe-gateway", **values)
    assert said.returncode == 1
    assert message in said.stderr


def test_a_secret_that_is_there_is_taken_and_none_is_made() -> None:
    said = helm("template", "hooks", secrets={"existing": "made-by-an-operator"})
    found = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(said.stdout)}
    assert ("Secret", "hooks-stripe-gateway") not in found
    volumes = found["Deployment", "hooks-stripe-gateway"]["spec"]["template"]["spec"]["volumes"]
    assert {"secretName": "made-by-an-operator", "defaultMode": 0o440} in [one.get("secret") for one in volumes]


def test_the_ingress_leads_to_the_public_port_and_never_to_the_console() -> None:
    (rule,) = manifests()["Ingress", "stripe-gateway"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["path"] == "/webhooks"
    assert path["backend"]["service"] == {"name": "stripe-gateway", "port": {"name": "public"}}


def test_everything_that_selects_pods_selects_the_gateways_and_not_the_job() -> None:
    found = manifests()
    labels = found["Deployment", "stripe-gateway"]["spec"]["template"]["metadata"]["labels"]
    others = found["Job", "stripe-gateway-migrate"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        found["Deployment", "stripe-gateway"]["spec"]["selector"]["matchLabels"],
        found["PodDisruptionBudget", "stripe-gateway"]["spec"]["selector"]["matchLabels"],
        found["Service", "stripe-gateway"]["spec"]["selector"],
        found["Service", "stripe-gateway-admin"]["spec"]["selector"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= others.items()


def cluster_config(folder: Path) -> Config:
    """What the pods load, with the Secret's files in a folder."""
    found = manifests()
    for name, value in found["Secret", "stripe-gateway"]["stringData"].items():
        (folder / name).write_text(value)
    text = found["ConfigMap", "stripe-gateway"]["data"]["gateway.yaml"]
    named = set(re.findall(rf"{re.escape('${file:')}{SECRET_FILES}/([a-z-]+)", text))
    assert named == set(found["Secret", "stripe-gateway"]["stringData"])  # each is used, none is missing
    (folder / "gateway.yaml").write_text(text.replace(SECRET_FILES, str(folder)))
    return load(folder / "gateway.yaml", {})


def test_the_configuration_in_the_cluster_loads_and_agrees_with_the_pods(tmp_path: Path) -> None:
    settings = cluster_config(tmp_path).settings
    found = manifests()
    pod = found["Deployment", "stripe-gateway"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.server.listen == f"0.0.0.0:{ports['public']}"
    assert settings.admin.listen == f"0.0.0.0:{ports['admin']}"
    for service in ("stripe-gateway", "stripe-gateway-admin"):
        assert {port["targetPort"] for port in found["Service", service]["spec"]["ports"]} <= set(ports)
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"public"}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/readyz", "/healthz"]
    readiness = container["readinessProbe"]
    gone = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert settings.server.shutdown_delay > gone  # seen by a probe while it still answers
    assert settings.store.url.get_secret_value().startswith("postgresql://")  # many gateways share it


@pytest.mark.parametrize("name", [("Deployment", "stripe-gateway"), ("Job", "stripe-gateway-migrate")])
def test_the_pods_may_do_nothing_that_they_need_not(name: tuple[str, str], tmp_path: Path) -> None:
    pod = manifests()[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"memory"} == set(container["resources"]["limits"])
    assert {"cpu", "memory"} == set(container["resources"]["requests"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert mounts["secrets"] == SECRET_FILES
    assert Path(str(cluster_config(tmp_path).settings.reload.socket)).parent == Path(mounts["data"])
    image = instructions("USER")[-1]
    assert image == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"


def test_the_commands_of_the_pods_are_commands_of_the_program(gateway_cli: CommandLine) -> None:
    found = manifests()
    for name in (("Deployment", "stripe-gateway"), ("Job", "stripe-gateway-migrate")):
        (container,) = found[name]["spec"]["template"]["spec"]["containers"]
        assert gateway_cli(*container["args"], "--help").code == 0


# -- Compose --------------------------------------------------------------------------------------------------


def test_compose_takes_the_file_and_its_gateway_loads_with_what_it_sets(tmp_path: Path) -> None:
    command = [tool("docker-compose"), "--file", str(ROOT / "compose.yaml"), "config"]
    said = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    )
    assert said.returncode == 0, said.stderr
    services = yaml.safe_load(said.stdout)["services"]
    assert set(services) == {"gateway", "postgres", "mailpit"}
    gateway = services["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert f"{DEPLOY / 'compose'}:/etc/gateway:ro" in gateway["volumes"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    config = load(DEPLOY / "compose/gateway.yaml", gateway["environment"])
    assert (
        urlsplit(config.settings.store.address()).password == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    )
    mail = config.connections["mail"]
    assert isinstance(mail, SmtpConnection)
    assert {urlsplit(config.settings.store.address()).hostname, mail.host} <= set(services)


# -- the image ------------------------------------------------------------------------------------------------


def parsed() -> DockerfileParser:
    """The Containerfile."""
    return DockerfileParser(fileobj=BytesIO((ROOT / "Containerfile").read_bytes()))


def instructions(name: str) -> list[str]:
    """The values of one kind of its instructions."""
    return [one["value"] for one in parsed().structure if one["instruction"] == name]


def test_the_image_runs_as_a_user_of_its_own_and_starts_the_program(gateway_cli: CommandLine) -> None:
    parser = parsed()
    assert {one["instruction"] for one in parser.structure} <= {
        "COMMENT", "FROM", "ENV", "RUN", "COPY", "LABEL", "WORKDIR", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL",
        "HEALTHCHECK", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert parser.is_multistage
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["gateway"]
    assert gateway_cli(*json.loads(instructions("CMD")[0]), "--help").code == 0
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert all("@sha256:" in one or re.search(r"python:3\.1[1-4]-slim", one) for one in instructions("FROM"))


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignore = (ROOT / ".containerignore").read_text().split()
    assert ignore[0] == "*"
    for copied in instructions("COPY"):
        *sources, _ = [word for word in copied.split() if not word.startswith("--")]
        if "--from=build" in copied:
            continue
        for source in sources:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignore


def test_the_health_check_of_the_image_is_python_that_asks_healthz() -> None:
    (check,) = instructions("HEALTHCHECK")
    program, *words = json.loads(check.partition(" CMD ")[2])
    assert (program, words[:2]) == ("python", ["-I", "-c"])
    compile(words[2], "HEALTHCHECK", "exec")
    assert "'/healthz'" in words[2]
    assert "8080" in instructions("EXPOSE")[0]
