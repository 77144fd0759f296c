"""The template of a third-party action: its wheel works beside the gateway's, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("action_template")  # one worker, so installed once

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "examples" / "action-template"


def run(*command: object, folder: Path, **environ: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, timeout=240,
        env={**os.environ, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with both wheels. What they depend on comes from ours, by a path at the end:
    nothing is downloaded, and neither the gateway nor the action can come from there.
    """
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("venv")
    for project in (ROOT, TEMPLATE):
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, project,
            folder=folder)  # fmt: skip
    venv.create(folder)
    made = folder / "bin" / "python"
    found = sorted(wheels.glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in found] == ["gateway_action_sms", "stripe_fulfilment_gateway"]
    run(sys.executable, "-m", "pip", "--python", made, "install", "-q", "--no-deps", "--no-index", *found,
        folder=folder)  # fmt: skip
    ours = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    [site] = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{ours}\n")
    return made


def test_the_gateway_is_the_one_of_the_wheel(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import gateway, gateway_action_sms as one; print(gateway.__file__, one.__file__)",
                folder=tmp_path)  # fmt: skip
    assert all(Path(one).is_relative_to(python.parents[1]) for one in where.split())


def test_its_tests_pass_beside_the_gateways_wheel(python: Path) -> None:
    assert "7 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEMPLATE, folder=TEMPLATE)


def test_check_takes_a_configuration_that_uses_it(python: Path) -> None:
    environ = {"ACME_SIGNING_SECRET": "whsec_Zm9yd2FyZCBzZWNyZXQ", "SMS_TOKEN": "topsecret"}
    assert "gateway.yaml: good" in run(python, "-m", "gateway", "check", folder=TEMPLATE, **environ)


def test_actions_lists_it(python: Path, tmp_path: Path) -> None:
    assert "Sends an SMS." in run(python, "-m", "gateway", "actions", folder=tmp_path)
