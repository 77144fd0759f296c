"""The commands, in the order of `gateway --help`, and the modules here that make each."""

COMMANDS = {
    "actions": ("actions",),
    "backfill": ("backfill",),
    "check": ("check",),
    "dev": ("dev",),
    "reload": ("reload",),
    "diff": ("diff",),
    "doctor": ("doctor",),
    "explain": ("explain",),
    "fields": ("fields",),
    "forget": ("forget",),
    "init": ("init",),
    "listen": ("listen",),
    "schema": ("schema",),
    "send": ("send",),
    "serve": ("serve",),
    "test": ("test",),
    "types": ("types",),
    "events": ("events",),
    "db": ("db", "backup"),
    "connections": ("connections",),
    "deliveries": ("deliveries",),
    "endpoints": ("endpoints",),
    "rejected": ("rejected",),
    "stripe-ips": ("stripe_ips",),
}
EVERY_MODULE = tuple(module for modules in COMMANDS.values() for module in modules)
