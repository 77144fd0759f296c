"""PUBLIC: what plugin authors and our own tests use.

    from gateway.testing import Trial

    async def test_greets() -> None:
        async with Trial(Greet(), {"to": "{{ object.customer_details.name }}"}) as trial:
            ended = await trial.attempt()
        assert (ended.state, ended.output) == ("succeeded", {"greeted": "Jenny Rosen"})

A Trial runs an action through the gateway's own code, without a gateway: templates, retries, dead letters, dry runs.
`problems` says what `gateway check` would; `run_action` and `probe_action` call one method; the rest makes events.
"""

from gateway.testing.actions import probe_action, run_action
from gateway.testing.events import (
    FakeClock,
    line_items,
    make_event,
    make_event_id,
    override,
    signed_request,
    thin_event,
)
from gateway.testing.samples import UnknownScenarioError, scenarios
from gateway.testing.trial import Trial, TrialResult, problems

__all__ = [
    "FakeClock",
    "Trial",
    "TrialResult",
    "UnknownScenarioError",
    "line_items",
    "make_event",
    "make_event_id",
    "override",
    "probe_action",
    "problems",
    "run_action",
    "scenarios",
    "signed_request",
    "thin_event",
]
