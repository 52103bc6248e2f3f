"""The life of the simulator's process: options, parts, run, stop."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import SimulatorError
from .faults import FaultInjector
from .generator import GeneratorSource
from .journal import Journal
from .recording import RecordingSource
from .server import Simulator
from .settings import Options, parse
from .source import MarketSource
from .state import StateFile

_log = logging.getLogger("seamark.simulator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until stopped. Returns 0 then, 1 if it could not start or go on; exits with 2 on bad options."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_run(options))
    except (SimulatorError, OSError) as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run(options: Options) -> None:
    source: MarketSource
    if options.recordings:
        source = RecordingSource(options.recordings)
    else:
        source = GeneratorSource(options.symbols, options.frames_per_second, options.seed)
    state_file = StateFile(options.state)
    state_file.load(source.identity)  # refuse a state of another market before anything is opened
    journal = Journal(options.journal)
    simulator = Simulator(
        source, FaultInjector(options.faults, options.seed), journal, state_file, options.speed
    )
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, simulator.request_stop)
    try:
        port = await simulator.start(options.port)
    except OSError as error:
        raise OSError(f"port {options.port} on 127.0.0.1 cannot be opened: {error.strerror}") from error
    _log.info("listening on http://127.0.0.1:%d, %s", port, source.identity)
    if options.port_file is not None:
        _write_port(options.port_file, port)
    try:
        await simulator.wait()
    finally:
        await simulator.stop()


def _write_port(path: Path, port: int) -> None:
    """Whoever waits for the file never reads half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(f"{port}\n")
    os.replace(partial, path)
