"""Frames as the venue writes them: JSON text, raw or combined, in milliseconds or microseconds."""

from enum import Enum
from typing import NamedTuple

from .events import Kline, Malformed, MarketEvent, Trade


class TimeUnit(Enum):
    """The unit of times in frames; microseconds on request (`timeUnit=MICROSECOND`)."""

    MILLISECOND = "MILLISECOND"
    MICROSECOND = "MICROSECOND"


class FrameFormat(NamedTuple):
    """How a connection wants its frames. Combined frames name their stream around the payload."""

    combined: bool
    time_unit: TimeUnit


def payload_text(event: MarketEvent, time_unit: TimeUnit) -> str:
    """The raw payload of an event, fields in the venue's order. A book ticker carries no time."""
    if isinstance(event, Malformed):
        return payload_text(event.trade, time_unit)
    if isinstance(event, Trade):
        event_time, trade_time = event.event_time_us, event.trade_time_us
        if time_unit is TimeUnit.MILLISECOND:
            event_time, trade_time = event_time // 1000, trade_time // 1000
        maker = "true" if event.buyer_is_maker else "false"
        return (
            f'{{"e":"trade","E":{event_time},"s":"{event.symbol}","t":{event.trade_id},"p":"{event.price}",'
            f'"q":"{event.quantity}","T":{trade_time},"m":{maker},"M":true}}'
        )
    if isinstance(event, Kline):
        return _kline_text(event, 1000 if time_unit is TimeUnit.MILLISECOND else 1)
    return (
        f'{{"u":{event.update_id},"s":"{event.symbol}","b":"{event.bid_price}","B":"{event.bid_quantity}",'
        f'"a":"{event.ask_price}","A":"{event.ask_quantity}"}}'
    )


def _kline_text(kline: Kline, unit_us: int) -> str:
    """The last moment of the interval is its end less one unit of time."""
    return (
        f'{{"e":"kline","E":{kline.event_time_us // unit_us},"s":"{kline.symbol}","k":{{'
        f'"t":{kline.start_us // unit_us},"T":{kline.end_us // unit_us - 1},"s":"{kline.symbol}","i":"1m",'
        f'"f":{kline.first_id},"L":{kline.last_id},"o":"{kline.open}","c":"{kline.close}","h":"{kline.high}",'
        f'"l":"{kline.low}","v":"{kline.volume:.8f}","n":{kline.trades},'
        f'"x":{"true" if kline.closed else "false"},"q":"{kline.quote_volume:.8f}",'
        f'"V":"{kline.taker_volume:.8f}","Q":"{kline.taker_quote_volume:.8f}","B":"0"}}}}'
    )


def frame_text(event: MarketEvent, form: FrameFormat) -> str:
    """The text of the frame a connection of this format receives."""
    text = payload_text(event, form.time_unit)
    if form.combined:
        text = f'{{"stream":"{event.stream}","data":{text}}}'
    if isinstance(event, Malformed) and event.truncated:
        text = text[: len(text) * 2 // 3]
    return text


def websocket_text_frame(text: str) -> bytes:
    """The text as one unmasked, unfragmented server-to-client frame (RFC 6455, section 5.2).

    Market frames are written many at a time, in one call to the transport; hence not by the
    WebSocket library, which writes each by itself. Text is ASCII and shorter than 64 KiB.
    """
    payload = text.encode("ascii")
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    return b"\x81\x7e" + length.to_bytes(2, "big") + payload
