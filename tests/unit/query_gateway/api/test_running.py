from __future__ import annotations

import asyncio

import pytest

from seamark.query_gateway.errors import Cancelled
from seamark.query_gateway.running import Call, Registry


def test_what_runs_is_listed_until_it_ends():
    async def scenario() -> None:
        registry = Registry()
        async with registry.begin("alice", "trades of BTCUSDT", 5.0, "c1") as call:
            call.rows = 7
            (one,) = registry.running()
            assert (one.query_id, one.caller, one.text, one.rows) == (
                call.query_id,
                "alice",
                "trades of BTCUSDT",
                7,
            )
            assert call.deadline_seconds - one.began_at == pytest.approx(5.0, abs=0.01)
        assert registry.running() == []
        assert call.cancelled.is_set()  # threads that are behind it have nobody to work for
        assert not registry.cancel(call.query_id)

    asyncio.run(scenario())


def test_stopping_interrupts_the_wait_and_says_why():
    async def scenario() -> None:
        registry = Registry()
        begun: asyncio.Future[Call] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            async with registry.begin("alice", "", 5.0) as call:
                begun.set_result(call)
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        call = await begun
        assert registry.cancel(call.query_id, "stopped by bob")
        assert call.cancelled.is_set()
        with pytest.raises(Cancelled, match="stopped by bob"):
            await task
        assert not task.cancelled()

    asyncio.run(scenario())


def test_a_task_that_is_cancelled_from_outside_stays_cancelled():
    async def scenario() -> None:
        registry = Registry()
        begun: asyncio.Future[Call] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            async with registry.begin("alice", "", 5.0) as call:
                begun.set_result(call)
                await asyncio.Event().wait()

        for also_stopped in (False, True):
            begun = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(work())
            call = await begun
            task.cancel()
            if also_stopped:
                registry.cancel(call.query_id)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert registry.running() == []
            assert call.cancelled.is_set()

    asyncio.run(scenario())
