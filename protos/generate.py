"""`make protos`: stubs from the .proto files beside this script, and the record of the contract.

The protos say `seamark/v1`; Python finds their modules in `seamark.rpc.v1`, so that imports are
rewritten: the compiler knows no other way to place them.

The contract is a text, one line for each thing that a peer may rely on. A change that breaks
peers takes a line away or alters it; an addition only adds lines. That is stricter than what the
binary format needs (https://protobuf.dev/programming-guides/proto3/#updating would let int32
become int64, or a field be renamed): the generated code and the meaning of a value break by those.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "packages" / "core" / "src" / "seamark" / "rpc" / "v1"
CONTRACT = PROTOS / "contract.txt"
_IMPORT = re.compile(r"^from seamark\.v1 import", re.MULTILINE)


def generate(target: Path) -> FileDescriptorSet:
    """Write all stubs and their types into the folder `target`. Gives what they were made of.

    Raises:
        SystemExit: the compiler refused; it has said why on standard error.
    """
    with TemporaryDirectory() as scratch:
        compiled = Path(scratch, "descriptors")
        tools = Path(sys.executable).parent
        arguments = [
            "protoc",
            f"-I{PROTOS}",
            f"--descriptor_set_out={compiled}",
            *(f"--plugin={tools / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
            *(f"--{name}_out={scratch}" for name in ("python", "grpc_python")),
            *(f"--{name}_out=quiet:{scratch}" for name in ("mypy", "mypy_grpc")),
            *sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto")),
        ]
        if protoc.main(arguments):
            raise SystemExit("protoc refused the protos (see above)")
        descriptors = FileDescriptorSet.FromString(compiled.read_bytes())
        (target / "__init__.py").write_text('"""Made from protos/seamark/v1 by `make protos`."""\n')
        for file in descriptors.file:
            source = Path(scratch, file.name)
            for kind in ("_pb2", "_pb2_grpc") if file.service else ("_pb2",):
                for suffix in (".py", ".pyi"):
                    made = source.with_name(f"{source.stem}{kind}{suffix}")
                    text = _IMPORT.sub("from seamark.rpc.v1 import", made.read_text())
                    (target / made.name).write_text(text)
    return descriptors


def contract(descriptors: FileDescriptorSet) -> list[str]:
    """One line for each message, field, oneof member, enum, value, service and method, in a fixed order."""
    lines: list[str] = []
    for file in sorted(descriptors.file, key=lambda file: file.name):
        lines.append(f"file {file.name} {file.syntax or 'proto2'}")
        for enum in file.enum_type:
            lines += _enum_lines(enum, file.package)
        for message in file.message_type:
            lines += _message_lines(message, file.package)
        for service in file.service:
            name = f"{file.package}.{service.name}"
            lines.append(f"service {name}")
            lines += (f"  {name}.{_method(method)}" for method in service.method)
    return lines


def broken(recorded: Iterable[str], present: Iterable[str]) -> list[str]:
    """Lines of the recorded contract that do not hold any more."""
    kept = set(present)
    return [line for line in recorded if line not in kept]


def _message_lines(message: DescriptorProto, scope: str) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield f"message {name}"
    for field in sorted(message.field, key=lambda field: field.number):
        yield f"  {name}.{_field(field, message)}"
    yield from _reserved(name, message, inclusive=False)
    for nested_enum in message.enum_type:
        yield from _enum_lines(nested_enum, name)
    for nested in message.nested_type:
        yield from _message_lines(nested, name)


def _field(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    kind = field.type_name.removeprefix(".") or FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    label = ""
    oneof = ""
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        label = "repeated "
    elif field.proto3_optional:
        label = "optional "
    elif field.HasField("oneof_index"):
        oneof = f" in oneof {message.oneof_decl[field.oneof_index].name}"
    return f"{field.name} = {field.number} {label}{kind}{oneof}"


def _enum_lines(enum: EnumDescriptorProto, scope: str) -> Iterator[str]:
    name = f"{scope}.{enum.name}"
    yield f"enum {name}"
    for value in sorted(enum.value, key=lambda value: value.number):
        yield f"  {name}.{value.name} = {value.number}"
    yield from _reserved(name, enum, inclusive=True)


def _reserved(name: str, kind: DescriptorProto | EnumDescriptorProto, *, inclusive: bool) -> Iterator[str]:
    """What is reserved stays so: a number that is used again reads old bytes as something else."""
    for span in kind.reserved_range:
        yield from (f"  {name} reserves {number}" for number in range(span.start, span.end + inclusive))
    yield from (f"  {name} reserves {text}" for text in kind.reserved_name)


def _method(method: MethodDescriptorProto) -> str:
    asks = "stream " * method.client_streaming + method.input_type.removeprefix(".")
    gives = "stream " * method.server_streaming + method.output_type.removeprefix(".")
    return f"{method.name}({asks}) returns ({gives})"


def main() -> None:
    """Generate and record; a change that breaks the contract is refused and changes nothing."""
    with TemporaryDirectory() as fresh:
        present = contract(generate(Path(fresh)))
        recorded: Sequence[str] = CONTRACT.read_text().splitlines() if CONTRACT.exists() else ()
        if lost := broken(recorded, present):
            raise SystemExit(
                "this breaks peers that are built from the contract as it was, which says:\n"
                + "".join(f"  {line.strip()}\n" for line in lost)
                + f"If it is meant, take these lines out of {CONTRACT.name} and run this again."
            )
        for old in STUBS.glob("*_pb2*"):
            old.unlink()
        shutil.copytree(fresh, STUBS, dirs_exist_ok=True)
    CONTRACT.write_text("".join(f"{line}\n" for line in present))


if __name__ == "__main__":
    main()
