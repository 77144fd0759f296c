"""gateway endpoints against the stand-in: list, diff, sync; secrets go where the user says and nowhere else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.acceptance.test_cli_stripe import Run, run
from tests.cli import Ran
from tests.in_process import config
from tests.stripe_standin import LIVE_KEY, TEST_KEY, Fault, StripeStandin

__all__ = ["run"]  # a fixture
ROUTES = """\
  keep:
    events: [invoice.paid, customer.deleted]
    actions:
      save: {uses: db_upsert, with: {connection: shop, table: t, key: {id: "{{ object.id }}"}}}
"""
SELLERS = ROUTES.replace("  keep:", "  sellers:\n    connected_accounts: ['*']")
URL = "https://hooks.acme.example/webhooks/acme"


class Place:
    """A folder with a configuration, and the command in it."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        standin: StripeStandin,
        routes: str = ROUTES,
        *,
        key: str = TEST_KEY,
        account: str = "",
    ) -> None:
        self.run = run
        self.standin = standin
        text = config(routes, standin.url, key=key, account=account)
        server = 'server: {listen: "127.0.0.1:0", public_url: https://hooks.acme.example}'
        (folder / "gateway.yaml").write_text(text.replace('server: {listen: "127.0.0.1:0"}', server))

    async def __call__(self, *words: str) -> Ran:
        return await asyncio.to_thread(self.run, "endpoints", *words)


async def test_sync_creates_what_the_routes_want_and_keeps_the_secret_in_a_file(
    run: Run, tmp_path: Path, standin: StripeStandin
) -> None:
    place, secret = Place(run, tmp_path, standin), tmp_path / "acme.secret"
    code, out, _ = await place("diff")
    assert (code, out) == (
        1,
        f"create a new endpoint: {URL}, own events\n    there is none\n"
        "    of the account's default version, with customer.deleted, invoice.paid\n",
    )
    code, out, error = await place("sync", "--yes", "--secret-file", str(secret))
    assert code == 0, error
    ((endpoint_id, endpoint),) = standin.endpoints.items()
    assert endpoint["url"] == URL
    assert endpoint["enabled_events"] == ["customer.deleted", "invoice.paid"]
    assert endpoint_id not in standin.connect_endpoints
    assert secret.read_text().startswith("whsec_")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text().strip() not in out + error
    assert f'add "${{file:{secret}}}" to accounts.acme.signing_secrets; until then its events are answered 401' in out
    assert (await place("diff"))[:2] == (0, "nothing to do: Stripe's endpoints are what the routes want\n")
    assert json.loads((await place("list", "--json"))[1]) == [
        {
            "id": endpoint_id, "url": URL, "status": "enabled", "livemode": False, "connect": False,
            "api_version": None, "enabled_events": ["customer.deleted", "invoice.paid"],
        }
    ]  # fmt: skip


async def test_a_secret_without_a_place_and_a_file_in_use_create_nothing(
    run: Run, tmp_path: Path, standin: StripeStandin
) -> None:
    place, used = Place(run, tmp_path, standin), tmp_path / "used"
    used.write_text("whsec_old")
    code, _, error = await place("sync", "--yes")
    assert (code, error.strip()) == (
        2,
        "a new endpoint (own events) has a signing secret, which Stripe tells only once: say where to, with "
        "--secret-file FILE or --show-secrets",
    )
    code, _, error = await place("sync", "--yes", "--secret-file", str(used))
    assert (code, error.strip()) == (
        2, f"--secret-file {used}: it exists already, and may hold a secret in use: name a new file"
    )  # fmt: skip
    code, _, error = await place("sync", "--yes", "--secret-file", str(tmp_path / "no" / "folder"))
    assert code == 1
    assert error.strip().endswith("No such file or directory; nothing was created")
    assert used.read_text() == "whsec_old"
    assert standin.endpoints == {}


async def test_nothing_is_done_before_a_yes(run: Run, tmp_path: Path, standin: StripeStandin) -> None:
    code, _, error = await Place(run, tmp_path, standin)("sync", "--show-secrets")
    assert code == 1
    assert "Do this at Stripe, in test mode?" in error
    assert standin.endpoints == {}


async def test_a_refused_creation_leaves_no_file(run: Run, tmp_path: Path, standin: StripeStandin) -> None:
    place, secret = Place(run, tmp_path, standin), tmp_path / "acme.secret"
    for i in range(16):
        standin.endpoints[f"we_{i}"] = {"id": f"we_{i}", "url": "https://x.example", "livemode": False}
    code, _, error = await place("sync", "--yes", "--secret-file", str(secret))
    assert code == 1
    assert "You have reached the maximum of 16 test webhook endpoints." in error
    assert not secret.exists()
    standin.endpoints.clear()
    standin.faults.extend([Fault(200, body=b'{"object": "list", "data": []}'), *[Fault(503)] * 3])
    code, _, error = await place("sync", "--yes", "--secret-file", str(secret))
    assert code == 1
    assert "whether the endpoint was created is not known: see `gateway endpoints list`" in error
    assert not secret.exists()


async def test_events_that_changed_are_updated_and_connect_has_its_own_endpoint(
    run: Run, tmp_path: Path, standin: StripeStandin
) -> None:
    assert (await Place(run, tmp_path, standin)("sync", "--yes", "--show-secrets"))[0] == 0
    (own,) = standin.endpoints
    place = Place(run, tmp_path, standin, ROUTES.replace("customer.deleted", "payout.paid") + SELLERS)
    code, out, error = await place("sync", "--yes", "--show-secrets")
    assert code == 0, error
    assert f"update {own}: {URL}, own events\n    + payout.paid\n    - customer.deleted\n" in out
    assert "its signing secret: whsec_" in out
    assert standin.endpoints[own]["enabled_events"] == ["invoice.paid", "payout.paid"]
    (connect,) = standin.connect_endpoints
    assert standin.endpoints[connect]["enabled_events"] == ["customer.deleted", "invoice.paid"]
    assert (await place("diff"))[0] == 0


async def test_another_version_is_switched_to_when_the_user_says(
    run: Run, tmp_path: Path, standin: StripeStandin
) -> None:
    old_version = "    api_version: '2020-08-27'\n"
    assert (await Place(run, tmp_path, standin, account=old_version)("sync", "--yes", "--show-secrets"))[0] == 0
    (old,) = standin.endpoints
    place = Place(run, tmp_path, standin, account="    api_version: 2026-10-28.endive\n")
    code, out, _ = await place("sync", "--yes", "--show-secrets")
    assert code == 0
    assert "it is disabled: when secret and templates are ready, run this again with --switch" in out
    (new,) = set(standin.endpoints) - {old}

    def states() -> list[str]:
        return [standin.endpoints[one]["status"] for one in (old, new)]

    assert states() == ["enabled", "disabled"]
    code, out, _ = await place("sync", "--yes")
    assert "The switch of versions is left until you give --switch." in out
    assert states() == ["enabled", "disabled"]
    assert (await place("sync", "--yes", "--switch"))[0] == 0
    assert states() == ["disabled", "enabled"]
    assert (await place("diff"))[0] == 0


async def test_mistakes_of_mode_are_caught(run: Run, tmp_path: Path, standin: StripeStandin) -> None:
    place = Place(run, tmp_path, standin, key=LIVE_KEY)
    code, _, error = await place("diff", "--url", "http://hooks.acme.example")
    assert (code, error.strip()) == (1, "http://hooks.acme.example: in live mode Stripe posts to https:// alone")
    standin.endpoints["we_1"] = {"id": "we_1", "url": URL, "livemode": False, "status": "enabled"}
    code, _, error = await place("sync", "--yes", "--show-secrets")
    assert (code, error.strip()) == (
        1, "Stripe shows endpoints of the other mode than the api_key is of: nothing is done"
    )  # fmt: skip


async def test_a_missing_permission_to_write_is_named(run: Run, tmp_path: Path, standin: StripeStandin) -> None:
    standin.faults.append(Fault(200, body=b'{"object": "list", "data": []}'))
    standin.faults.append(Fault(403, "Having the 'webhook_write' permission would allow this request to continue."))
    code, _, error = await Place(run, tmp_path, standin)("sync", "--yes", "--show-secrets")
    assert code == 1
    assert "lacks the permission 'webhook_write', which POST /v1/webhook_endpoints needs" in error
    assert TEST_KEY not in error


async def test_backfill_says_what_is_wrong_with_its_words(run: Run, tmp_path: Path, standin: StripeStandin) -> None:
    Place(run, tmp_path, standin)

    async def told(*words: str) -> tuple[int, str]:
        code, _, error = await asyncio.to_thread(run, "backfill", *words)
        return code, error.strip()

    assert await told("--since", "31d") == (2, "--since 31d: Stripe keeps events for 30 days; older ones are gone")
    assert await told("--since", "1h", "--until", "2h") == (2, "--since 1h is not before --until 2h")
    assert await told("--account", "other") == (2, "there is no account other; known: acme")
    code, error = await told()
    assert code == 1
    assert "there is no inbox at" in error
    Place(run, tmp_path, standin, key='""')
    assert await told() == (1, "no account has an api_key to ask Stripe with: set accounts.NAME.api_key")
