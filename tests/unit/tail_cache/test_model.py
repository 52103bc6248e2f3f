"""Everything at once, in any order: what the tail serves is what the table comes to hold."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from seamark.lake.errors import CatalogUnavailable
from twins.lake import Answer
from unit.tail_cache.world import RETENTION_SECONDS, SYMBOLS, World


class TailMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder / "spill")
        self.served: dict[tuple[int, int], dict] = {}
        self.covered: set[tuple[int, int]] = set()

    @rule(symbol=st.sampled_from(SYMBOLS), count=st.integers(1, 5))
    def send(self, symbol, count):
        self.world.send(symbol, count)

    @rule(symbol=st.sampled_from(SYMBOLS))
    def skip_an_id_and_fill_it(self, symbol):
        self.world.ids[symbol] += 1
        self.world.send(symbol)
        self.world.ids[symbol] -= 2
        self.world.send(symbol)
        self.world.ids[symbol] += 1

    @rule(symbol=st.sampled_from(SYMBOLS))
    def reset(self, symbol):
        """The venue begins its numbers anew."""
        self.world.now_us += 61_000_000
        self.world.ids[symbol] = 0
        self.world.send(symbol, 2)

    @rule(back=st.integers(1, 8))
    def repeat(self, back):
        if self.world.sent:
            self.world.repeat(back)

    @rule(partition=st.integers(0, 1))
    def poison(self, partition):
        self.world.poison(partition)

    @rule()
    def read(self):
        self.world.read()

    @rule(seconds=st.sampled_from((1.0, 1.0, RETENTION_SECONDS)), down=st.booleans())
    def follow(self, seconds, down):
        self.world.table.answer = Answer.UNAVAILABLE if down else Answer.OK
        try:
            self.world.follow(seconds)
        except CatalogUnavailable:
            self.world.read()

    @rule(most=st.sampled_from((1, 2, 1 << 30)))
    def commit(self, most):
        self.world.table.answer = Answer.OK
        self.world.commit(most)

    @rule()
    def restart_the_writer(self):
        self.world.table.answer = Answer.OK
        self.world.start_writer()

    @rule()
    def restart_the_tail(self):
        self.world.start_tail()

    @rule(memory_bytes=st.sampled_from((1, 1 << 40)))
    def limit_memory(self, memory_bytes):
        self.world.store._cap_bytes = memory_bytes

    @invariant()
    def what_is_served_twice_is_the_same(self):
        """And nothing of [lo, hi) is served without its rows."""
        for where, view in self.world.views.items():
            if self.world.view(where.partition).blocks:
                assert view.blocks[0].lo == view.lo
                assert view.blocks[-1].hi == view.hi
            self.covered |= {(where.partition, offset) for offset in range(view.lo, view.hi)}
        for row in self.world.rows().to_dicts():
            place = (row["kafka_partition"], row["kafka_offset"])
            assert place in self.covered
            assert self.served.setdefault(place, row) == row

    def teardown(self) -> None:
        try:
            self.world.table.answer = Answer.OK
            self.world.commit()
            self.world.settle()
            self.world.read()
            self.what_is_served_twice_is_the_same()
            rows = {
                (row["kafka_partition"], row["kafka_offset"]): row
                for row in self.world.committed_rows().to_dicts()
            }
            assert self.served == {place: row for place, row in rows.items() if place in self.covered}
            assert self.world.metrics.counter_mismatches.labels("trades")._value.get() == 0
            assert self.world.metrics.drops.labels("trades")._value.get() == 0
        finally:
            self.world.spill.close()
            shutil.rmtree(self.folder)


TestTail = TailMachine.TestCase
TestTail.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
