"""The demo's whole life: start everything, kill the writer once, stop in order, prove."""

import json
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from pyiceberg.catalog import load_catalog

from seamark.local.asking import Asking
from seamark.local.engines import CatalogServer, KafkaNode, start_together, stop_together
from seamark.local.engines.process import SupervisedProcess
from seamark.local.errors import DemoError
from seamark.local.readings import Instruments, Reading
from seamark.local.run_directory import claimed
from seamark.local.services import NAMESPACE, Services
from seamark.local.source import Source
from seamark.local.view import View
from seamark_oracle import judge
from seamark_oracle.errors import OracleError

_READ_SECONDS = 1.0
_KILL_AFTER_SECONDS = 20.0  # where no end is set
_MALFORMED_SECONDS = 60.0
_STOP_SECONDS = 40.0  # each service has its own, shorter deadlines
_DRAIN_SECONDS = 60.0


def run_demo(source: Source, directory: Path, seconds: float | None) -> int:
    """Runs until `seconds` are over, or Ctrl-C. Returns 0 if the proof holds, 1 if not.

    Raises DemoError or EngineError where a part does not start or ends by itself,
    KeyboardInterrupt where it is interrupted while starting or stopping. No process is left.
    """
    with View() as view, claimed(directory, source.label) as folder:
        kafka, catalog = KafkaNode(folder / "kafka", progress=view.say), CatalogServer(folder / "catalog")
        try:
            view.say(f"starting on {folder}, fed by {source}")
            start_together([kafka, catalog])
            view.say(f"Kafka answers at {kafka.bootstrap}, the catalog at {catalog.properties()['uri']}")
            services = Services(folder, kafka, catalog, source)
            try:
                return _Run(view, kafka, catalog, services, source, seconds, folder / "answers").run()
            finally:
                services.kill()
        finally:
            view.freeze()
            stop_together([kafka, catalog])
            view.say("all processes have ended")


class _Run:
    """One run on engines that answer."""

    def __init__(
        self,
        view: View,
        kafka: KafkaNode,
        catalog: CatalogServer,
        services: Services,
        source: Source,
        seconds: float | None,
        answers: Path,
    ) -> None:
        self._answers = answers
        self._asking: Asking | None = None
        self._view, self._kafka, self._catalog = view, kafka, catalog
        self._services, self._source, self._seconds = services, source, seconds
        self._problems: list[str] = []
        self._rows_before = 0
        self._first_row_seconds: float | None = None
        self._killed: Reading | None = None
        self._rows_gone = 0
        self._back_seconds: float | None = None

    def run(self) -> int:
        services, say = self._services, self._view.say
        services.initialise()
        instruments = Instruments(
            self._kafka.bootstrap,
            load_catalog("demo", **self._catalog.properties()),
            NAMESPACE,
            services.writer_metrics_url,
            services.leg_metrics_url,
        )
        before = instruments.read()
        self._rows_before = before.market_rows
        say(f"topics, tables and streams are there; {before.rows:,} rows of earlier runs")
        services.start_writer()
        services.start_readers()
        malformed_seconds = (
            min(_MALFORMED_SECONDS, self._seconds / 3) if self._seconds else _MALFORMED_SECONDS
        )
        services.start_venue(malformed_seconds)
        services.start_leg()
        services.await_writer()
        services.await_readers()
        say(
            "writer, tail-cache, query-gateway, "
            + ("" if self._source.live else "simulator ")
            + "and leg run"
        )
        say(
            f"ask away: {services.api_url}/v1/trades/recent?last=5 (all it can do: {services.api_url}/openapi.json)"
        )
        shutil.rmtree(self._answers, ignore_errors=True)
        self._asking = Asking(services.api_url, self._answers, services.symbols())
        self._asking.start()
        try:
            self._watch(instruments)
        except KeyboardInterrupt:
            say("interrupted: stopping in order (Ctrl-C again: at once)")
            if services.writer.pid is None:  # interrupted between its kill and its start
                services.start_writer()
        self._stop(instruments)
        return self._prove()

    def _watch(self, instruments: Instruments) -> None:
        """Shows what happens, and kills the writer on the way, until the time is over."""
        began = time.monotonic()
        end = began + self._seconds if self._seconds else float("inf")
        kill_at = began + (self._seconds * 0.4 if self._seconds else _KILL_AFTER_SECONDS)
        while time.monotonic() < end:
            reading = instruments.read()
            self._note_progress(reading)
            self._view.show(
                reading, "running" if self._killed is None else "running, the writer was killed once"
            )
            _require_alive(self._services.running())
            if self._killed is None and time.monotonic() >= kill_at and self._worth_killing(reading):
                self._kill_writer(instruments, reading)
            time.sleep(_READ_SECONDS if self._first_row_seconds else _READ_SECONDS / 4)

    def _note_progress(self, reading: Reading) -> None:
        if self._first_row_seconds is None and reading.market_rows > self._rows_before:
            self._first_row_seconds = reading.at_seconds - self._view.began_seconds
            self._view.say(f"first new row can be queried, {self._first_row_seconds:.1f} s after the start")
        killed = self._killed
        if killed is not None and self._back_seconds is None and reading.market_rows > killed.market_rows:
            self._back_seconds = reading.at_seconds - killed.at_seconds
            self._view.say(f"the writer commits again, {self._back_seconds:.1f} s after its death")

    def _worth_killing(self, reading: Reading) -> bool:
        return self._first_row_seconds is not None and bool(reading.buffered_rows)

    def _kill_writer(self, instruments: Instruments, reading: Reading) -> None:
        self._services.writer.kill()
        # What it had landed until then is counted now: a row more than this is its successor's.
        self._killed = instruments.read()
        self._rows_gone = reading.buffered_rows or 0
        self._view.say(
            f"SIGKILL to the writer: {self._killed.rows:,} rows committed, about {self._rows_gone:,} more in its "
            f"memory are gone; starting it again"
        )
        self._services.start_writer()

    def _stop(self, instruments: Instruments) -> None:
        """Source, leg, writer: each has all of the one before it when it is stopped."""
        services = self._services
        if services.venue is not None:
            self._stop_one(services.venue, "the simulator has sent its last frame and closed its connections")
        if services.leg is not None:
            self._stop_one(services.leg, "the leg has everything acknowledged by Kafka")
        deadline = time.monotonic() + _DRAIN_SECONDS
        while True:
            reading = instruments.read()
            self._note_progress(reading)
            self._view.show(reading, "stopping, the writer reads to the end")
            if reading.drained:
                break
            if time.monotonic() > deadline:
                lag = {name: table.lag for name, table in reading.tables.items() if table.lag}
                self._problems.append(
                    f"the writer did not read to the end within {_DRAIN_SECONDS:g} s: lag {lag}"
                )
                break
            _require_alive([services.writer])
            time.sleep(_READ_SECONDS / 4)
        self._stop_asking()
        self._stop_one(services.gateway, "the gateway has given its last answer")
        self._stop_one(services.tail, "the tail-cache has ended")
        self._stop_one(services.writer, "the writer has committed the rest")
        reading = instruments.read()
        self._note_progress(reading)
        self._view.show(reading, "stopped")
        self._view.freeze()

    def _stop_asking(self) -> None:
        assert self._asking is not None
        self._asking.stop()
        asked = self._asking.asked
        self._problems += [f"a question was not answered: {failure}" for failure in asked.failures[:3]]
        if asked.answers:
            typical = statistics.median(asked.milliseconds)
            self._view.say(
                f"{asked.answers} questions answered while it ran, {asked.across} of them from lake and stream "
                f"together, half of them within {typical:.0f} ms"
            )
        else:
            self._problems.append("no question was answered while it ran")

    def _stop_one(self, process: SupervisedProcess, done: str) -> None:
        process.stop(_STOP_SECONDS)
        if process.exit_code == 0:
            self._view.say(done)
        else:
            self._problems.append(
                f"the {process.name} ended with code {process.exit_code} instead of 0 within {_STOP_SECONDS:g} s; "
                f"the end of {process.log_path}:\n{process.log_tail()}"
            )

    def _prove(self) -> int:
        self._view.say("deriving the proof from the raw log")
        began = time.monotonic()
        try:
            verdict = judge(
                self._kafka.bootstrap,
                self._catalog.properties(),
                NAMESPACE,
                self._services.journals,
                answers=self._answers,
            )
        except OracleError as error:
            raise DemoError(f"the oracle cannot judge: {error}") from error
        self._problems += self._too_little()
        self._problems += [
            f"{table.waiting:,} records of {table.table} are above the checkpoint after an orderly stop"
            for table in verdict.tables
            if table.waiting
        ]
        self._view.plain("")
        self._view.plain(verdict.to_text())
        self._view.plain("")
        if self._asking is not None and self._asking.asked.sample is not None:
            self._view.plain("The header of one answer from both sides:")
            self._view.plain(json.dumps(self._asking.asked.sample, indent=2))
            self._view.plain("")
        if self._first_row_seconds is not None:
            self._view.plain(f"first new row queryable {self._first_row_seconds:.1f} s after the start")
        if self._killed is not None and self._back_seconds is not None:
            self._view.plain(
                f"writer killed once with about {self._rows_gone:,} rows in memory; "
                f"new rows committed {self._back_seconds:.1f} s later"
            )
        self._view.plain(f"proof derived in {time.monotonic() - began:.1f} s")
        for problem in self._problems:
            self._view.plain(f"OFF  {problem}")
        if verdict.exact and not self._problems:
            self._view.plain("PASSED")
            return 0
        self._view.plain("FAILED")
        return 1

    def _too_little(self) -> list[str]:
        problems = []
        if self._first_row_seconds is None:
            problems.append(
                "nothing new was committed: the run was too short, or nothing came from the venue "
                f"({self._services.leg.log_path if self._services.leg else 'no leg'})"
            )
        if self._killed is None:
            problems.append(
                "the writer was never killed: the run was too short to prove that it survives that"
            )
        elif self._back_seconds is None:
            problems.append("the writer committed nothing after it was killed: the run was too short")
        return problems


def _require_alive(processes: Sequence[SupervisedProcess]) -> None:
    for process in processes:
        if process.exit_code is not None:
            raise DemoError(
                f"the {process.name} ended by itself with code {process.exit_code}. "
                f"The end of {process.log_path}:\n{process.log_tail()}"
            )
