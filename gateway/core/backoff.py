"""When a failed delivery runs again: pure arithmetic over a policy."""

from __future__ import annotations

from random import Random

from gateway.core.model import RetryPolicy

JITTER = 0.2  # each wait is varied by up to a fifth, so that a crowd that failed together does not return together


def next_wait(
    policy: RetryPolicy, attempts_made: int, rng: Random, retry_after_seconds: float | None = None
) -> float | None:
    """Seconds until the next attempt after `attempts_made` (1 or more) have failed, or None: out of attempts.

    `retry_after_seconds` is what the destination asked for (RFC 9110, section 10.2.3). It is honoured up to
    `policy.max_seconds`, and never shortens the policy's own wait.
    """
    if attempts_made >= policy.attempts:
        return None
    exponent = min(attempts_made - 1, 64)  # beyond that every sane policy has reached its maximum
    wait = min(policy.max_seconds, policy.first_seconds * policy.factor**exponent)
    wait *= 1 + rng.uniform(-JITTER, JITTER)
    if retry_after_seconds is not None:
        wait = max(wait, min(retry_after_seconds, policy.max_seconds))
    return wait
