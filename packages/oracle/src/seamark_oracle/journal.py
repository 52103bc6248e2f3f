"""What the venue wrote down that it sent: JSON lines, by frame and connection."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb

from seamark_oracle.columns import Inserter, create
from seamark_oracle.contract import DECIMAL_LIMIT, DECIMAL_SCALE, Field, Type
from seamark_oracle.errors import OracleError

_CONNECTION = Field("connection", Type.LONG)
_TRADE = (
    _CONNECTION,
    Field("symbol", Type.TEXT),
    Field("id", Type.LONG),
    Field("time_us", Type.MICROS),
    Field("price", Type.DECIMAL),
    Field("quantity", Type.DECIMAL),
    Field("side", Type.TEXT),
)
_QUOTE = (
    _CONNECTION,
    Field("symbol", Type.TEXT),
    Field("id", Type.LONG),
    Field("bid_price", Type.DECIMAL),
    Field("bid_quantity", Type.DECIMAL),
    Field("ask_price", Type.DECIMAL),
    Field("ask_quantity", Type.DECIMAL),
)
_MALFORMED = (_CONNECTION, Field("text", Type.TEXT))
_ENDED = (_CONNECTION, Field("sure", Type.LONG))


def unscaled(text: str) -> int:
    """The number of 1e-10 that a decimal text stands for. Raises ValueError if that is not exact."""
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.removeprefix("-").partition(".")
    kept, beyond = fraction[:DECIMAL_SCALE], fraction[DECIMAL_SCALE:]
    if not whole.isascii() or not (whole + fraction).isdecimal() or beyond.strip("0"):
        raise ValueError(f"{text!r} is not a decimal of at most {DECIMAL_SCALE} places")
    number = int(whole + kept.ljust(DECIMAL_SCALE, "0"))
    if number >= DECIMAL_LIMIT:
        raise ValueError(f"{text!r} has more than 28 digits")
    return sign * number


def load_journals(database: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fills `sent_trades`, `sent_quotes` and `sent_malformed` from all journals.

    One row for each distinct frame, with `times`, how often it was sent, and `sure`, whether
    that was on a connection that the venue closed with a handshake: it has then arrived.
    Also `connections` (connection, sure). Raises OracleError where a line cannot be read.
    """
    for name, fields in _TABLES.items():
        create(database, name, fields)
    with ExitStack() as stack:
        rows = {
            name: stack.enter_context(Inserter(database, name, fields)) for name, fields in _TABLES.items()
        }
        for number, path in enumerate(paths):
            for name, row in _frames(path, number << 32):
                rows[name].add(row)
    for kind, fields in (("trades", _TRADE), ("quotes", _QUOTE), ("malformed", _MALFORMED)):
        columns = ", ".join(field.name for field in fields[1:])
        database.execute(
            f"CREATE TABLE sent_{kind} AS SELECT {columns}, count(*) AS times, max(sure) = 1 AS sure "
            f"FROM journal_{kind} JOIN connections USING (connection) GROUP BY {columns}"
        )
        database.execute(f"DROP TABLE journal_{kind}")


_TABLES = {
    "journal_trades": _TRADE,
    "journal_quotes": _QUOTE,
    "journal_malformed": _MALFORMED,
    "connections": _ENDED,
}


def _frames(path: Path, base: int) -> Iterator[tuple[str, Sequence[Any]]]:
    sure: dict[int, int] = {}
    for number, line in _lines(path):
        try:
            entry = json.loads(line)
            connection = base + entry["conn"]
            match entry.get("kind"):
                case "trade":
                    yield "journal_trades", _trade(connection, entry)
                case "bookTicker":
                    yield "journal_quotes", _quote(connection, entry)
                case "malformed":
                    yield "journal_malformed", (connection, entry["text"])
                case "kline":
                    pass  # what it says is evidence about trades, not a record of its own
                case None:
                    sure[connection] = int(entry["event"] == "closed" and entry["by"] == "server")
                case other:
                    raise ValueError(f"kind was {other!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OracleError(f"journal {path} line {number} cannot be read: {error!r}") from error
    for item in sure.items():
        yield "connections", item


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """All whole lines: a last one without its end was torn by a kill, and its frame never sent."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield number, line
    except OSError as error:
        raise OracleError(f"journal {path} cannot be read: {error}") from error


def _trade(connection: int, entry: dict[str, Any]) -> tuple[Any, ...]:
    # The buyer stood in the book, so the seller came to it: the aggressor sold.
    side = "SELL" if entry["m"] else "BUY"
    price, quantity = unscaled(entry["price"]), unscaled(entry["qty"])
    return connection, entry["symbol"], entry["id"], entry["T"], price, quantity, side


def _quote(connection: int, entry: dict[str, Any]) -> tuple[Any, ...]:
    return connection, entry["symbol"], entry["u"], *(unscaled(entry[name]) for name in ("b", "B", "a", "A"))
