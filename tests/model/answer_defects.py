"""Named defects of the read side. Each must turn the model red."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from unittest.mock import patch

import polars as pl

from model.breaking import Defects, swap
from seamark.consumer_writer.table_writer import TableWriter
from seamark.lake.foreign import FOREIGN
from seamark.market.schema import RecordKind
from seamark.query_gateway import gateway as gateway_module
from seamark.query_gateway import opening as opening_module
from seamark.query_gateway import ordered_rows as order_module
from seamark.query_gateway import reading as reading_module
from seamark.query_gateway import seam as seam_module
from seamark.query_gateway.log_fill import Filled, LogFill
from seamark.query_gateway.opening import Opening
from seamark.query_gateway.want import Want
from twins import gateway_sources as sources
from twins.gateway_sources import MemoryTail

ANSWER_DEFECTS = Defects()
defect = ANSWER_DEFECTS.named


@defect("the seam is one offset beyond H")
def _(stack):
    swap(stack, seam_module, "start_of", lambda real: lambda pin, where: real(pin, where) + 1)


@defect("<= for < at the seam: the tail is read from one offset before H")
def _(stack):
    swap(
        stack,
        reading_module,
        "asked_ranges",
        lambda real: lambda *a: [replace(one, first=max(0, one.first - 1)) for one in real(*a)],
    )


@defect("what the tail does not have is not missed")
def _(stack):
    swap(stack, reading_module, "holes", lambda real: lambda *a: [])


@defect("holes are reported as filled")
def _(stack):
    async def fill(self, pin, found, predicate, columns, deadline_seconds):
        return Filled()

    stack.enter_context(patch.object(LogFill, "fill", fill))


@defect("a newer pin: rows that it has are given again from the tail")
def _(stack):
    def given_again(real):
        calls = count()
        # Of `below(end) & ~below(watermark)` the second part lets everything pass.
        return lambda vector: pl.lit(value=False) if next(calls) % 2 else real(vector)

    swap(stack, reading_module, "below", given_again)


@defect("history at the head, not at the pinned snapshot")
def _(stack):
    def plan(real):
        def newest(self, pin, predicate, columns):
            head = self.tables[RecordKind(pin.table)].head
            return real(self, replace(pin, snapshot_id=head), predicate, columns)

        return newest

    swap(stack, sources.MemoryHistory, "plan", plan)


@defect("rows at and beyond E are not left out of history")
def _(stack):
    swap(stack, reading_module, "time_travels", lambda real: lambda pin, end: False)


@defect("<= for < below E")
def _(stack):
    swap(
        stack,
        sources,
        "below_vector",
        lambda real: lambda vector: real({where: offset + 1 for where, offset in vector.items()}),
    )


@defect("E moves between pages: a page is the latest anew")
def _(stack):
    swap(
        stack,
        gateway_module,
        "want_of_cursor",
        lambda real: lambda *arguments: Want(),
    )


@defect("a page begins with the last row of the page before")
def _(stack):
    def behind(real):
        def inclusive(kind, position, descending):
            *keys, offset = position
            return real(kind, (*keys, offset + 1 if descending else offset - 1), descending)

        return inclusive

    swap(stack, order_module, "behind", behind)


@defect("a page's rows of the tail are counted from the first page on")
def _(stack):
    swap(stack, opening_module, "Nearest", lambda real: lambda rows, latest, after_us: real(rows, latest))


@defect("the tail gives what is nearest from the wrong end")
def _(stack):
    swap(stack, opening_module, "Nearest", lambda real: lambda rows, latest, after_us: real(rows, not latest))


@defect("history is left out as soon as the tail has rows enough, of whatever time")
def _(stack):
    def enough(real):
        return lambda table, plan, nearest: nearest.latest and sum(map(len, table.tail)) >= nearest.rows

    swap(stack, opening_module, "tail_suffices", enough)


@defect("a window is left out")
def _(stack):
    def windows(real):
        def fewer(self, target_rows):
            return real(self, target_rows)[:-1] or real(self, target_rows)

        return fewer

    swap(stack, sources.MemoryPlan, "windows", windows)


@defect("the tail's rows are given with every window")
def _(stack):
    swap(stack, order_module, "inside", lambda real: lambda window: real(type(window)()))


@defect("order by offset, not by the total order")
def _(stack):
    def ordered(real):
        def by_offset(frames, kind, columns, descending):
            frame = pl.concat(
                [one.select(columns).with_columns(pl.col(pl.Categorical).cast(pl.String)) for one in frames]
            )
            return frame.sort("stream_id", "kafka_partition", "kafka_offset", descending=descending)

        return by_offset

    swap(stack, order_module, "ordered", ordered)


@defect("warm-up instead of state: a tail begins with an empty state")
def _(stack):
    def begin(real):
        def forgetful(self, where, position, state):
            real(self, where, position, type(state)())

        return forgetful

    swap(stack, MemoryTail, "_begin", begin)


@defect("what was known then is what is known now")
def _(stack):
    swap(stack, Opening, "want", lambda real: lambda *arguments: Want())


@defect("the log's end is as of now, whenever it was asked for")
def _(stack):
    def freshness_ms(real):
        def always_now(pin, end, marks, now_us, *known):
            return real(pin, end, [replace(one, end_as_of_us=now_us) for one in marks], now_us, *known)

        return always_now

    swap(stack, reading_module, "freshness_ms", freshness_ms)


@defect("what waits for its commit is as old as the last record below H")
def _(stack):
    def committed_age_ms(real):
        def below(pin, end, marks, now_us):
            return real(pin, end, [replace(one, committed_append_us=0) for one in marks], now_us)

        return below

    swap(stack, reading_module, "committed_age_ms", committed_age_ms)


@defect("the writer forgets a foreign change")
def _(stack):
    def change(real):
        def forgetful(self, *arguments):
            made = real(self, *arguments)
            properties, summary = (
                {name: text for name, text in texts.items() if name != FOREIGN}
                for texts in (made.properties, made.summary)
            )
            return replace(made, properties=properties, summary=summary, drop_properties=(FOREIGN,))

        return forgetful

    swap(stack, TableWriter, "_change", change)
