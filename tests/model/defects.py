"""Named defects of commit, fold and state. Each must turn the model red: a judge that cannot fail is none."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np

from model.breaking import Defects, swap
from seamark.consumer_writer import adopt as adopt_module
from seamark.consumer_writer import batch as batch_module
from seamark.consumer_writer import table_writer as writer_module
from seamark.consumer_writer.decide import Landed, Stage, decide
from seamark.consumer_writer.table_writer import TableWriter
from seamark.lake.checkpoint import Counters
from seamark.lake.view import TableView
from seamark.sequencing import fold as fold_module
from seamark.sequencing.intervals import Intervals
from seamark.sequencing.state import PartitionState, QuoteSequence, TradeSequence
from seamark.stream import observe as observe_module
from twins.lake import MemoryStates, MemoryTable

DEFECTS = Defects()
defect = DEFECTS.named


@defect("drop one row of a batch")
def _(stack):
    swap(stack, batch_module, "batch_rows", lambda real: lambda *a: real(*a)[:-1])


@defect("write one row twice")
def _(stack):
    def doubled(real):
        def rows(*arguments):
            table = real(*arguments)
            return writer_pa.concat_tables([table, table[:1]])

        return rows

    import pyarrow as writer_pa

    swap(stack, batch_module, "batch_rows", doubled)


@defect("H moves by a commit that only sets properties")
def _(stack):
    def apply(real):
        def property_only(self, view, change):
            if change.files:
                return real(self, view, change)
            self.properties.update(change.properties)  # what catalogs do: no head to compare
            return None

        return property_only

    swap(stack, MemoryTable, "apply", apply)


@defect("no compare: the batch is staged on whatever is there")
def _(stack):
    def careless(real):
        def decision(view, batch, attempt, uuid):
            found = real(view, batch, attempt, uuid)
            if isinstance(found, Stage | Landed):
                return found
            points = view.checkpoints
            moved = {
                where: replace(
                    points[where].advanced(r.next, r.leader_epoch, r.append_us, r.counters),
                    batch_id=batch.batch_id,
                    attempt=attempt,
                )
                for where, r in batch.ranges.items()
            }
            return Stage({**points, **moved}, moved)

        return decision

    swap(stack, writer_module, "decide", careless)


@defect("<= for < in the compare: a batch may begin before next")
def _(stack):
    def lenient(real):
        def decision(view, batch, attempt, uuid):
            ranges = {where: replace(r, first=r.first, next=r.next) for where, r in batch.ranges.items()}
            points = view.checkpoints
            if all(where in points and r.first <= points[where].next for where, r in ranges.items()):
                moved = {
                    where: replace(
                        points[where].advanced(r.next, r.leader_epoch, r.append_us, r.counters),
                        batch_id=batch.batch_id,
                        attempt=attempt,
                    )
                    for where, r in ranges.items()
                }
                if any(points[where].batch_id == batch.batch_id for where in ranges):
                    return Landed()
                return Stage({**points, **moved}, moved)
            return real(view, batch, attempt, uuid)

        return decision

    swap(stack, writer_module, "decide", lenient)


@defect("a landed batch is not recognised: it is staged again from where the table is")
def _(stack):
    def forgetful(real):
        def decision(view, batch, attempt, uuid):
            found = decide(view, batch, attempt, uuid)
            if not isinstance(found, Landed):
                return found
            points = view.checkpoints
            moved = {where: replace(points[where], attempt=attempt) for where in batch.ranges}
            return Stage({**points, **moved}, moved)

        return decision

    swap(stack, writer_module, "decide", forgetful)


@defect("the head requirement is left out")
def _(stack):
    def apply(real):
        def headless(self, view, change):
            real(self, replace(view, head_id=self.head), change)

        return headless

    swap(stack, MemoryTable, "apply", apply)


@defect("a rollback of the branch is not noticed")
def _(stack):
    swap(stack, TableView, "rolled_back", lambda real: lambda self: None)


@defect("warm-up instead of state: a writer begins with an empty state")
def _(stack):
    swap(
        stack,
        writer_module,
        "restore",
        lambda real: lambda table, view, store, kind, wanted, note: {w: PartitionState() for w in wanted},
    )


@defect("stale state after a fence: the position is restored, the state is not")
def _(stack):
    def assign(real):
        def keeping(self, wanted):
            kept = getattr(self, "_kept_states", {})
            starts = real(self, wanted)
            for topic in starts:
                if topic in kept:
                    self._partitions[topic].place.state = kept[topic]
            return starts

        return keeping

    def release(real):
        def remembering(self, gone):
            gone = list(gone)
            kept = self.__dict__.setdefault("_kept_states", {})
            for topic in gone:
                if topic in self._partitions:
                    kept[topic] = self._partitions[topic].place.state
            real(self, gone)

        return remembering

    swap(stack, TableWriter, "assign", assign)
    swap(stack, TableWriter, "release", release)


@defect("the state file holds what was read after the batch was sealed")
def _(stack):
    def prepare(real):
        def late(self, batch, now_ms):
            ranges = {
                where: replace(
                    r,
                    state=next(
                        (p.place.state for p in self._partitions.values() if p.place.where == where),
                        r.state,
                    ),
                )
                for where, r in batch.ranges.items()
            }
            return real(self, replace(batch, ranges=ranges), now_ms)

        return late

    swap(stack, TableWriter, "prepare", prepare)


@defect("a replayed offset counts as a duplicate")
def _(stack):
    def observe(real):
        def counting(self, runs):
            for run in runs:
                part = self._partitions.get(run.where)
                if part is not None and len(run.offsets) and run.offsets[0] < part.place.position:
                    part.counters += Counters(duplicate=1)
            return real(self, runs)

        return counting

    swap(stack, TableWriter, "observe", observe)


@defect("a rebuilt state forgets the epochs before the newest")
def _(stack):
    from seamark.lake import states as states_module

    def forgetting(real):
        def rebuild(*arguments):
            return {
                where: PartitionState(
                    state.append_us,
                    {
                        key: TradeSequence(sequence.epochs[-1:], sequence.greatest_us)
                        for key, sequence in state.trades.items()
                    },
                    {
                        key: QuoteSequence(0, sequence.greatest_id, sequence.greatest_us)
                        for key, sequence in state.quotes.items()
                    },
                )
                for where, state in real(*arguments).items()
            }

        return rebuild

    swap(stack, states_module, "rebuild", forgetting)


@defect("a damaged state file is taken for an empty one")
def _(stack):
    from seamark.lake import states as states_module

    def load(real):
        def trusting(data):
            try:
                return real(data)
            except ValueError:
                return _Empty()

        return trusting

    swap(stack, states_module, "load", load)


class _Empty(dict[str, PartitionState]):
    def __missing__(self, name):
        return PartitionState()


@defect("adopt begins a succeeding stream with empty states")
def _(stack):
    swap(
        stack,
        adopt_module,
        "reroute",
        lambda real: lambda states, partitions, of: [PartitionState() for _ in range(partitions)],
    )


@defect("reset of ids is taken for repeats")
def _(stack):
    def trades(real):
        def blind(before, ids, venue_us):
            return real(
                before,
                ids,
                np.minimum(venue_us, before.greatest_us if len(before.epochs[-1].ids.ends) else venue_us),
            )

        return blind

    swap(stack, fold_module, "fold_trades", trades)
    stack.enter_context(patch.object(fold_module, "QUOTE_RESET_US", 10**15))


@defect("only the greatest id is remembered: a late trade is a repeat")
def _(stack):
    def contains(real):
        def below(self, ids):
            return ids <= self.ends[-1] if len(self.ends) else np.zeros(len(ids), dtype=np.bool_)

        return below

    swap(stack, Intervals, "contains", contains)
    swap(stack, fold_module, "QUOTE_RESET_US", lambda real: -1)


@defect("the append time is not a running maximum")
def _(stack):
    def times(real):
        def raw(state, append_us):
            return append_us, real(state, append_us)[1]

        return raw

    swap(stack, observe_module, "append_times", times)


@defect("a refused record is not counted")
def _(stack):
    def take(real):
        def forgetting(self, observed):
            letters = len(observed.rejects)
            miscounted = observed.counters + Counters(dlq=-letters, duplicate=letters)
            real(self, replace(observed, counters=miscounted))

        return forgetting

    swap(stack, TableWriter, "_take", take)


@defect("expiry removes the snapshot that the head's checkpoint is read from")
def _(stack):
    def expirable(real):
        def greedy(view, policy, now_ms):
            own = view.own_summary(view.head_id)
            replaced = own is not None and own.snapshot_id != view.head_id
            return (own.snapshot_id,) if replaced else real(view, policy, now_ms)

        return greedy

    swap(stack, writer_module, "expirable", expirable)


@defect("reading begins at H without its leader epoch: a truncation while it is read is read over")
def _(stack):
    def assign(real):
        def epochless(self, wanted):
            return {where: replace(start, leader_epoch=-1) for where, start in real(self, wanted).items()}

        return epochless

    swap(stack, TableWriter, "assign", assign)


@defect("the leader epoch at H-1 is not compared: a truncation before the start is read over")
def _(stack):
    def logs(real):
        def unread(cluster, points):
            return {
                topic: replace(found, epoch=points[topic].leader_epoch)
                for topic, found in real(cluster, points).items()
            }

        return unread

    swap(stack, writer_module, "find_logs", logs)


@defect("a lost state file is an empty state")
def _(stack):
    from seamark.sequencing.state import dump

    class Forgiving(_Empty):
        pass

    def get(real):
        def empty(self, name):
            if name not in self.files:
                return dump({f"{stream}.{p}": PartitionState() for stream in range(1, 30) for p in range(8)})
            return real(self, name)

        return empty

    swap(stack, MemoryStates, "get", get)
