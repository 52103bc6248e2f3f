"""What a caller may take: units per second with a burst, and requests at a time; and what all together may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from seamark.query_gateway.errors import TooCostly


@dataclass(frozen=True, slots=True)
class Quota:
    """Units are those of `Estimate.cost`."""

    units_per_second: float
    burst: float
    """Units that may be taken at once after a rest."""
    concurrency: int
    """Requests at a time."""


@dataclass(slots=True)
class _Account:
    units: float
    at_seconds: float
    running: int = 0


@dataclass(slots=True)
class Quotas:
    """Token buckets by caller. Used on one event loop."""

    clock: Callable[[], float] = time.monotonic
    most_beginning: int = 0
    """Answers of all callers that have no header yet; 0: any number."""
    beginning: int = 0
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def begin(self) -> None:
        """One more answer is worked for. Where more come than can be answered, it is better to say so at once than
        to let all of them wait until nobody does any more. Clients that read slowly do not count: they wait
        behind their header.

        Raises:
            TooCostly: as many as may are without a header.
        """
        if self.most_beginning and self.beginning >= self.most_beginning:
            raise TooCostly(
                f"answers that have not begun were {self.beginning}, must be less than {self.most_beginning}: "
                "ask again",
                retry_after_seconds=1.0,
            )
        self.beginning += 1

    def begun(self) -> None:
        """Its header is there, or it is given up."""
        self.beginning -= 1

    @contextmanager
    def admitted(self, caller: str, quota: Quota | None) -> Iterator[None]:
        """One of the caller's requests at a time. No quota: no limit.

        Raises:
            TooCostly: as many run already as may.
        """
        if quota is None:
            yield
            return
        account = self._account(caller, quota)
        if account.running >= quota.concurrency:
            raise TooCostly(
                f"requests of {caller} running were {account.running}, must be less than {quota.concurrency}: "
                "wait for one to end",
                retry_after_seconds=1.0,
            )
        account.running += 1
        try:
            yield
        finally:
            account.running -= 1

    def charge(self, caller: str, quota: Quota | None, units: float) -> None:
        """Take units before the work.

        Raises:
            TooCostly: more than there are now; or more than there ever are, then without a time to wait.
        """
        if quota is None:
            return
        if units > quota.burst:
            raise TooCostly(
                f"cost was {units:g} units, must be at most {quota.burst:g} (the burst of {caller}): "
                "ask for less at a time"
            )
        account = self._account(caller, quota)
        if units > account.units:
            raise TooCostly(
                f"cost was {units:g} units, must be at most {account.units:.1f} (what {caller} has left now)",
                retry_after_seconds=(units - account.units) / quota.units_per_second,
            )
        account.units -= units

    def settle(self, caller: str, quota: Quota | None, charged: float, used: float) -> None:
        """Give back what was not used, or take what was used beyond the charge (the account may go below 0)."""
        if quota is not None:
            account = self._account(caller, quota)
            account.units = min(quota.burst, account.units + charged - used)

    def _account(self, caller: str, quota: Quota) -> _Account:
        now = self.clock()
        account = self._accounts.get(caller)
        if account is None:
            account = self._accounts[caller] = _Account(quota.burst, now)
        refilled = account.units + (now - account.at_seconds) * quota.units_per_second
        account.units, account.at_seconds = min(quota.burst, refilled), now
        return account
