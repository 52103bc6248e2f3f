"""A market that goes on after a stop, a kill and a long pause."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from seamark.simulator.events import Trade
from seamark.simulator.faults import FrameFaults
from seamark.simulator.generator import GeneratorSource
from seamark.simulator.recording import RecordingSource
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

START_US = 1_800_000_000_000_000


def generator():
    return GeneratorSource(["BTCUSDT", "ETHUSDT"], 2_000, seed=11)


def recording(folder):
    return RecordingSource([write_recording(folder / "r.jsonl")])


async def play(folder, source, frames, **options):
    """Runs the simulator until a client has received `frames` frames; returns its state after."""
    async with running(folder, source, **options) as venue:
        socket = await venue.connect(f"/stream?streams={ALL_STREAMS}")
        for _ in range(frames):
            await receive_json(socket)
        reading = asyncio.create_task(drain(socket))
        await venue.simulator.stop()
        await reading
    return json.loads((folder / "state.json").read_text())


async def drain(socket):
    async for _ in socket:
        pass


def first_sends(lines):
    """Trades of a journal in the order each id was first sent: (symbol, id) -> content."""
    trades: dict[tuple[str, int], tuple[object, ...]] = {}
    for line in lines:
        if line.get("kind") == "trade":
            content = (line["price"], line["qty"], line["T"], line["m"])
            before = trades.setdefault((line["symbol"], line["id"]), content)
            assert before == content, "one id, two trades"
    return trades


@pytest.mark.parametrize("market", ["generator", "recording"])
def test_after_a_stop_ids_carry_on_and_nothing_is_sent_again(tmp_path, market):
    faults = FrameFaults(repeat_share=0, swap_share=0.2, malformed_interval_seconds=0)

    async def scenario():
        for _ in range(4):
            source = generator() if market == "generator" else recording(tmp_path)
            await play(tmp_path, source, 700, faults=faults)

    asyncio.run(scenario())
    lines = journal_lines(tmp_path)
    sent = [(line["symbol"], line["id"]) for line in lines if line.get("kind") == "trade"]
    assert len(sent) == len(set(sent)) == len(first_sends(lines))
    for symbol in {symbol for symbol, _ in sent}:
        ids = sorted(number for name, number in sent if name == symbol)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert [line["conn"] for line in lines if line.get("event") == "open"] == [1, 2, 3, 4]


def test_the_shift_is_kept_over_a_short_stop_and_grows_over_a_long_one(tmp_path):
    clock = [START_US]

    async def scenario():
        first = await play(tmp_path, recording(tmp_path), 50, now_us=lambda: clock[0])
        clock[0] += 30_000_000
        second = await play(tmp_path, recording(tmp_path), 50, now_us=lambda: clock[0])
        assert second["shift_us"] == first["shift_us"]
        assert second["cursor"]["position"] >= first["cursor"]["position"] + 50
        clock[0] += 3_600_000_000
        sent_before = len(journal_lines(tmp_path))
        third = await play(tmp_path, recording(tmp_path), 50, now_us=lambda: clock[0])
        assert third["shift_us"] > second["shift_us"]
        trades = first_sends(journal_lines(tmp_path)[sent_before:])
        assert abs(next(iter(trades.values()))[2] - clock[0]) <= 100_000  # the market opens at now

    asyncio.run(scenario())


def test_a_claim_left_by_a_kill_is_sent_again_when_due_and_not_before(tmp_path):
    clock = [START_US]

    async def scenario():
        state = await play(tmp_path, recording(tmp_path), 2, speed=1.0, now_us=lambda: clock[0])
        killed = {**state, "cursor": {"position": 0}, "claimed": 1_024}
        (tmp_path / "state.json").write_text(json.dumps(killed))
        clock[0] += 11_000
        async with running(tmp_path, recording(tmp_path), speed=1.0, now_us=lambda: clock[0]) as venue:
            socket = await venue.connect("/ws/btcusdt@trade")
            assert [(await receive_json(socket))["t"] for _ in range(4)] == [100, 101, 102, 103]
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.05)  # the next pair is due at 20 ms

    asyncio.run(scenario())


def test_a_claim_keeps_its_shift_through_a_stop_and_a_long_pause(tmp_path):
    clock = [START_US]

    async def scenario():
        state = await play(tmp_path, generator(), 1_500, now_us=lambda: clock[0])
        killed = {**state, "cursor": generator().cursor(), "claimed": 1_024}
        (tmp_path / "state.json").write_text(json.dumps(killed))
        # At speed 1 little of the claim is due; this run is stopped in the middle of it.
        state = await play(tmp_path, generator(), 1, speed=1.0, now_us=lambda: clock[0])
        assert 0 < state["cursor"]["position"] == 1_024 - state["claimed"] < 1_024
        clock[0] += 3_600_000_000
        await play(tmp_path, generator(), 3_000, now_us=lambda: clock[0])

    asyncio.run(scenario())
    events = [event for _, event in generator().take(1_024, 0)]
    claimed = {(event.symbol, event.trade_id) for event in events if isinstance(event, Trade)}
    trades = [line for line in journal_lines(tmp_path) if line.get("kind") == "trade"]
    of_claim = [line for line in trades if (line["symbol"], line["id"]) in claimed]
    assert len(of_claim) > len(claimed) == len(first_sends(of_claim))
    assert trades[-1]["T"] >= clock[0] - 100_000  # and after it, the market is at now


def test_after_a_kill_no_id_stands_for_two_trades_and_all_received_is_on_record(tmp_path):
    arguments = ["--rate-per-second", "3000", "--speed", "max", "--seed", "3", "--swap", "0.1"]

    async def scenario():
        received = []
        for _ in range(3):
            async with process(tmp_path, *arguments) as (simulator, port):
                received += await receive_some(port, 2_500)
                simulator.kill()
        return received

    received = asyncio.run(scenario())
    lines = journal_lines(tmp_path)
    on_record = first_sends(lines)
    for payload in received:
        if payload.get("e") == "trade" and len(payload["p"]) < 20:
            content = (payload["p"], payload["q"], payload["T"], payload["m"])
            assert on_record[payload["s"], payload["t"]] == content
    for symbol in ("BTCUSDT", "ETHUSDT"):
        ids = sorted(number for name, number in on_record if name == symbol)
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    resent = len([line for line in lines if line.get("kind") == "trade"]) - len(on_record)
    assert resent > 0  # a kill leaves at least a claim to be sent again
    assert not [line for line in lines if line.get("event") == "closed"]


def test_a_sigterm_ends_the_process_with_0_and_the_journal_with_a_close(tmp_path):
    async def scenario():
        async with process(tmp_path, "--speed", "max") as (simulator, port):
            async with aiohttp.ClientSession() as http:
                socket = await http.ws_connect(f"http://127.0.0.1:{port}/ws/btcusdt@trade")
                await socket.receive_str(timeout=DEADLINE_SECONDS)
                simulator.terminate()
                texts = await receive_until_closed(socket)
            assert await simulator.wait() == 0
        lines = journal_lines(tmp_path)
        assert (lines[-1]["event"], lines[-1]["by"], lines[-1]["frames"]) == (
            "closed",
            "server",
            len(texts) + 1,
        )

    asyncio.run(scenario())


def test_a_port_in_use_and_a_foreign_state_end_the_process_with_1(tmp_path):
    async def scenario():
        async with process(tmp_path) as (_, port):
            errors = await failure(tmp_path, "--port", str(port), "--journal", "other.jsonl")
            assert f"port {port} on 127.0.0.1 cannot be opened" in errors
        (tmp_path / "state.json").write_text('{"source":"other","cursor":{},"shift_us":0}')
        assert "belongs to 'other'" in await failure(tmp_path)

    asyncio.run(scenario())


def command(folder, *arguments):
    files = ["--journal", "journal.jsonl", "--state", "state.json", "--port-file", "port"]
    return asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "seamark.simulator", *files, *arguments),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def process(folder, *arguments):
    """A simulator in a process of its own, and its port; killed at the end if it still runs."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    simulator = await command(folder, *arguments)
    try:
        await until(lambda: port_file.exists() or simulator.returncode is not None)
        yield simulator, int(port_file.read_text())
    finally:
        if simulator.returncode is None:
            with suppress(ProcessLookupError):
                simulator.kill()
        await simulator.wait()


async def failure(folder, *arguments):
    """What a simulator that ends with 1 says."""
    simulator = await command(folder, *arguments)
    _, errors = await asyncio.wait_for(simulator.communicate(), DEADLINE_SECONDS)
    assert simulator.returncode == 1
    return errors.decode()


async def receive_some(port, frames):
    """Payloads of the first frames; those that are no JSON are left out."""
    url = f"http://127.0.0.1:{port}/ws/{ALL_STREAMS}?timeUnit=MICROSECOND"
    payloads = []
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(url)
        for _ in range(frames):
            with suppress(json.JSONDecodeError):
                payloads.append(json.loads(await socket.receive_str(timeout=DEADLINE_SECONDS)))
    return payloads
