"""What a configuration is made of, and what tells that it has changed."""

from __future__ import annotations

from pathlib import Path

from gateway.config.files import Inputs, inputs_of
from gateway.config.load import load

CONFIG = """\
version: 1
include: [routes/*.yaml, teams/*/routes.yaml]
plugins: [plugins]
server: {tls: {cert: tls/cert.pem, key: tls/key.pem}}
accounts:
  acme: {signing_secrets: ["${file:secrets/acme}"]}
connections:
  sales: {type: slack, webhook_url: "https://hooks.example/"}
routes:
  fulfil:
    events: [checkout.session.completed]
    actions:
      tell: {uses: slack, with: {connection: sales, text: {template: templates/body.j2}}}
"""


def a_config(folder: Path) -> Inputs:
    for name in ("routes", "teams/red", "plugins", "secrets", "templates", "tls"):
        (folder / name).mkdir(parents=True)
    (folder / "secrets/acme").write_text("whsec_one")
    (folder / "templates/body.j2").write_text("{{ object.id }}")
    (folder / "gateway.yaml").write_text(CONFIG)
    return inputs_of(load(folder / "gateway.yaml", {}))


def test_every_folder_that_matters_is_watched(tmp_path: Path) -> None:
    inputs = a_config(tmp_path)
    assert sorted(str(folder.relative_to(tmp_path)) for folder in inputs.folders()) == [
        ".", "plugins", "routes", "secrets", "teams", "teams/red", "templates", "tls",
    ]  # fmt: skip


def test_each_kind_of_change_shows_and_others_do_not(tmp_path: Path) -> None:
    inputs = a_config(tmp_path)
    before = inputs.stamps()
    (tmp_path / "gateway.db").write_text("not the configuration's business")
    (tmp_path / "plugins/notes.txt").write_text("nor this")
    assert inputs.stamps() == before
    for name in (
        "gateway.yaml",
        "secrets/acme",
        "templates/body.j2",
        "routes/new.yaml",
        "teams/red/routes.yaml",
        "plugins/new.py",
        "tls/cert.pem",
    ):
        (tmp_path / name).write_text("something else")
        after = inputs.stamps()
        assert after != before, name
        before = after
    (tmp_path / "routes/new.yaml").unlink()
    assert inputs.stamps() != before


def test_a_mounted_folder_that_is_swapped_by_its_link_shows(tmp_path: Path) -> None:
    for version in ("..2026_01", "..2026_02"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "gateway.yaml").write_text(
            "version: 1\naccounts:\n  acme: {signing_secrets: [whsec_one]}\n"
        )
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    inputs = inputs_of(load(tmp_path / "gateway.yaml", {}))
    assert tmp_path in inputs.folders()
    before = inputs.stamps()
    (tmp_path / "..new").symlink_to("..2026_02")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert inputs.stamps() != before


def test_after_a_refusal_a_missing_file_that_turns_up_shows_under_any_name(tmp_path: Path) -> None:
    a_config(tmp_path)
    config = load(tmp_path / "gateway.yaml", {})
    inputs = inputs_of(config, refused=[tmp_path / "routes/broken.yaml"])
    before = inputs.stamps()
    (tmp_path / "templates/missing.j2").write_text("here I am")
    assert inputs.stamps() != before
