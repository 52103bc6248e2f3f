from __future__ import annotations

import io
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamark.market.schema import RecordKind
from seamark.query_gateway.header import Missing
from twins.gateway import WHERE
from unit.query_gateway.api.market_rows import T0_US
from unit.query_gateway.api.serving import NOW_US, Served

PATHS = {
    "/v1/trades": RecordKind.TRADES,
    "/v1/quotes": RecordKind.QUOTES,
    "/v1/feed-events": RecordKind.FEED_EVENTS,
}


def sequences(answer) -> list[int]:
    return [row["kafka_offset"] for row in answer.json()["rows"]]


def test_rows_come_with_a_header_that_says_what_they_are_made_of(edge: Served):
    answer = edge.get("/v1/trades", symbols="BTCUSDT", limit=3, fields="timestamp,symbol,price")
    assert answer.status_code == 200
    body = answer.json()
    assert body["rows"][1] == {
        "timestamp": "2024-08-08T23:54:15.002000Z",
        "symbol": "BTCUSDT",
        "price": "0.375",
    }
    assert body["header"]["exact"] is True
    assert body["header"]["tables"]["trades"]["E"] == {"1.0": 2_500}
    shown = json.loads(answer.headers["Seamark-Answer"])
    assert shown == {name: value for name, value in body["header"].items() if name != "cursor"}
    assert answer.headers["Seamark-Cursor"] == body["header"]["cursor"]
    assert answer.headers["Seamark-Exact"] == "true"
    assert answer.headers["Seamark-Query-Id"] == body["header"]["query_id"]


@pytest.mark.parametrize(("path", "kind"), PATHS.items())
def test_every_table_gives_all_its_columns(edge: Served, path: str, kind: RecordKind):
    row = edge.get(path, limit=1).json()["rows"][0]
    assert list(row) == edge.gateway.frames[kind].columns


@pytest.mark.parametrize("path", PATHS)
def test_get_and_post_ask_the_same(edge: Served, path: str):
    got = edge.get(
        path, symbols="BTCUSDT,ETHUSDT", filters="kafka_offset:in:3,4,5", fields="kafka_offset", order="desc"
    )
    posted = edge.post(
        path,
        {
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "filters": [{"column": "kafka_offset", "operator": "in", "values": ["3", "4", "5"]}],
            "fields": ["kafka_offset"],
            "order": "desc",
        },
    )
    assert sequences(got) == sequences(posted) == [5, 4, 3]


def test_a_repeated_parameter_is_a_list(edge: Served):
    answer = edge.get("/v1/trades", symbols=["BTCUSDT", "ETHUSDT"], limit=2, fields=["symbol", "price"])
    assert [row["symbol"] for row in answer.json()["rows"]] == ["BTCUSDT", "ETHUSDT"]


def test_start_is_in_and_end_is_not(edge: Served):
    for start, end in (
        (T0_US + 3_000, T0_US + 5_000),
        ("2024-08-08T23:54:15.003Z", "2024-08-08T23:54:15.005000Z"),
        ("2024-08-09T01:54:15.003+02:00", "2024-08-08T22:54:15.005-01:00"),
    ):
        assert sequences(edge.get("/v1/trades", start=start, end=end)) == [3, 4]
        assert sequences(edge.post("/v1/trades", {"start": start, "end": end})) == [3, 4]


@pytest.mark.parametrize(
    "condition", ["timestamp:ge:2024-08-08T23:54:17.498Z", f"timestamp:ge:{T0_US + 2_498_000}"]
)
def test_times_in_filters_are_written_as_elsewhere(edge: Served, condition: str):
    assert sequences(edge.get("/v1/trades", filters=condition)) == [2_498, 2_499]


def test_decimals_in_filters_are_exact(edge: Served):
    assert sequences(edge.get("/v1/trades", filters="price:eq:0.375")) == [2]
    assert sequences(edge.get("/v1/trades", filters="price:eq:0.3750000001")) == []


def pages(edge: Served, name: str) -> list[int]:
    """Offsets of all pages of 700 rows, as the format tells of the next one."""
    found: list[int] = []
    cursor = None
    while True:
        answer = edge.get(
            "/v1/trades",
            limit=700,
            fields="kafka_offset",
            format=name,
            **({"page_cursor": cursor} if cursor else {}),
        )
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        match name:
            case "json":
                part = answer.json()
                found += [row["kafka_offset"] for row in part["rows"]]
                assert part["next_cursor"] == answer.headers.get("Seamark-Next-Cursor")
            case "ndjson":
                first, *lines, last = map(json.loads, answer.text.splitlines())
                assert set(first) == {"header"}
                found += [row["kafka_offset"] for row in lines]
                assert last["end"]["rows"] == len(lines)
                assert last["end"]["next_cursor"] == answer.headers.get("Seamark-Next-Cursor")
            case "csv":
                found += pl.read_csv(io.BytesIO(answer.content))["kafka_offset"].to_list()
            case "parquet":
                found += pl.read_parquet(io.BytesIO(answer.content))["kafka_offset"].to_list()
            case "arrow":
                found += pa.ipc.open_stream(answer.content).read_all()["kafka_offset"].to_pylist()
        cursor = answer.headers.get("Seamark-Next-Cursor")
        if cursor is None:
            return found


@pytest.mark.parametrize("name", ["json", "ndjson", "csv", "parquet", "arrow"])
def test_pages_together_are_all_rows(edge: Served, name: str):
    assert pages(edge, name) == list(range(2_500))


def test_json_without_a_limit_is_a_page_and_says_so(edge: Served):
    answer = edge.get("/v1/trades", fields="kafka_offset")
    assert len(answer.json()["rows"]) == 1_000
    assert answer.json()["next_cursor"]


@pytest.mark.parametrize("name", ["ndjson", "csv", "parquet", "arrow"])
def test_other_formats_without_a_limit_are_everything(edge: Served, name: str):
    answer = edge.get("/v1/trades", fields="kafka_offset", format=name)
    many = {
        "ndjson": lambda: len(answer.text.splitlines()) - 2,
        "csv": lambda: len(answer.text.splitlines()) - 1,
        "parquet": lambda: pq.read_table(io.BytesIO(answer.content)).num_rows,
        "arrow": lambda: pa.ipc.open_stream(answer.content).read_all().num_rows,
    }
    assert many[name]() == 2_500


def test_files_say_themselves_what_they_are_made_of(edge: Served):
    for name, schema_of in (
        ("parquet", lambda data: pq.read_schema(io.BytesIO(data))),
        ("arrow", lambda data: pa.ipc.open_stream(data).schema),
    ):
        answer = edge.get("/v1/trades", format=name, limit=5)
        header = json.loads(schema_of(answer.content).metadata[b"seamark.header"])
        assert header["cursor"] == answer.headers["Seamark-Cursor"]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html, text/*;q=0.5", "text/csv"),
        ("application/x-ndjson", "application/x-ndjson"),
        (
            "application/json;q=0.1, application/vnd.apache.arrow.stream",
            "application/vnd.apache.arrow.stream",
        ),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_accept_chooses_the_format(edge: Served, accept: str | None, media: str):
    answer = edge.get("/v1/trades", limit=1, headers={"Accept": accept})
    assert answer.headers["Content-Type"].partition(";")[0] == media
    assert (
        edge.get("/v1/trades", limit=1, format="csv", headers={"Accept": accept})
        .headers["Content-Type"]
        .startswith("text/csv")
    )


def test_a_cursor_gives_the_same_rows_after_more_have_come(edge: Served):
    parameters = {"fields": "kafka_offset,price", "filters": "kafka_offset:ge:2490"}
    first = edge.get("/v1/trades", **parameters)
    frames = edge.gateway.frames
    late = frames[RecordKind.TRADES].tail(1).with_columns(kafka_offset=pl.lit(2_500, pl.Int64))
    frames[RecordKind.TRADES] = pl.concat([frames[RecordKind.TRADES], late])
    assert len(edge.get("/v1/trades", **parameters).json()["rows"]) == 11
    again = edge.get("/v1/trades", at=first.headers["Seamark-Cursor"], **parameters)
    assert again.json()["rows"] == first.json()["rows"]


def test_recent_rows_come_newest_first(edge: Served):
    assert sequences(edge.get("/v1/trades/recent", last=3)) == [2_499, 2_498, 2_497]
    seconds = (NOW_US - T0_US - 2_497_500) / 1_000_000
    assert sequences(edge.get("/v1/quotes/recent", seconds=seconds)) == [2_499, 2_498]


def test_missing_ranges_are_206_and_never_exact(edge: Served):
    edge.gateway.missing = (Missing(WHERE, 2_500, None, "TAIL_UNAVAILABLE"),)
    for name in ("json", "csv"):
        answer = edge.get("/v1/trades", limit=5, format=name)
        assert answer.status_code == 206
        assert answer.headers["Seamark-Exact"] == "false"
    missing = edge.get("/v1/trades", limit=5).json()["header"]["tables"]["trades"]["missing"]
    assert missing == [{"partition": "1.0", "from": 2_500, "to": "unknown", "reason": "TAIL_UNAVAILABLE"}]


def test_a_header_that_contradicts_itself_is_never_sent(edge: Served):
    edge.gateway.missing = (Missing(WHERE, 2_500, None, "TAIL_UNAVAILABLE"),)
    edge.gateway.exact_anyway = True
    answer = edge.get("/v1/trades")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
