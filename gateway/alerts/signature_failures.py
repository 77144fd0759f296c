"""Notices that an account's signing secret is wrong: requests in a row that fail it, and none that passes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

WRONG = frozenset(("no_match", "too_old", "too_new"))
"""The reasons that count: who sends no signature at all is no Stripe, and proves nothing of the secret."""


@dataclass(slots=True)
class _FailureRow:
    at: deque[tuple[float, str]] = field(default_factory=deque)  # the newest failures: when, and why
    told_at: float | None = None


class SignatureWatch:
    """What one gateway has seen since its start. Bounded by the accounts and the number of failures that matter."""

    def __init__(self) -> None:
        self._rows: dict[str | None, _FailureRow] = {}

    def refused(
        self, account: str | None, reason: str, now: float, *, failures: int, within: float, repeat: float
    ) -> Counter[str] | None:
        """Takes note of a refusal. The reasons of the last so many, where they all came within that time and none was
        accepted between; None while that is not so, or was told less than `repeat` seconds ago. `account` None: it was
        posted to /webhooks.
        """
        if reason not in WRONG:
            return None
        row = self._rows.setdefault(account, _FailureRow())
        row.at.append((now, reason))
        while len(row.at) > failures:
            row.at.popleft()
        if len(row.at) < failures or now - row.at[0][0] > within:
            return None
        if row.told_at is not None and now - row.told_at < repeat:
            return None
        row.told_at = now
        return Counter(reason for _, reason in row.at)

    def accepted(self, account: str) -> None:
        """Takes note of an event whose signature was good: by its path, or found by its secret."""
        for name in (account, None):
            row = self._rows.get(name)
            if row is not None:
                row.at.clear()
