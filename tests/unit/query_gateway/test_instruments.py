"""The current state of an instrument is its last statement; a statement repeated counts where it was first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.query_gateway.instruments import current
from unit.query_gateway.rows import rows_of

KIND = RecordKind.REFERENCE_DATA
STATEMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.sampled_from("abcdef"),
            "exchange": st.sampled_from(["binance", "kraken"]),
            "symbol": st.sampled_from(["AAA", "BBB", "CCC"]),
        }
    ),
    max_size=20,
)


@settings(deadline=None)
@given(STATEMENTS)
def test_the_last_first_statement_of_each_instrument_stands(statements):
    rows = [one | {"stream_id": 1, "kafka_offset": at} for at, one in enumerate(statements)]
    told, standing = set(), {}
    for row in rows:
        if row["event_id"] not in told:
            told.add(row["event_id"])
            standing[row["exchange"], row["symbol"]] = row["kafka_offset"]
    found = current(rows_of(KIND, rows, categorical=True))
    assert found["kafka_offset"].to_list() == [standing[key] for key in sorted(standing)]
    assert found.columns == rows_of(KIND, []).columns
