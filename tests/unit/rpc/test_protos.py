"""The committed stubs are what the protos say, and what peers rely on does not change unnoticed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_SPEC = importlib.util.spec_from_file_location("protos_generate", ROOT / "protos" / "generate.py")
assert _SPEC and _SPEC.loader
protos = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(protos)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of fresh stubs, what they were made of)"""
    folder = tmp_path_factory.mktemp("stubs")
    return folder, protos.generate(folder)


@pytest.fixture
def edited(made):
    """A copy of the descriptors, to be broken."""
    copy = type(made[1])()
    copy.CopyFrom(made[1])
    return copy


def test_committed_stubs_are_what_the_protos_give(made):
    folder, _ = made
    fresh = {path.name: path.read_text() for path in folder.iterdir()}
    committed = {path.name: path.read_text() for path in protos.STUBS.iterdir() if path.is_file()}
    assert sorted(committed) == sorted(fresh), "run make protos"
    assert committed == fresh, "run make protos"


def test_service_stubs_are_made_for_services_alone(made):
    folder, descriptors = made
    with_services = {Path(file.name).stem for file in descriptors.file if file.service}
    assert {path.name.removesuffix("_pb2_grpc.py") for path in folder.glob("*_pb2_grpc.py")} == with_services


def test_nothing_that_was_recorded_is_broken_and_all_is_recorded(made):
    present, recorded = protos.contract(made[1]), protos.CONTRACT.read_text().splitlines()
    assert protos.broken(recorded, present) == [], "this breaks peers: see protos/README.md"
    assert recorded == present, "run make protos"


def file_of(descriptors, name):
    return next(file for file in descriptors.file if file.name == f"seamark/v1/{name}.proto")


def named(things, name):
    return next(thing for thing in things if thing.name == name)


def field_of(descriptors, file, message, field):
    return named(named(file_of(descriptors, file).message_type, message).field, field)


def remove_file(all_):
    all_.file.remove(file_of(all_, "offsets"))


def change_syntax(all_):
    file_of(all_, "offsets").syntax = "proto2"


def rename_package(all_):
    file_of(all_, "offsets").package = "seamark.v2"


def remove_message(all_):
    messages = file_of(all_, "tail").message_type
    messages.remove(named(messages, "ReadTrailer"))


def rename_message(all_):
    named(file_of(all_, "tail").message_type, "ReadTrailer").name = "ReadEnd"


def remove_field(all_):
    fields = named(file_of(all_, "tail").message_type, "ReadTrailer").field
    fields.remove(named(fields, "rows"))


def rename_field(all_):
    field_of(all_, "tail", "ReadTrailer", "rows").name = "count"


def renumber_field(all_):
    field_of(all_, "tail", "ReadTrailer", "rows").number = 9


def swap_numbers(all_):
    epoch = field_of(all_, "tail", "ReadTrailer", "epoch")
    rows = field_of(all_, "tail", "ReadTrailer", "rows")
    epoch.number, rows.number = rows.number, epoch.number


def change_type(all_):
    field = field_of(all_, "tail", "ReadTrailer", "rows")
    field.type = field.TYPE_INT32


def change_message_type(all_):
    field_of(all_, "tail", "ReadRangesRequest", "predicate").type_name = ".seamark.v1.Filter"


def change_enum_type(all_):
    field_of(all_, "predicate", "Predicate", "clock").type_name = ".seamark.v1.Comparison"


def make_repeated(all_):
    field = field_of(all_, "tail", "ReadTrailer", "rows")
    field.label = field.LABEL_REPEATED


def make_singular(all_):
    field = field_of(all_, "tail", "ReadRangesRequest", "columns")
    field.label = field.LABEL_OPTIONAL


def drop_presence(all_):
    field = field_of(all_, "predicate", "Predicate", "from_us")
    field.proto3_optional = False
    field.ClearField("oneof_index")


def move_into_oneof(all_):
    field_of(all_, "market_data", "AnswerTrailer", "rows").oneof_index = 0
    named(file_of(all_, "market_data").message_type, "AnswerTrailer").oneof_decl.add(name="which")


def move_out_of_oneof(all_):
    field_of(all_, "tail", "ReadRangesResponse", "trailer").ClearField("oneof_index")


def move_to_another_oneof(all_):
    named(file_of(all_, "tail").message_type, "ReadRangesResponse").oneof_decl.add(name="other")
    field_of(all_, "tail", "ReadRangesResponse", "trailer").oneof_index = 1


def rename_oneof(all_):
    named(file_of(all_, "tail").message_type, "ReadRangesResponse").oneof_decl[0].name = "other"


def remove_enum(all_):
    enums = file_of(all_, "predicate").enum_type
    enums.remove(named(enums, "Clock"))


def rename_enum(all_):
    named(file_of(all_, "predicate").enum_type, "Clock").name = "Time"


def remove_value(all_):
    values = named(file_of(all_, "predicate").enum_type, "Clock").value
    values.remove(named(values, "CLOCK_RECEIVE"))


def rename_value(all_):
    named(named(file_of(all_, "predicate").enum_type, "Clock").value, "CLOCK_RECEIVE").name = "CLOCK_LATE"


def renumber_value(all_):
    named(named(file_of(all_, "predicate").enum_type, "Clock").value, "CLOCK_RECEIVE").number = 7


def remove_service(all_):
    file_of(all_, "tail").ClearField("service")


def rename_service(all_):
    file_of(all_, "tail").service[0].name = "Tail"


def remove_method(all_):
    methods = file_of(all_, "tail").service[0].method
    methods.remove(named(methods, "GetWatermarks"))


def rename_method(all_):
    named(file_of(all_, "tail").service[0].method, "GetWatermarks").name = "Watermarks"


def change_request(all_):
    method = named(file_of(all_, "tail").service[0].method, "GetWatermarks")
    method.input_type = ".seamark.v1.GetWatermarkRequest"


def change_response(all_):
    method = named(file_of(all_, "tail").service[0].method, "GetWatermarks")
    method.output_type = ".seamark.v1.GetWatermarkResponse"


def stop_streaming(all_):
    named(file_of(all_, "tail").service[0].method, "ReadRanges").server_streaming = False


def stream_requests(all_):
    named(file_of(all_, "tail").service[0].method, "ReadRanges").client_streaming = True


BREAKS = [
    (remove_file, "file seamark/v1/offsets.proto"),
    (change_syntax, "file seamark/v1/offsets.proto"),
    (rename_package, "message seamark.v1.OffsetVector"),
    (remove_message, "message seamark.v1.ReadTrailer"),
    (rename_message, "message seamark.v1.ReadTrailer"),
    (remove_field, "ReadTrailer.rows"),
    (rename_field, "ReadTrailer.rows"),
    (renumber_field, "ReadTrailer.rows"),
    (swap_numbers, "ReadTrailer.rows"),
    (change_type, "ReadTrailer.rows"),
    (change_message_type, "ReadRangesRequest.predicate"),
    (change_enum_type, "Predicate.clock"),
    (make_repeated, "ReadTrailer.rows"),
    (make_singular, "ReadRangesRequest.columns"),
    (drop_presence, "Predicate.from_us"),
    (move_into_oneof, "AnswerTrailer.rows"),
    (move_out_of_oneof, "ReadRangesResponse.trailer"),
    (move_to_another_oneof, "ReadRangesResponse.trailer"),
    (rename_oneof, "ReadRangesResponse.trailer"),
    (remove_enum, "enum seamark.v1.Clock"),
    (rename_enum, "enum seamark.v1.Clock"),
    (remove_value, "Clock.CLOCK_RECEIVE"),
    (rename_value, "Clock.CLOCK_RECEIVE"),
    (renumber_value, "Clock.CLOCK_RECEIVE"),
    (remove_service, "service seamark.v1.TailService"),
    (rename_service, "service seamark.v1.TailService"),
    (remove_method, "TailService.GetWatermarks"),
    (rename_method, "TailService.GetWatermarks"),
    (change_request, "TailService.GetWatermarks"),
    (change_response, "TailService.GetWatermarks"),
    (stop_streaming, "TailService.ReadRanges"),
    (stream_requests, "TailService.ReadRanges"),
]


@pytest.mark.parametrize(("break_", "lost"), [pytest.param(*case, id=case[0].__name__) for case in BREAKS])
def test_a_break_is_found_and_named(edited, break_, lost):
    before = protos.contract(edited)
    break_(edited)
    assert any(lost in line for line in protos.broken(before, protos.contract(edited)))


def test_nested_messages_and_reserved_numbers_are_part_of_the_contract(edited):
    message = named(file_of(edited, "tail").message_type, "ReadTrailer")
    nested = message.nested_type.add(name="Inner")
    nested.field.add(name="x", number=1, type=9, label=1)
    nested.enum_type.add(name="Kind").value.add(name="NONE", number=0)
    message.reserved_range.add(start=7, end=9)
    message.reserved_name.append("old")
    file_of(edited, "predicate").enum_type[0].reserved_range.add(start=5, end=5)
    before = protos.contract(edited)
    nested.ClearField("field")
    nested.ClearField("enum_type")
    message.ClearField("reserved_range")
    message.ClearField("reserved_name")
    file_of(edited, "predicate").enum_type[0].ClearField("reserved_range")
    assert [line.strip() for line in protos.broken(before, protos.contract(edited))] == [
        "seamark.v1.Clock reserves 5",
        "seamark.v1.ReadTrailer reserves 7",
        "seamark.v1.ReadTrailer reserves 8",
        "seamark.v1.ReadTrailer reserves old",
        "seamark.v1.ReadTrailer.Inner.x = 1 string",
        "enum seamark.v1.ReadTrailer.Inner.Kind",
        "seamark.v1.ReadTrailer.Inner.Kind.NONE = 0",
    ]


def test_additions_break_nothing(edited):
    before = protos.contract(edited)
    tail = file_of(edited, "tail")
    named(tail.message_type, "ReadTrailer").field.add(name="bytes", number=9, type=3, label=1)
    named(tail.message_type, "ReadTrailer").reserved_range.add(start=20, end=21)
    tail.message_type.add(name="New").field.add(name="x", number=1, type=9, label=1)
    tail.service[0].method.add(name="Ping", input_type=".seamark.v1.New", output_type=".seamark.v1.New")
    file_of(edited, "predicate").enum_type[0].value.add(name="CLOCK_APPEND", number=3)
    edited.file.add(name="seamark/v1/new.proto", package="seamark.v1", syntax="proto3")
    after = protos.contract(edited)
    assert protos.broken(before, after) == []
    assert len(after) == len(before) + 7


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """`make protos` with its results in a temporary folder."""
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / "gone_pb2.py").touch()
    monkeypatch.setattr(protos, "STUBS", tmp_path / "stubs")
    monkeypatch.setattr(protos, "CONTRACT", tmp_path / "contract.txt")
    return tmp_path


def test_additions_are_recorded_and_old_stubs_go(elsewhere, made):
    lines = protos.contract(made[1])
    (elsewhere / "contract.txt").write_text("".join(f"{line}\n" for line in lines[:-3]))
    protos.main()
    assert (elsewhere / "contract.txt").read_text().splitlines() == lines
    assert {path.name for path in (elsewhere / "stubs").iterdir()} == {
        path.name for path in made[0].iterdir()
    }


def test_a_break_is_refused_and_changes_nothing(elsewhere, made):
    lines = [*protos.contract(made[1]), "  seamark.v1.ReadTrailer.checksum = 7 int64"]
    (elsewhere / "contract.txt").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(SystemExit, match=r"seamark\.v1\.ReadTrailer\.checksum = 7 int64"):
        protos.main()
    assert (elsewhere / "contract.txt").read_text().splitlines() == lines
    assert [path.name for path in (elsewhere / "stubs").iterdir()] == ["gone_pb2.py"]
