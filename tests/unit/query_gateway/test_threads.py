"""What waits for another service takes no thread from what does not."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from seamark.market.predicate import Predicate
from seamark.query_gateway.errors import TooCostly
from seamark.query_gateway.ordered_rows import collect, ordered_frames
from seamark.query_gateway.threads import OwnThreads, Threads
from unit.query_gateway.world import COLUMNS, History, crossing


def test_what_is_more_than_threads_and_places_is_refused():
    async def run():
        threads, go = Threads("Trino", 1, 1), threading.Event()
        jobs = [asyncio.create_task(threads.run(lambda: go.wait(20))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(
            TooCostly, match="reads of Trino under way were 2, must be fewer than 2"
        ) as refused:
            await threads.run(lambda: None)
        assert refused.value.retry_after_seconds == 1
        go.set()
        assert await asyncio.gather(*jobs) == [True, True]
        assert await threads.run(lambda: 7) == 7
        threads.close()

    asyncio.run(run())


def test_who_leaves_before_its_turn_gives_up_the_place():
    async def run():
        threads, go = Threads("Trino", 1, 1), threading.Event()
        jobs = [asyncio.create_task(threads.run(lambda: go.wait(20))) for _ in range(2)]
        await asyncio.sleep(0.05)
        jobs[1].cancel()
        await asyncio.wait([jobs[1]])
        third = asyncio.create_task(threads.run(lambda: 3))
        await asyncio.sleep(0.05)
        go.set()
        assert await third == 3
        await jobs[0]
        threads.close()

    asyncio.run(run())


class Slow(History, OwnThreads):
    """A history of another service that does not answer."""

    def __init__(self, world, go):
        super().__init__(world)
        self.threads, self.go, self.begun = Threads("Trino", 2, 1), go, threading.Semaphore(0)

    def read(self, plan, window, below, cancelled):
        self.begun.release()
        assert self.go.wait(20)
        yield from super().read(plan, window, below, cancelled)


def test_a_direct_read_goes_on_while_another_service_has_all_its_threads():
    world = crossing()
    slow = Slow(world, threading.Event())
    opened = world.open()
    plan = slow.plan(opened.pin, Predicate(), COLUMNS)

    async def run():
        # Of the shared threads there is one, as good as none where slow reads could take it.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

        def ask(history):
            return asyncio.create_task(
                collect(ordered_frames(opened, history, plan, COLUMNS, world.call(), limit=0))
            )

        jobs = [ask(slow) for _ in range(3)]
        while not slow.begun.acquire(blocking=False):
            await asyncio.sleep(0.001)
        direct = await asyncio.wait_for(ask(world.history_source), 5)
        with pytest.raises(TooCostly):
            await ask(slow)
        slow.go.set()
        for rows in await asyncio.gather(*jobs):
            assert rows.equals(direct)
        slow.threads.close()

    try:
        world.run(run())
    finally:
        world.loop.close()
