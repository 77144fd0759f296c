"""Events that did not arrive, asked for at Stripe and put into the inbox: `gateway backfill`, and `reconcile`."""
