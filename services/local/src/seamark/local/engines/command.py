"""``python -m seamark.local engines up --dir D``: the engines alone, for development."""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from seamark.local.engines.catalog import CatalogServer
from seamark.local.engines.errors import EngineError
from seamark.local.engines.kafka import KafkaNode
from seamark.local.engines.together import Engine, start_together, stop_together
from seamark.local.engines.trino import TrinoServer


def main(arguments: list[str]) -> int:
    """Runs the engines in the foreground until Ctrl-C or SIGTERM. Returns the exit code.

    Standard output gets one line of JSON when both answer: `bootstrap`, `catalog` (for
    pyiceberg's load_catalog), `state_uri`, and `trino` (``host:port``) if it was asked for.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    kafka = KafkaNode(options.dir / "kafka", options.kafka_port, progress=_say)
    catalog = CatalogServer(options.dir / "catalog", options.catalog_port)
    engines: list[Engine] = [kafka, catalog]
    reached: dict[str, object] = {
        "bootstrap": kafka.bootstrap,
        "catalog": catalog.properties(),
        "state_uri": catalog.state_uri,
    }
    if options.trino:
        trino = TrinoServer(options.dir / "trino", catalog, progress=_say)
        engines.append(trino)
        reached["trino"] = "{}:{}".format(*trino.address)
    try:
        _say(f"starting {len(engines)} engines on {options.dir}")
        start_together(engines)
        print(json.dumps(reached), flush=True)
        _say("all answer; Ctrl-C stops them")
        signal.pause()
    except KeyboardInterrupt:
        _say("stopping")
    except EngineError as error:
        _say(str(error))
        return 1
    finally:
        stop_together(engines)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m seamark.local engines", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start them, print how to reach them, wait")
    up.add_argument(
        "--dir", type=Path, required=True, help="where they keep everything; resumed if used before"
    )
    up.add_argument("--kafka-port", type=int, default=0, help="0: as last time, else a free one")
    up.add_argument("--catalog-port", type=int, default=0, help="0: as last time, else a free one")
    up.add_argument("--trino", action="store_true", help="Trino as well: needs JDK 25, takes 1.2 GiB")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
