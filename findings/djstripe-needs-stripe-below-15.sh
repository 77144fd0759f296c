#!/usr/bin/env bash
# dj-stripe asks for any stripe from 11.3 on, and pip gives it 16, whose objects are no dicts: every event whose object dj-stripe
# reads from Stripe ends in an AttributeError, before and after its own handlers are reached. With stripe 14 it is stored.
. "$(dirname "$0")/common.sh"
packages dj-stripe==2.10.3 django==5.2.19 stripe==16.1.0
"$work/venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --target "$work/older" stripe==14.4.2
echo "with: stripe==14.4.2"
seen "dj-stripe asks for: stripe (>=11.3.0)
stripe 16.1.0: 'get' is a dict method, but a Account is not a dict
stripe 14.4.2: stored Mug" <<'PY'
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

(requirement,) = (line for line in requires("dj-stripe") if line.startswith("stripe"))
print("dj-stripe asks for:", requirement)
SCRIPT = r'''
import json, sys, warnings
sys.path[:0] = sys.argv[1:]
warnings.simplefilter("ignore")
import django, stripe
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="unused",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "djstripe"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    MIGRATION_MODULES=dict.fromkeys(("auth", "contenttypes", "djstripe")),
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    STRIPE_TEST_SECRET_KEY="sk_test_" + "0" * 24,
    STRIPE_LIVE_MODE=False,
    DJSTRIPE_FOREIGN_KEY_TO_FIELD="id",
)
django.setup()
call_command("migrate", verbosity=0, run_syncdb=True)
from djstripe.models import Event, Product

COMMON = {"livemode": False, "created": 1700000000, "metadata": {}}
PRODUCT = {"id": "prod_1", "object": "product", "name": "Mug", "active": True, "type": "service", **COMMON}
DASHBOARD = {"dashboard": {"display_name": "Shop"}, "branding": {}}
ACCOUNT = {"id": "acct_1", "object": "account", "type": "standard", "settings": DASHBOARD, **COMMON}


class Answers(stripe.HTTPClient):
    name = "answers"

    def request(self, method, url, headers, post_data=None):
        return json.dumps(PRODUCT if "products" in url else ACCOUNT).encode(), 200, {}


stripe.default_http_client = Answers()
event = {"id": "evt_1", "object": "event", "type": "product.updated", "api_version": "2025-03-31.basil"}
event |= {"livemode": False, "created": 1700000000, "request": {"id": None}, "data": {"object": PRODUCT}}
print(f"stripe {stripe.VERSION}:", end=" ")
try:
    Event.process(event)
    print("stored", Product.objects.get().name)
except AttributeError as error:
    print(str(error).partition(".")[0])
'''
for folders in ([], [str(Path(sys.prefix).parent / "older")]):
    print(subprocess.check_output([sys.executable, "-c", SCRIPT, *folders], text=True), end="")
PY
