"""Both stores do what the model does, whatever is asked of them in whatever order."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import StoreMachine
from tests.model.places import places

SEQUENCES, STEPS = 60, 50


def test_the_stores_agree_with_the_model_after_every_step(inbox_url: str) -> None:
    with places(inbox_url) as made:
        machine = type("Machine", (StoreMachine,), {"places": made})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=SEQUENCES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink],
            ),
        )
