"""Each record of the corpus gets its verdict, whoever reads it and whatever stands beside it."""

import json
from io import BytesIO

import pytest
from fastavro import parse_schema, schemaless_reader

from corpus import feed_events, quotes, reference_data, trades
from corpus.corpora import CORPORA, good_record
from corpus.frames import UNKNOWN_ID
from corpus.trades import TRADE, trade
from corpus.wire import Verdict, frame, long, some, text
from seamark.market.schema import RecordKind, arrow_schema, avro_schema
from seamark.stream.decode import Decoder
from seamark.stream.wire import FRAME_BYTES
from seamark_oracle.frames import RecordReader, Refused, SchemaUnknown

NULLABLE = {
    RecordKind.TRADES: trades.NULLABLE,
    RecordKind.QUOTES: quotes.NULLABLE,
    RecordKind.REFERENCE_DATA: reference_data.NULLABLE,
    RecordKind.FEED_EVENTS: feed_events.NULLABLE,
}
DECODERS = {kind.value: Decoder(kind) for kind in RecordKind}
CASES = [
    pytest.param(kind, case, id=f"{kind}: {case.name}") for kind, cases in CORPORA.items() for case in cases
]
JUDGED = {
    kind: [case for case in cases if case.verdict is not Verdict.UNRESOLVED]
    for kind, cases in CORPORA.items()
}


def verdict_alone(kind, value):
    decoded = DECODERS[kind].decode([value])
    if decoded.unresolved is not None:
        return Verdict.UNRESOLVED
    return Verdict.ACCEPT if len(decoded.rows) else Verdict.REJECT


@pytest.mark.parametrize(("kind", "case"), CASES)
@pytest.mark.timeout(20)
def test_a_record_alone_gets_its_verdict_and_reason(kind, case):
    decoded = DECODERS[kind].decode([case.value])
    assert verdict_alone(kind, case.value) is case.verdict
    if case.verdict is Verdict.UNRESOLVED:
        assert (decoded.length, decoded.unresolved) == (0, int.from_bytes(case.value[1:5], "big"))
        assert not decoded.rejects
    else:
        assert (decoded.length, decoded.unresolved) == (1, None)
        assert decoded.index.tolist() == ([0] if case.verdict is Verdict.ACCEPT else [])
        assert [reject.index for reject in decoded.rejects] == ([0] if case.verdict is Verdict.REJECT else [])
        assert all(case.reason in reject.reason for reject in decoded.rejects)


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_the_oracle_gives_the_same_verdict(kind, case):
    try:
        RecordReader(kind).read(case.value)
    except Refused:
        verdict = Verdict.REJECT
    except SchemaUnknown:
        verdict = Verdict.UNRESOLVED
    else:
        verdict = Verdict.ACCEPT
    assert verdict is case.verdict


@pytest.mark.parametrize("kind", RecordKind)
def test_a_third_reader_finds_avro_in_each_accepted_record(kind):
    schema = parse_schema(dict(avro_schema(kind)))
    for case in CORPORA[kind.value]:
        if case.verdict is Verdict.ACCEPT:
            body = BytesIO(case.value[FRAME_BYTES:])
            schemaless_reader(body, schema)
            assert not body.read(), case.name


@pytest.mark.parametrize("kind", RecordKind)
def test_the_corpus_has_each_field_that_may_be_null_and_no_union_lies_deeper(kind):
    fields = avro_schema(kind)["fields"]
    nullable = [field["name"] for field in fields if isinstance(field["type"], list)]
    assert nullable == list(NULLABLE[kind])
    for field in fields:
        value_type = field["type"][1] if field["name"] in nullable else field["type"]
        assert '["null"' not in json.dumps(value_type)


@pytest.mark.parametrize(("kind", "case"), CASES)
@pytest.mark.timeout(20)
def test_a_record_among_good_ones_gets_the_verdict_and_reason_it_gets_alone(kind, case):
    alone = DECODERS[kind].decode([case.value])
    for position in range(3):
        values = [good_record(kind)] * 3
        values[position] = case.value
        decoded = DECODERS[kind].decode(values)
        if case.verdict is Verdict.UNRESOLVED:
            assert (decoded.length, decoded.unresolved) == (position, alone.unresolved)
            assert decoded.index.tolist() == list(range(position))
            continue
        assert (decoded.length, decoded.unresolved) == (3, None)
        bad = [position] if case.verdict is Verdict.REJECT else []
        assert decoded.index.tolist() == [at for at in range(3) if at not in bad]
        assert [reject.index for reject in decoded.rejects] == bad
        assert [reject.reason for reject in decoded.rejects] == [reject.reason for reject in alone.rejects]
        if not bad:
            assert decoded.rows.row(position) == alone.rows.row(0)


@pytest.mark.parametrize("kind", CORPORA)
@pytest.mark.parametrize("order", [1, -1])
def test_the_whole_corpus_at_once_gives_each_record_its_verdict(kind, order):
    cases = JUDGED[kind][::order]
    decoded = DECODERS[kind].decode([case.value for case in cases])
    accepted = [at for at, case in enumerate(cases) if case.verdict is Verdict.ACCEPT]
    assert decoded.length == len(cases)
    assert decoded.index.tolist() == accepted
    assert [reject.index for reject in decoded.rejects] == [
        at for at, case in enumerate(cases) if case.verdict is Verdict.REJECT
    ]
    for row, at in enumerate(accepted):
        assert decoded.rows.row(row) == DECODERS[kind].decode([cases[at].value]).rows.row(0)


def test_two_bad_records_whose_bodies_join_to_two_good_ones_are_both_rejected():
    prefix, body = trade()[:5], trade()[5:]
    for cut in range(len(body) + 1):
        # Truncated by `cut` bytes, followed by those bytes in front of a whole body; and the other way round.
        moved_on = [prefix + body[: len(body) - cut], prefix + body[len(body) - cut :] + body]
        drawn_up = [prefix + body + body[:cut], prefix + body[cut:]]
        for pair in (moved_on, drawn_up):
            decoded = DECODERS["trades"].decode([trade(), *pair, trade()])
            wrong = [] if cut == 0 else [1, 2]
            assert [reject.index for reject in decoded.rejects] == wrong
            assert decoded.index.tolist() == [at for at in range(4) if at not in wrong]


def test_a_swapped_boundary_of_three_records_rejects_all_three():
    prefix, body = trade()[:5], trade()[5:]
    run = body * 3
    pieces = [run[:10], run[10 : len(body) + 5], run[len(body) + 5 :]]
    decoded = DECODERS["trades"].decode([prefix + piece for piece in pieces])
    assert [reject.index for reject in decoded.rejects] == [0, 1, 2]


def test_nothing_behind_an_unresolved_id_is_judged():
    unknown = b"\x00" + UNKNOWN_ID.to_bytes(4, "big") + trade()[5:]
    decoded = DECODERS["trades"].decode([trade(), None, unknown, trade(), None, unknown])
    assert (decoded.length, decoded.unresolved) == (2, UNKNOWN_ID)
    assert decoded.index.tolist() == [0]
    assert [reject.index for reject in decoded.rejects] == [1]


def test_records_of_two_schema_ids_keep_their_order():
    def resolve(schema_id):
        return avro_schema(RecordKind.TRADES) if schema_id in (1, 70_000) else None

    values = [
        frame(schema_id, {**TRADE, "source_sequence": some(long(number)), "symbol": text(f"S{number % 2}")})
        for number, schema_id in enumerate([70_000, 1, 1, 70_000, 1, 70_000])
    ]
    values[4] = values[4][:-2]
    decoded = Decoder(RecordKind.TRADES, resolve).decode(values)
    assert decoded.rows["source_sequence"].to_list() == [0, 1, 2, 3, 5]
    assert decoded.rows["symbol"].to_list() == ["S0", "S1", "S0", "S1", "S1"]
    assert decoded.index.tolist() == [0, 1, 2, 3, 5]
    assert [reject.index for reject in decoded.rejects] == [4]


@pytest.mark.parametrize("kind", RecordKind)
@pytest.mark.parametrize("values", [[], [None], [None, b""]])
def test_no_accepted_record_gives_no_rows_but_all_columns(kind, values):
    decoded = Decoder(kind).decode(values)
    assert decoded.rows.columns == arrow_schema(kind).names
    assert decoded.rows.schema == Decoder(kind).decode([good_record(kind.value)]).rows.schema
    assert (len(decoded.rows), len(decoded.index), decoded.length) == (0, 0, len(values))


@pytest.mark.parametrize(
    "bad", [[0], [1], [500], [998], [999], range(1, 1000, 2), range(3, 997), range(1000)], ids=str
)
def test_exactly_the_bad_records_of_a_thousand_are_found(bad):
    values = [trade(source_sequence=some(long(number))) for number in range(1000)]
    for position in bad:
        values[position] += b"\x00"
    decoded = DECODERS["trades"].decode(values)
    assert [reject.index for reject in decoded.rejects] == list(bad)
    good = [number for number in range(1000) if number not in bad]
    assert decoded.index.tolist() == good
    assert decoded.rows["source_sequence"].to_list() == good
