"""``python -m seamark.local``: everything on one machine (`demo`), or the engines alone (`engines`)."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from seamark.local.demo import run_demo
from seamark.local.engines import EngineError
from seamark.local.engines.command import main as engines
from seamark.local.errors import DemoError
from seamark.local.source import Source

_INTERRUPTED = 130  # 128 + SIGINT, as shells count
_SHORTEST_SECONDS = 10  # two flushes, a kill, and the writer back


def main(arguments: list[str]) -> int:
    """Returns 0 if all went well and the proof holds, 1 if not, 2 for a wrong option."""
    if arguments[:1] == ["engines"]:
        return engines(arguments[1:])
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    source = Source(live=options.venue == "live", recording=options.feed)
    try:
        return run_demo(source, options.directory, options.seconds, options.trino)
    except (DemoError, EngineError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped before the end: nothing was proven", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m seamark.local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("engines", help="Kafka and the catalog alone, for development", add_help=False)
    demo = commands.add_parser("demo", help="run everything, kill the writer once, prove that nothing is off")
    demo.add_argument(
        "--seconds",
        type=_seconds,
        help=f"end after this time, at least {_SHORTEST_SECONDS} (default: Ctrl-C)",
    )
    venue = demo.add_mutually_exclusive_group()
    venue.add_argument(
        "--feed", type=_recording, metavar="FILE", help="play a recording instead of the generator"
    )
    venue.add_argument("--venue", choices=["sim", "live"], default="sim", help="live: the real exchange")
    demo.add_argument(
        "--directory", type=Path, default=Path("run"), help="where everything is kept; resumed (default: run)"
    )
    demo.add_argument(
        "--trino", action="store_true", help="Trino as well, for half of the questions: needs JDK 25, 1.2 GiB"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST_SECONDS <= seconds <= 7 * 86_400:
        raise argparse.ArgumentTypeError(f"was {text!r}, must be a number from {_SHORTEST_SECONDS} to 604800")
    return seconds


def _recording(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"was {text!r}, must be a file that is there")
    return Path(text).resolve()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
