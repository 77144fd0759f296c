"""What is published: the wheel and the sdist hold everything, install by the pinned hashes alone, and take an event.

GATEWAY_TEST_PYTHON names another Python for the clean environment: `make pythons` tries all that are on the machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.harness import ROOT, answers, free_port, post
from tests.configs import SAVE_AND_SHIP, SHOP, gateway_yaml, http
from tests.waiting import HANG_SECONDS, until

pytestmark = [pytest.mark.xdist_group("package"), pytest.mark.slow]  # one worker, so built and installed once

PYTHON = os.environ.get("GATEWAY_TEST_PYTHON", sys.executable)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def tracked(*under: str) -> set[str]:
    """The files of the repository."""
    listed = subprocess.run(["git", "ls-files", *under], cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def packed(wheel: Path) -> set[str]:
    """What is in a wheel, beside what is said about it."""
    with zipfile.ZipFile(wheel) as file:
        return {name for name in file.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_the_two_packages_whole_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = packed(built[0])
    assert names == tracked("gateway", "actions")
    assert {name.partition("/")[0] for name in names} == {"gateway", "actions"}
    for asset in (
        "gateway/store/migrations/versions/r0010_baseline.py",
        "gateway/store/postgres/functions.sql",
        "gateway/store/sqlite/schema.sql",
        "gateway/admin/console/static/",
        "gateway/admin/console/templates/",
    ):
        assert any(name.startswith(asset) for name in names)


def test_the_wheel_says_under_which_licence_it_is_and_holds_its_text(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as file:
        texts = {name.partition(".dist-info/")[2]: file.read(name).decode(errors="replace") for name in file.namelist()}
    assert "\nLicense-Expression: Apache-2.0\nLicense-File: LICENSE\n" in texts["METADATA"]
    assert "\nAuthor: the project's contributors\n" in texts["METADATA"]
    assert "@" not in texts["METADATA"].partition("\nRequires-Python")[0]
    assert texts["licenses/LICENSE"] == (ROOT / "LICENSE").read_text()


def test_the_sdist_holds_the_repository_and_makes_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = built
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
        file.extractall(tmp_path, filter="data")
    assert tracked("gateway", "actions", "config", "docs", "requirements.txt", "Containerfile", "Makefile") <= names
    (folder,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (again,) = (tmp_path / "out").glob("*.whl")
    assert packed(again) == packed(wheel)


@pytest.fixture(scope="module")
def program(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `gateway`, installed where nothing else is."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check"]
    install = [*pip, "install", "-q", "--no-compile"]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements.txt")], check=True)
    subprocess.run([*install, "--no-deps", "--no-index", str(built[0])], check=True)
    subprocess.run([*pip, "check"], check=True)
    return folder / "bin/gateway"


async def test_the_installed_wheel_starts_takes_an_event_and_shows_it(program: Path, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GATEWAY"))}
    port, admin, token = free_port(), free_port(), "t" * 32
    config = gateway_yaml(
        port=port,
        admin=admin,
        console=f"token: {token}",
        connections={"shop": SHOP, "warehouse": http("http://127.0.0.1:9/")},
        routes=SAVE_AND_SHIP,
    )
    (tmp_path / "gateway.yaml").write_text(config)
    said = subprocess.run([program, "check"], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    with (tmp_path / "log.txt").open("wb") as log:
        gateway = subprocess.Popen([program, "serve"], cwd=tmp_path, env=environ, stderr=log)
    try:
        async with aiohttp.ClientSession() as session:
            await until(lambda: gateway.poll() is not None or answers(session, f"http://127.0.0.1:{port}/readyz"))
        assert gateway.poll() is None, (tmp_path / "log.txt").read_text()
        sent = subprocess.run(
            [program, "send", "checkout.session.completed"], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
        await until(lambda: _has_orders(tmp_path / "data/shop.db"), seen=(tmp_path / "log.txt").read_text)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for path in ("/", "/events", "/deliveries", "/config", "/playground", "/metrics", "/api/v1/openapi.json"):
                async with session.get(f"http://127.0.0.1:{admin}{path}") as page:
                    assert page.status == 200, path
                    text = await page.text()
                    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
                        async with session.get(f"http://127.0.0.1:{admin}{asset}") as found:
                            assert found.status == 200, asset
            assert (await post(session, f"http://127.0.0.1:{port}/webhooks/acme", b"{}", "whsec_wrong"))[0] == 401
    finally:
        gateway.send_signal(signal.SIGTERM)
        code = gateway.wait(HANG_SECONDS)
    assert code == 0
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def _has_orders(shop: Path) -> bool:
    if not shop.exists():
        return False
    with closing(sqlite3.connect(shop)) as database, suppress(sqlite3.OperationalError):  # before the table is there
        return database.execute("SELECT amount FROM orders").fetchone() is not None
    return False


def test_the_bill_of_materials_names_every_pinned_package_with_its_hashes(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion  # takes seconds, which the collection of every worker would wait for
    from cyclonedx.validation.json import JsonStrictValidator

    out = tmp_path / "sbom.json"
    subprocess.run(["make", "-s", "sbom", f"SBOM={out}"], cwd=ROOT, check=True, capture_output=True)
    text = out.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "stripe-fulfilment-gateway"
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert {(one["name"], one["version"]) for one in bill["components"]} == set(pins)
    for one in bill["components"]:
        assert [each["alg"] for reference in one["externalReferences"] for each in reference["hashes"]]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_every_pin_has_hashes_and_no_address_of_an_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.split(r"\n(?=\S)", text.strip())
    for pin in pins:
        assert pin.startswith("#") or "--hash=sha256:" in pin, pin
    assert "://" not in text
