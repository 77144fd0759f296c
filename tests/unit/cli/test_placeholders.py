"""What stands in for variables without a value loads wherever it may stand in mails and messages to brokers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.dev.environment import DevEnvironment
from gateway.config.load import load

YAML = """\
version: 1
accounts: {{acme: {{signing_secrets: [whsec_c2VjcmV0]}}}}
connections:
  bus: {{type: broker, url: "${{APP_BUS}}"}}
  mail: {{type: smtp, host: "${{A}}", hello: "${{B_C}}", from: "${{D}}", downloads: {{hosts: ["${{E}}"]}}}}
routes:
  r:
    events: [charge.refunded]
    actions:
      tell: {{uses: publish, with: {{connection: bus, to: "${{T}}", {option}}}}}
      write:
        uses: email
        with:
          connection: mail
          to: "${{OPS}}"
          cc: ["Ops <${{OPS_MAIL}}>"]
          subject: s
          text: t
          list_unsubscribe: "${{LEAVE}}"
"""


@pytest.mark.parametrize(
    "option", ["stream: ORDERS", "max_length: 5", "duplicate_window: 1d", "exchange: shop", "retain: true", "body: x"]
)
def test_they_fit_the_fields_and_the_broker_that_is_meant(tmp_path: Path, option: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(YAML.format(option=option))
    assert load(path, DevEnvironment({}, path)).warnings == ()
