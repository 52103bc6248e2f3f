"""The command line: what each option means, what it may be, and what is said if it is not."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .faults import FrameFaults

_DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT")
_DEFAULT_FRAMES_PER_SECOND = 200.0  # what the two symbols have on a busy day
_SYMBOL = re.compile(r"[A-Z0-9]{2,20}")


@dataclass(frozen=True, slots=True)
class Options:
    """A valid command line. `speed` is None for as fast as clients read."""

    port: int
    port_file: Path | None
    journal: Path
    state: Path
    recordings: tuple[Path, ...]
    speed: float | None
    frames_per_second: float
    symbols: tuple[str, ...]
    seed: int
    faults: FrameFaults


def parse(arguments: Sequence[str]) -> Options:
    """Reads the command line; prints what is wrong and exits with 2 if it is not valid."""
    parser = argparse.ArgumentParser(
        prog="python -m seamark.simulator", description="A Binance-protocol exchange on 127.0.0.1."
    )
    port = _whole("port", 0, 65_535)
    share = _number("a share of trades", 0, 1)
    parser.add_argument("--port", type=port, default=0, help="0 (default) takes a free one")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="gets the port once it is open")
    parser.add_argument("--journal", type=Path, required=True, metavar="FILE", help="appended to")
    parser.add_argument("--state", type=Path, required=True, metavar="FILE", help="where the market stands")
    parser.add_argument("--recording", type=Path, nargs="+", default=[], metavar="FILE", action="extend")
    parser.add_argument("--speed", type=_speed, default=1.0, help="1 (default), N times, or max")
    parser.add_argument(
        "--rate-per-second", type=_number("frames a second", 0.1, 1e6), help="of the generator; default 200"
    )
    parser.add_argument("--symbols", type=_symbols, help="of the generator; default BTCUSDT,ETHUSDT")
    parser.add_argument("--seed", type=_whole("seed", 0, 2**63 - 1), default=0)
    parser.add_argument("--repeat", type=share, default=0.01, help="share of trades sent twice")
    parser.add_argument("--swap", type=share, default=0.01, help="share sent after the next trade")
    parser.add_argument(
        "--malformed-interval-seconds", type=_number("seconds", 0, 86_400), default=60.0, help="0: none"
    )
    given = parser.parse_args(arguments)
    if given.recording and (given.rate_per_second is not None or given.symbols is not None):
        parser.error("--rate-per-second and --symbols are of the generator; not allowed with --recording")
    return Options(
        port=given.port,
        port_file=given.port_file,
        journal=given.journal,
        state=given.state,
        recordings=tuple(given.recording),
        speed=None if math.isinf(given.speed) else given.speed,
        frames_per_second=given.rate_per_second or _DEFAULT_FRAMES_PER_SECOND,
        symbols=given.symbols or _DEFAULT_SYMBOLS,
        seed=given.seed,
        faults=FrameFaults(given.repeat, given.swap, given.malformed_interval_seconds),
    )


def _number(name: str, lowest: float, highest: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(
                f"{name} was {text!r}, must be a number within {lowest:g} and {highest:g}"
            )
        return value

    return convert


def _whole(name: str, lowest: int, highest: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"\d{1,19}", text) or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(
                f"{name} was {text!r}, must be a whole number within {lowest} and {highest}"
            )
        return int(text)

    return convert


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        return _number("speed", 0.01, 10_000)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or max") from None


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(text.split(","))
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise argparse.ArgumentTypeError(
                f"symbol was {symbol!r}, must be 2 to 20 upper-case letters and digits, as BTCUSDT,ETHUSDT"
            )
    if len(set(symbols)) < len(symbols):
        raise argparse.ArgumentTypeError(f"symbols were {text!r}, must be distinct")
    return symbols
