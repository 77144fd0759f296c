"""aiohttp + stripe.Webhook.construct_event: what most people write by hand. Keeps nothing."""

import sys

import stripe
import uvloop
from aiohttp import web

PORT, SECRET = int(sys.argv[1]), sys.argv[2]


async def webhook(request: web.Request) -> web.Response:
    body = await request.read()
    try:
        stripe.Webhook.construct_event(body, request.headers["Stripe-Signature"], SECRET)
    except (ValueError, stripe.SignatureVerificationError):
        return web.Response(status=400)
    return web.json_response({"received": True})


app = web.Application()
app.router.add_post("/webhooks/acme", webhook)
uvloop.install()
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None)
