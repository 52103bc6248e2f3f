"""The simulator as a client meets it, on loopback."""

import asyncio
import json

import aiohttp
import pytest

from seamark.simulator.connection import ConnectionLimits
from seamark.simulator.faults import FrameFaults
from seamark.simulator.generator import GeneratorSource
from seamark.simulator.recording import RecordingSource
from seamark.simulator.rest import RequestWeights
from unit.simulator.venue import (
    ALL_STREAMS,
    DEADLINE_SECONDS,
    journal_lines,
    receive_json,
    receive_until_closed,
    running,
    until,
    write_recording,
)


@pytest.fixture
def source(tmp_path):
    return RecordingSource([write_recording(tmp_path / "r.jsonl")])


def trade_ids(texts):
    payloads = [json.loads(text) for text in texts]
    return [payload["t"] for payload in payloads if "t" in payload]


def test_frames_are_raw_or_combined_in_milliseconds_or_microseconds(tmp_path, source):
    async def scenario():
        async with running(tmp_path, source) as venue:
            raw = await venue.connect("/ws/btcusdt@trade")
            first = await receive_json(raw)
            assert list(first) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
            assert len(str(first["T"])) == len(str(first["E"])) == 13
            combined = await venue.connect("/stream?streams=btcusdt@trade&timeUnit=MICROSECOND")
            second = await receive_json(combined)
            assert second["stream"] == "btcusdt@trade"
            assert len(str(second["data"]["T"])) == len(str(second["data"]["E"])) == 16

    asyncio.run(scenario())


def test_an_unknown_time_unit_or_too_many_streams_are_refused(tmp_path, source):
    async def scenario():
        async with running(tmp_path, source) as venue:
            names = "/".join(f"symbol{n}usdt@trade" for n in range(1_025))
            for path in ("/ws?timeUnit=NANOSECOND", f"/stream?streams={names}"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await venue.connect(path)
                assert refused.value.status == 400
            await venue.connect(f"/stream?streams={names.rpartition('/')[0]}")

    asyncio.run(scenario())


def test_streams_come_and_go_by_request_and_unknown_ones_stay_silent(tmp_path, source):
    async def scenario():
        async with running(tmp_path, source) as venue:
            socket = await venue.connect("/ws")
            await socket.send_str('{"method":"SUBSCRIBE","params":["nobody@trade"],"id":1}')
            assert await receive_json(socket) == {"result": None, "id": 1}
            await socket.send_str('{"method":"SUBSCRIBE","params":["btcusdt@bookTicker"],"id":"b"}')
            assert await receive_json(socket) == {"result": None, "id": "b"}
            assert list(await receive_json(socket)) == ["u", "s", "b", "B", "a", "A"]
            await socket.send_str('{"method":"UNSUBSCRIBE","params":["btcusdt@bookTicker"],"id":2}')
            while (await receive_json(socket)) != {"result": None, "id": 2}:
                pass
            await socket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":3}')
            assert await receive_json(socket) == {"result": ["nobody@trade"], "id": 3}

    asyncio.run(scenario())


def test_the_first_frame_is_now_and_nothing_is_played_to_nobody(tmp_path, source):
    now_us = 1_800_000_000_000_000

    async def scenario():
        async with running(tmp_path, source, now_us=lambda: now_us) as venue:
            idle = await venue.connect("/ws")
            await idle.send_str('{"method":"LIST_SUBSCRIPTIONS","id":3}')
            await receive_json(idle)
            assert not source.position()
            socket = await venue.connect("/ws/btcusdt@trade?timeUnit=MICROSECOND")
            assert (await receive_json(socket))["E"] == now_us

    asyncio.run(scenario())


def test_frames_come_at_the_speed_asked(tmp_path, source):
    clock = [1_800_000_000_000_000]

    async def scenario():
        async with running(tmp_path, source, speed=2.0, now_us=lambda: clock[0]) as venue:
            socket = await venue.connect("/ws/btcusdt@trade")
            assert [(await receive_json(socket))["t"] for _ in range(1)] == [100]
            clock[0] += 5_500  # 11 ms of market time: the second pair, 10 ms later
            assert [(await receive_json(socket))["t"] for _ in range(3)] == [101, 102, 103]
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.05)

    asyncio.run(scenario())


def test_a_ping_carries_a_payload_and_a_client_without_pong_is_cut(tmp_path, source):
    limits = ConnectionLimits(ping_interval_seconds=0.02, pong_timeout_seconds=0.1)

    async def scenario():
        async with running(tmp_path, source, limits=limits) as venue:
            silent = await venue.connect("/ws", autoping=False)
            assert (await silent.receive(timeout=DEADLINE_SECONDS)).data
            await until(lambda: journal_lines(tmp_path)[-1]["event"] == "cut")
        assert journal_lines(tmp_path)[-1] | {"time_us": 0} == {
            "conn": 1,
            "event": "cut",
            "time_us": 0,
            "by": "server",
            "reason": "no pong in time",
            "frames": 0,
        }

    asyncio.run(scenario())


def test_a_client_that_echoes_pings_stays(tmp_path, source):
    limits = ConnectionLimits(
        ping_interval_seconds=0.02, pong_timeout_seconds=0.05, messages_per_second=1_000
    )

    async def scenario():
        async with running(tmp_path, source, limits=limits) as venue:
            socket = await venue.connect("/ws", autoping=False)
            for _ in range(10):
                message = await socket.receive(timeout=DEADLINE_SECONDS)
                assert message.type is aiohttp.WSMsgType.PING
                await socket.pong(message.data)

    asyncio.run(scenario())


@pytest.mark.parametrize("message", ["ping", "pong", "request"])
def test_the_sixth_message_in_a_second_disconnects(tmp_path, source, message):
    async def scenario():
        async with running(tmp_path, source) as venue:
            socket = await venue.connect("/ws")
            for number in range(6):
                if message == "request":
                    await socket.send_str(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
                else:
                    await (socket.ping() if message == "ping" else socket.pong())
            replies = await receive_until_closed(socket)
            assert len(replies) == (5 if message == "request" else 0)
            assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION

    asyncio.run(scenario())


def test_a_stop_sends_all_then_closes_and_the_journal_is_what_was_received(tmp_path):
    source = GeneratorSource(["BTCUSDT", "ETHUSDT"], 1_000, seed=5)
    faults = FrameFaults(repeat_share=0.05, swap_share=0.05, malformed_interval_seconds=1)

    async def scenario():
        async with running(tmp_path, source, faults=faults) as venue:
            socket = await venue.connect(f"/stream?streams={ALL_STREAMS}&timeUnit=MICROSECOND")
            received = [await socket.receive_str() for _ in range(4_000)]
            async with venue.http.post(venue.url("/simulator/stop")) as response:
                assert response.status == 200
            rest = asyncio.create_task(receive_until_closed(socket))
            await venue.simulator.wait()
            await venue.simulator.stop()
            received += await rest
            assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
        opened, *frames, closed = journal_lines(tmp_path)
        assert (opened["event"], closed["event"], closed["by"]) == ("open", "closed", "server")
        assert closed["frames"] == len(frames) == len(received)
        assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
        for frame, text in zip(frames, received, strict=True):
            check_frame(frame, text)
        assert {frame["kind"] for frame in frames} == {"trade", "bookTicker", "malformed"}

    asyncio.run(scenario())


def check_frame(frame, text):
    if frame["kind"] == "malformed":
        assert frame["text"] == text
        return
    payload = json.loads(text)
    assert payload["stream"] == frame["stream"]
    data = payload["data"]
    assert data["s"] == frame["symbol"]
    if frame["kind"] == "trade":
        names = {"t": "id", "p": "price", "q": "qty", "T": "T", "m": "m"}
    else:
        names = {name: name for name in "ubBaA"}
    assert {theirs: data[ours] for ours, theirs in names.items()} == {
        theirs: frame[theirs] for theirs in names.values()
    }


def test_a_client_that_vanishes_is_cut_and_one_that_says_goodbye_is_closed(tmp_path, source):
    async def scenario():
        async with running(tmp_path, source) as venue:
            vanishing = await venue.connect("/ws/btcusdt@trade")
            await receive_json(vanishing)
            vanishing._response.connection.transport.abort()
            await until(lambda: journal_lines(tmp_path)[-1].get("event") == "cut")
            polite = await venue.connect("/ws/btcusdt@trade")
            await receive_json(polite)
            await polite.close()
        ends = {line["conn"]: line for line in journal_lines(tmp_path) if line.get("event") != "open"}
        events = [line for line in ends.values() if "event" in line]
        assert [(line["conn"], line["event"], line["by"]) for line in events] == [
            (1, "cut", "client"),
            (2, "closed", "client"),
        ]

    asyncio.run(scenario())


def test_a_client_that_reads_too_slowly_is_cut_at_speed(tmp_path):
    source = GeneratorSource(["BTCUSDT"], 500_000, seed=1)
    limits = ConnectionLimits(unsent_bytes=100_000)

    async def scenario():
        async with running(tmp_path, source, speed=1_000.0, limits=limits) as venue:
            slow = await venue.connect("/ws/btcusdt@trade")
            slow._response.connection.transport.pause_reading()
            await until(lambda: "reads too slowly" in (tmp_path / "journal.jsonl").read_text())
            quick = await venue.connect("/ws/nobody@trade")  # the venue lives on
            await quick.close()
        cut = next(line for line in journal_lines(tmp_path) if line.get("event") == "cut")
        assert (cut["conn"], cut["by"]) == (1, "server")

    asyncio.run(scenario())


def test_at_full_speed_the_market_waits_for_a_slow_client(tmp_path):
    source = GeneratorSource(["BTCUSDT"], 10_000, seed=1)

    async def scenario():
        async with running(tmp_path, source) as venue:
            slow = await venue.connect("/ws/btcusdt@trade")
            transport = slow._response.connection.transport
            transport.pause_reading()
            _, before = await venue.get("/simulator/status")
            while True:
                await asyncio.sleep(0.1)
                _, status = await venue.get("/simulator/status")
                if status["frames_sent"] == before["frames_sent"] > 0:
                    break
                before = status
            transport.resume_reading()
            async with asyncio.timeout(DEADLINE_SECONDS):
                # Frames are taken as well: the client's own queue would stop reading again.
                while venue.simulator._hub.frames_sent == before["frames_sent"]:
                    await slow.receive()
        assert journal_lines(tmp_path)[-1]["event"] == "closed"

    asyncio.run(scenario())


def test_rest_tells_time_and_instruments_with_weights(tmp_path, source):
    now_us = 1_800_000_000_123_456

    async def scenario():
        async with running(tmp_path, source, now_us=lambda: now_us) as venue:
            response, body = await venue.get("/api/v3/time")
            assert body == {"serverTime": now_us // 1000}
            assert response.headers["X-MBX-USED-WEIGHT-1M"] == "1"
            _, body = await venue.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": "MICROSECOND"})
            assert body == {"serverTime": now_us}
            response, body = await venue.get("/api/v3/exchangeInfo", params={"symbols": '["BTCUSDT"]'})
            assert response.headers["X-MBX-USED-WEIGHT-1M"] == "22"
            (symbol,) = body["symbols"]
            assert (symbol["symbol"], symbol["status"]) == ("BTCUSDT", "TRADING")
            assert (symbol["baseAsset"], symbol["quoteAsset"]) == ("BTC", "USDT")
            filters = {each["filterType"]: each for each in symbol["filters"]}
            assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
            assert filters["LOT_SIZE"]["stepSize"] == "0.00100000"
            for parameters, code in (({"symbol": "NONE"}, -1121), ({"symbols": "BTCUSDT"}, -1100)):
                response, body = await venue.get("/api/v3/exchangeInfo", params=parameters)
                assert (response.status, body["code"]) == (400, code)

    asyncio.run(scenario())


def test_too_much_weight_is_refused_until_the_minute_ends(tmp_path, source):
    clock = [1_800_000_015_000_000]  # 15 s into a minute

    async def scenario():
        weights = RequestWeights(limit=2)
        async with running(tmp_path, source, weights=weights, now_us=lambda: clock[0]) as venue:
            statuses = [(await venue.get("/api/v3/time"))[0].status for _ in range(3)]
            assert statuses == [200, 200, 429]
            response, body = await venue.get("/api/v3/time")
            assert (body["code"], response.headers["Retry-After"]) == (-1003, "45")
            clock[0] += 45_000_000
            response, _ = await venue.get("/api/v3/time")
            assert (response.status, response.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "1")

    asyncio.run(scenario())


def test_every_fault_is_counted(tmp_path):
    source = GeneratorSource(["BTCUSDT", "ETHUSDT"], 500, seed=5)

    async def scenario():
        async with running(tmp_path, source, faults=FrameFaults(malformed_interval_seconds=1)) as venue:
            socket = await venue.connect(f"/stream?streams={ALL_STREAMS}")
            for _ in range(10_000):
                await socket.receive_str()
            _, status = await venue.get("/simulator/status")
            assert set(status) == {
                *("connections", "frames_sent", "position", "shift_us"),
                *("repeated", "swapped", "malformed"),
            }
            await socket.close()
        sent = sum(line.get("kind") == "malformed" for line in journal_lines(tmp_path))
        assert status["malformed"] <= sent and min(status.values()) > 0

    asyncio.run(scenario())
