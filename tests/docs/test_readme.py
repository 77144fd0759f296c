"""What the README shows is what the program prints."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gateway.config.diagnostics.problem import ConfigError
from gateway.config.diagnostics.render import report
from gateway.config.load import load

CONFIG = """\
version: 1
accounts:
  acme: {signing_secrets: [whsec_acme]}
connections:
  shop: {type: database, url: "sqlite:///data/shop.db"}
routes:
  fulfil-order:
    events: [checkout.session.completed]
    once_per: object.id
    actions:
      save:
        uses: db_upsert
        with:
          connection: shop
          tabel: orders
          ensure_table: true
          key: {session_id: "{{ objct.id }}"}
"""


def test_the_sample_of_gateway_check_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    sample = readme.partition("and contacts nothing:\n\n")[2].partition("\nIt knows what")[0]
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text(CONFIG)
    with pytest.raises(ConfigError) as caught:
        load(Path("gateway.yaml"), {})
    assert textwrap.dedent(sample) == report(caught.value.problems, "gateway.yaml") + "\n"
