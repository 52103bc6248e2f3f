"""The statistical model of one symbol's trading, drawn a block of seconds at a time.

Trades come in groups: one taker order meets several resting ones, and all fills carry one time.
Group sizes follow a power law, group arrivals a Poisson process whose rate jumps from second to
second and from tenth to tenth, and prices a walk on the tick grid: fills of a group move along the
taker's side, the book sometimes refills, and between groups the price jumps either way. The
constants are fitted to recorded spot data of two symbols; a test compares the two.

Everything is an array: a block costs a few dozen numpy calls, whatever its number of trades.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .instruments import Listing

Integers = NDArray[np.int64]

TRADE_SHARE = 0.23
"""Trades among all frames; the rest are book tickers."""

GROUP_SIZE_EXPONENT = 1.4
"""A group has at least k trades with probability k ** -1.4; two thirds share a time with the one before."""
LARGEST_GROUP = 735

RATE_SIGMA, RATE_MEMORY = 0.91, 0.30
"""Standard deviation of the log of a second's rate, and its correlation with the second before."""
SLOTS_PER_SECOND, SLOT_SIGMA = 10, 1.2
"""A second's trading is not even either: standard deviation of the log of a tenth's rate."""
STEADY_QUOTE_SHARE = 0.2
"""Part of the book tickers that comes at a constant rate, whatever the trading does."""

VOLATILITY_PER_TRADE = 1.8e-5
"""Standard deviation of the relative price change from one trade to the next."""
SWEEP_PROBABILITY, SWEEP_SHARE = 0.33, 0.45
JUMP_PROBABILITY, JUMP_SHARE = 0.42, 1.05
"""How often the price moves inside and between groups; standard deviations in volatilities."""
ONE_TICK_REACH = 3.0
"""How much of the distribution of log moves is of one tick."""
SIDE_PERSISTENCE = 0.685
REFILL_PROBABILITY = 0.3
LOWEST_PRICE_SHARE = 0.1
"""The walk is held above this share of the first price."""

MEDIAN_NOTIONAL, NOTIONAL_SIGMA = 30.0, 2.3
WIDE_SPREAD_PROBABILITY = 0.1

EVENT_DELAY_US = 1_000
"""The venue's event time E minus the trade time T."""
_SECOND_US = 1_000_000
_SLOT_US = _SECOND_US // SLOTS_PER_SECOND
_GROUP_SIZE_CDF = 1.0 - np.arange(2, LARGEST_GROUP + 1, dtype=np.float64) ** -GROUP_SIZE_EXPONENT
_MEAN_GROUP_SIZE = float(np.sum(np.arange(1, LARGEST_GROUP + 1, dtype=np.float64) ** -GROUP_SIZE_EXPONENT))


@dataclass(frozen=True, slots=True)
class Carry:
    """What one block hands to the next. Prices in ticks; the ids are the next to be given."""

    price_ticks: int
    trade_id: int
    update_id: int
    log_rate: float

    def to_json(self) -> list[int | float]:
        """As JSON values; `Carry(*values)` reads them back."""
        return [self.price_ticks, self.trade_id, self.update_id, self.log_rate]


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades in id order. Times in microseconds, prices in ticks, quantities in steps."""

    trade_id: Integers
    time_us: Integers
    price: Integers
    quantity: Integers
    buyer_is_maker: Integers


@dataclass(frozen=True, slots=True)
class Quotes:
    """Book tickers in id order; same units. `time_us` is when the book changed."""

    update_id: Integers
    time_us: Integers
    bid: Integers
    bid_quantity: Integers
    ask: Integers
    ask_quantity: Integers


def draw_block(
    listing: Listing, frames_per_second: float, start_us: int, seconds: int, carry: Carry, seed: list[int]
) -> tuple[Trades, Quotes, Carry]:
    """The trades and quotes of `seconds` seconds from `start_us`, and what the next block needs.

    A pure function of its arguments. No time is later than the block's end less two event delays.
    """
    random = np.random.default_rng(seed)
    pace, log_rate = _paces(random, seconds, carry.log_rate)
    group_rate = frames_per_second * TRADE_SHARE / _MEAN_GROUP_SIZE
    group_time = start_us + _arrivals(random, group_rate * pace)
    groups = len(group_time)
    sizes = 1 + np.searchsorted(_GROUP_SIZE_CDF, random.random(groups), side="right")
    group_of_trade = np.repeat(np.arange(groups), sizes)
    taker_side = _taker_sides(random, groups)

    volatility = VOLATILITY_PER_TRADE * listing.first_price_ticks
    swept = _moves(random, len(group_of_trade), SWEEP_PROBABILITY, SWEEP_SHARE * volatility)
    first_of_group = np.cumsum(sizes) - sizes
    swept[first_of_group] = 0
    inside = np.cumsum(swept)
    inside -= np.repeat(inside[first_of_group], sizes)
    inside *= taker_side[group_of_trade]
    swept_by_group = inside[first_of_group + sizes - 1]
    jumps = _moves(random, groups, JUMP_PROBABILITY, JUMP_SHARE * volatility)
    jumps *= random.choice(np.array([-1, 1]), groups)
    kept = swept_by_group * (random.random(groups) >= REFILL_PROBABILITY)
    lowest = max(2, int(listing.first_price_ticks * LOWEST_PRICE_SHARE))
    resting = np.maximum(np.cumsum(np.concatenate(([carry.price_ticks], kept + jumps))), lowest)
    price = np.maximum(resting[group_of_trade] + inside, lowest)

    trades = Trades(
        trade_id=carry.trade_id + np.arange(len(price), dtype=np.int64),
        time_us=group_time[group_of_trade],
        price=price,
        quantity=_quantities(random, listing, len(price)),
        buyer_is_maker=(taker_side < 0).astype(np.int64)[group_of_trade],
    )
    quote_rate = frames_per_second * (1 - TRADE_SHARE)
    quotes = _quotes(
        random, listing, quote_rate, pace, start_us, group_time, taker_side, resting, carry.update_id
    )
    last_update = int(quotes.update_id[-1]) + 1 if len(quotes.update_id) else carry.update_id
    return trades, quotes, Carry(int(resting[-1]), carry.trade_id + len(price), last_update, log_rate)


def _paces(random: np.random.Generator, seconds: int, log_rate: float) -> tuple[NDArray[np.float64], float]:
    """A factor of mean 1 for each slot: log-normal, in part common to the second."""
    fresh = random.standard_normal(seconds) * math.sqrt(1 - RATE_MEMORY**2)
    levels = np.empty(seconds)
    for second in range(seconds):
        log_rate = RATE_MEMORY * log_rate + float(fresh[second])
        levels[second] = log_rate
    logarithm = RATE_SIGMA * np.repeat(levels, SLOTS_PER_SECOND)
    logarithm += SLOT_SIGMA * random.standard_normal(len(logarithm))
    return np.exp(logarithm - (RATE_SIGMA**2 + SLOT_SIGMA**2) / 2), log_rate


def _arrivals(random: np.random.Generator, per_second: NDArray[np.float64]) -> Integers:
    """Sorted times from the start of the block; the rate is given for each slot."""
    counts = random.poisson(per_second / SLOTS_PER_SECOND)
    slot = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    times = slot * _SLOT_US + random.integers(0, _SLOT_US, len(slot))
    times.sort()
    np.minimum(times, len(counts) * _SLOT_US - 2 * EVENT_DELAY_US, out=times)
    return times


def _taker_sides(random: np.random.Generator, groups: int) -> Integers:
    turns = np.where(random.random(groups) < SIDE_PERSISTENCE, 1, -1)
    sides: Integers = np.cumprod(turns) * int(random.choice([-1, 1]))
    return sides


def _moves(random: np.random.Generator, count: int, probability: float, deviation: float) -> Integers:
    """Absolute moves in ticks: mostly none, else a tick or more, the logarithm uniform.

    Their root mean square is `deviation`. On a grid too coarse for that, moves are of one tick and
    as rare as it takes.
    """
    probability = min(probability, deviation**2)
    square = deviation**2 / probability
    # Logarithms are uniform from -ONE_TICK_REACH to `longest`, those below 0 one tick. The mean
    # square of that is solved for `longest` by fixed point.
    longest = 0.0
    for _ in range(30):
        longest = math.log(1 + 2 * (square * (longest + ONE_TICK_REACH) - ONE_TICK_REACH)) / 2
    logarithm = random.uniform(-ONE_TICK_REACH, longest, count)
    size = np.rint(np.exp(np.maximum(0.0, logarithm))).astype(np.int64)
    return size * (random.random(count) < probability)


def _quantities(random: np.random.Generator, listing: Listing, count: int) -> Integers:
    """Log-normal in value, on the step grid, at least one step."""
    price = listing.first_price_ticks * listing.instrument.tick / 1e8
    median_steps = MEDIAN_NOTIONAL / price / (listing.instrument.step / 1e8)
    steps = np.exp(math.log(median_steps) + NOTIONAL_SIGMA * random.standard_normal(count))
    return np.maximum(1, np.minimum(steps, 1e12)).astype(np.int64)


def _quotes(
    random: np.random.Generator,
    listing: Listing,
    quotes_per_second: float,
    pace: NDArray[np.float64],
    start_us: int,
    group_time: Integers,
    taker_side: Integers,
    resting: Integers,
    first_update_id: int,
) -> Quotes:
    """One book ticker follows each group; the others come in between, at the price of the time.

    A taker who sold met the bid, one who bought the ask: that side of the book is the last price.
    """
    others_per_second = quotes_per_second * (STEADY_QUOTE_SHARE + (1 - STEADY_QUOTE_SHARE) * pace)
    follow_share = len(group_time) * SLOTS_PER_SECOND / max(1.0, float(others_per_second.sum()))
    others = start_us + _arrivals(random, others_per_second * max(0.0, 1 - follow_share))
    time_us = np.concatenate((group_time, others))
    time_us.sort()
    count = len(time_us)
    groups_before = np.searchsorted(group_time, time_us, side="right")
    price = resting[groups_before]
    sold = np.concatenate(([1], taker_side))[groups_before] < 0
    wide = random.random(count) < WIDE_SPREAD_PROBABILITY
    spread = 1 + wide * np.rint(np.exp(random.random(count) * 3)).astype(np.int64)
    steps = np.maximum(1, np.rint(np.exp(random.normal(1.0, 1.2, count)))).astype(np.int64)
    return Quotes(
        update_id=first_update_id + np.cumsum(steps),
        time_us=time_us,
        bid=np.where(sold, price, np.maximum(1, price - spread)),
        bid_quantity=_quantities(random, listing, count),
        ask=np.where(sold, price + spread, price),
        ask_quantity=_quantities(random, listing, count),
    )
