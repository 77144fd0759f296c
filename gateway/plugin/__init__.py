"""PUBLIC: all that an action's author imports. The built-in actions use this and nothing else.

    from gateway.plugin import Action, Context, Reject, Retry, Settings

    class Greet(Action):
        \"\"\"Greets a customer.\"\"\"
        name = "greet"

        class Settings(Settings):
            to: str

        async def run(self, settings, context):
            ...
            return {"greeted": settings.to}

What reaches a database is in `gateway.plugin.database`, apart because it imports SQLAlchemy; what reaches a service by
a WebConnection, with its proxy and its certificates, is in `gateway.plugin.web_client`.

An action may run twice for one delivery (a crash between the work and its record), with the same
`context.delivery_id`; make a second run harmless.
"""

from gateway.core.url_credentials import url_fault, without_credentials
from gateway.plugin.action import (
    UNTIL_RESUMED,
    Action,
    Comparison,
    Context,
    Fault,
    Reject,
    Retry,
    RowDifference,
    Settings,
    StripeWriter,
    Unreached,
)
from gateway.plugin.connections import (
    BreakerSettings,
    ConnectionSettings,
    DatabaseConnection,
    DownloadSettings,
    HttpConnection,
    SlackConnection,
    SmtpConnection,
    WebConnection,
)
from gateway.plugin.connections.reach import CaFile, Proxy, ca_file_faults
from gateway.plugin.exchange import Exchange
from gateway.plugin.http_client import AddressRefused, guarded_session, refusal, retry_after_seconds
from gateway.plugin.http_headers import Headers
from gateway.plugin.preview import MailPreview, Preview, RequestPreview
from gateway.plugin.probe import Finding, ProbeContext, ProbedUse, Unrendered, Verdict
from gateway.plugin.quoting import quoted, without_secrets
from gateway.plugin.types import (
    CallsStripe,
    Connection,
    Constant,
    Deferred,
    Duration,
    Name,
    Offers,
    Rate,
    SetsLocale,
    Size,
    Status,
    Text,
    Url,
    has_status,
    parse_duration,
    parse_rate,
    parse_size,
)
from gateway.store.keeping import OUTPUT_BYTES

__all__ = [
    "OUTPUT_BYTES",
    "UNTIL_RESUMED",
    "Action",
    "AddressRefused",
    "BreakerSettings",
    "CaFile",
    "CallsStripe",
    "Comparison",
    "Connection",
    "ConnectionSettings",
    "Constant",
    "Context",
    "DatabaseConnection",
    "Deferred",
    "DownloadSettings",
    "Duration",
    "Exchange",
    "Fault",
    "Finding",
    "Headers",
    "HttpConnection",
    "MailPreview",
    "Name",
    "Offers",
    "Preview",
    "ProbeContext",
    "ProbedUse",
    "Proxy",
    "Rate",
    "Reject",
    "RequestPreview",
    "Retry",
    "RowDifference",
    "SetsLocale",
    "Settings",
    "Size",
    "SlackConnection",
    "SmtpConnection",
    "Status",
    "StripeWriter",
    "Text",
    "Unreached",
    "Unrendered",
    "Url",
    "Verdict",
    "WebConnection",
    "ca_file_faults",
    "guarded_session",
    "has_status",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "quoted",
    "refusal",
    "retry_after_seconds",
    "url_fault",
    "without_credentials",
    "without_secrets",
]
