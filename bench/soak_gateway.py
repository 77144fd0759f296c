"""The soak's gateway: `python -m bench.soak_gateway SECONDS --config F serve`.

It purges every so many seconds, not every hour, so that an hour shows what weeks do; everything else is the gateway.
"""

from __future__ import annotations

import sys

from gateway.cli import main
from gateway.delivery import retention

if __name__ == "__main__":
    retention.FIRST_SECONDS = retention.PERIOD_SECONDS = float(sys.argv.pop(1))
    main()
