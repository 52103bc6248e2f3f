"""The symbols the generator knows, with the price each starts at and the grids it trades on.

Any other symbol can be traded too; it starts at 1 with a tick of 0.0001 and a step of 0.1.
"""

from dataclasses import dataclass

from .events import Instrument, split_symbol


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument and its first price, in ticks."""

    instrument: Instrument
    first_price_ticks: int


# symbol: (first price, tick, step), all in units of 1e-8
_KNOWN = {
    "BTCUSDT": (6_180_000_000_000, 1_000_000, 1_000),
    "ETHUSDT": (268_000_000_000, 1_000_000, 10_000),
    "BNBUSDT": (51_000_000_000, 1_000_000, 100_000),
    "SOLUSDT": (15_500_000_000, 1_000_000, 100_000),
    "XRPUSDT": (60_000_000, 10_000, 10_000_000),
    "DOGEUSDT": (10_400_000, 1_000, 100_000_000),
    "ADAUSDT": (34_000_000, 10_000, 10_000_000),
    "LTCUSDT": (6_000_000_000, 1_000_000, 100_000),
    "LINKUSDT": (1_040_000_000, 1_000_000, 1_000_000),
    "ETHBTC": (4_340_000, 1_000, 10_000),
}
_UNKNOWN = (100_000_000, 10_000, 10_000_000)


def listing(symbol: str) -> Listing:
    """The listing of an upper-case symbol."""
    price, tick, step = _KNOWN.get(symbol, _UNKNOWN)
    return Listing(Instrument(symbol, *split_symbol(symbol), tick, step), price // tick)
