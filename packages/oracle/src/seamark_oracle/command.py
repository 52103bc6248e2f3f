"""``python -m seamark_oracle``: the proof on standard output, the verdict as exit code."""

import argparse
import json
import sys
from pathlib import Path

from seamark_oracle.contract import RECORDS
from seamark_oracle.errors import OracleError
from seamark_oracle.judge import judge

EXACT, OFF, CANNOT_JUDGE = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Returns 0 for exact, 1 where anything is off, 2 where it cannot be judged."""
    options = _parser().parse_args(arguments)
    try:
        properties = json.loads(options.catalog_json.read_text())
        # What `seamark.local engines up` prints has the properties one level down.
        properties = properties.get("catalog", properties)
        verdict = judge(options.bootstrap, properties, options.namespace, options.journal, options.table)
    except (OracleError, OSError, ValueError) as error:
        print(f"cannot judge: {error}", file=sys.stderr)
        return CANNOT_JUDGE
    print(verdict.to_text())
    return EXACT if verdict.exact else OFF


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m seamark_oracle", description=__doc__)
    parser.add_argument("--bootstrap", required=True, help="host:port of Kafka")
    parser.add_argument(
        "--catalog-json", type=Path, required=True, help="file with pyiceberg's catalog properties as JSON"
    )
    parser.add_argument("--namespace", default="market", help="Iceberg namespace (market)")
    parser.add_argument(
        "--journal",
        type=Path,
        nargs="+",
        default=[],
        help="all journals of the venue, if it was the simulator",
    )
    parser.add_argument("--table", nargs="+", choices=list(RECORDS), help="default: all")
    return parser
