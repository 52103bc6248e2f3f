"""First occurrence, record by record, in the plainest form. One object for each numbered feed."""

from typing import Protocol

from seamark_oracle.contract import QUOTE_RESET_US


class Occurrence(Protocol):
    """What was accepted so far of one (exchange, market, feed, symbol)."""

    def judge(self, number: int, time_us: int) -> int | None:
        """The epoch in which the record counts, or None for one that does not."""
        ...

    def remember(self, number: int, time_us: int, epoch: int) -> None:
        """Takes over an accepted record from history whose log is gone."""
        ...


class TradeOccurrence:
    """An id counts once in an epoch; a known id with a new greatest venue time opens the next."""

    def __init__(self) -> None:
        self._opened_us: list[float] = [float("-inf")]
        self._accepted: list[set[int]] = [set()]
        self._greatest_us: float = float("-inf")

    def judge(self, number: int, time_us: int) -> int | None:
        newest = len(self._opened_us) - 1
        epoch = newest
        while time_us < self._opened_us[epoch]:
            epoch -= 1
        if number in self._accepted[epoch]:
            if epoch != newest or time_us <= self._greatest_us:
                return None
            epoch = newest + 1
        self.remember(number, time_us, epoch)
        return epoch

    def remember(self, number: int, time_us: int, epoch: int) -> None:
        while len(self._opened_us) <= epoch:
            self._opened_us.append(float("inf"))
            self._accepted.append(set())
        # The record that opens an epoch has the least time of all that fall into it.
        self._opened_us[epoch] = min(self._opened_us[epoch], time_us)
        self._accepted[epoch].add(number)
        self._greatest_us = max(self._greatest_us, time_us)


class QuoteOccurrence:
    """Only a greater id counts; one that is not, more than 60 s later, opens the next epoch."""

    def __init__(self) -> None:
        self._epoch = 0
        self._last_id = -1
        self._greatest_us: float = float("-inf")

    def judge(self, number: int, time_us: int) -> int | None:
        epoch = self._epoch
        if number <= self._last_id:
            if time_us <= self._greatest_us + QUOTE_RESET_US:
                return None
            epoch += 1
        self.remember(number, time_us, epoch)
        return epoch

    def remember(self, number: int, time_us: int, epoch: int) -> None:
        if epoch > self._epoch or number > self._last_id:
            self._last_id = number
        self._epoch = max(self._epoch, epoch)
        self._greatest_us = max(self._greatest_us, time_us)
