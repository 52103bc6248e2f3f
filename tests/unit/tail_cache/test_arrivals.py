"""Waiting for more of the log: woken when there is more, and by nothing else."""

import asyncio
import threading
import time
from functools import partial

from seamark.tail_cache.arrivals import Arrivals


def test_what_is_true_already_is_not_waited_for():
    async def run() -> bool:
        return await Arrivals(asyncio.get_running_loop()).until(lambda: True, time.monotonic() - 1)

    assert asyncio.run(run())


def test_all_who_wait_are_woken_from_another_thread_each_when_its_own_is_there():
    async def run() -> list[bool]:
        arrivals = Arrivals(asyncio.get_running_loop())
        reached = 0
        asked: list[int] = []

        def produce() -> None:
            nonlocal reached
            for number in range(1, 101):
                reached = number
                arrivals.notify()

        def at_least(number: int) -> bool:
            asked.append(number)
            return reached >= number

        deadline = time.monotonic() + 30
        waits = [arrivals.until(partial(at_least, number), deadline) for number in (1, 50, 100, 100)]
        thread = threading.Thread(target=produce)
        gathered = asyncio.gather(*waits)
        await asyncio.sleep(0)
        thread.start()
        result = await gathered
        thread.join()
        assert len(asked) < 1_000  # nobody polls
        return result

    assert asyncio.run(run()) == [True] * 4


def test_a_wait_ends_at_its_deadline_and_leaves_nothing_behind():
    async def run() -> tuple[bool, set]:
        arrivals = Arrivals(asyncio.get_running_loop())
        answer = await arrivals.until(lambda: False, time.monotonic() + 0.02)
        return answer, arrivals._waiting

    assert asyncio.run(run()) == (False, set())


def test_a_wait_that_is_cancelled_leaves_nothing_behind():
    async def run() -> set:
        arrivals = Arrivals(asyncio.get_running_loop())
        waiting = asyncio.ensure_future(arrivals.until(lambda: False, time.monotonic() + 60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return arrivals._waiting

    assert asyncio.run(run()) == set()
