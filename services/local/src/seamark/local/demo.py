"""The demo's whole life: start everything, kill the writer once, stop in order, prove."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from pyiceberg.catalog import load_catalog

from seamark.local.asking import Asking
from seamark.local.engines import CatalogServer, KafkaNode, TrinoServer, start_together, stop_together
from seamark.local.engines.jdk import require_jdk25
from seamark.local.engines.process import SupervisedProcess
from seamark.local.engines.together import Engine
from seamark.local.errors import DemoError
from seamark.local.milestones import Milestones
from seamark.local.readings import Instruments, Reading
from seamark.local.run_directory import claimed
from seamark.local.samples import show_samples
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


def run_demo(source: Source, directory: Path, seconds: float | None, with_trino: bool) -> int:
    """Runs until `seconds` are over, or Ctrl-C. Returns 0 if the proof holds, 1 if not.

    `with_trino`: half of the questions asked meanwhile have their history read by Trino.

    Raises DemoError or EngineError where a part does not start or ends by itself,
    KeyboardInterrupt where it is interrupted while starting or stopping. No process is left.
    """
    if with_trino:
        require_jdk25()  # said at once, not when all else has started
    with View() as view, claimed(directory, source.label) as folder:
        kafka, catalog = KafkaNode(folder / "kafka", progress=view.say), CatalogServer(folder / "catalog")
        trino = TrinoServer(folder / "trino", catalog, progress=view.say) if with_trino else None
        engines: list[Engine] = [kafka, catalog, *([trino] if trino else [])]
        try:
            view.say(f"starting on {folder}, fed by {source}")
            start_together(engines)
            view.say(f"Kafka answers at {kafka.bootstrap}, the catalog at {catalog.properties()['uri']}")
            if trino:
                view.say("Trino answers at http://{}:{}".format(*trino.address))
            services = Services(folder, kafka, catalog, trino, source)
            try:
                return _Run(
                    view, kafka, catalog, services, source, seconds, folder / "answers", with_trino
                ).run()
            finally:
                services.kill()
        finally:
            view.freeze()
            stop_together(engines)
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
        trino: bool,
    ) -> None:
        self._answers, self._trino = answers, trino
        self._asking: Asking | None = None
        self._view, self._kafka, self._catalog = view, kafka, catalog
        self._services, self._source, self._seconds = services, source, seconds
        self._problems: list[str] = []
        self._sampled = False
        self._milestones = Milestones(view.began_seconds, 0)

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
        self._milestones.rows_before = before.market_rows
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
        engines = ("direct", "trino") if self._trino else ()
        self._asking = Asking(services.api_url, self._answers, services.symbols(), engines)
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
                reading,
                "running" if self._milestones.killed is None else "running, the writer was killed once",
            )
            _require_alive(self._services.running())
            if time.monotonic() >= kill_at and self._milestones.worth_killing(reading):
                self._kill_writer(instruments, reading)
            committed = self._milestones.first_row_seconds is not None
            if committed and self._asking and self._asking.asked.across:
                self._show_samples()
            time.sleep(_READ_SECONDS if committed else _READ_SECONDS / 4)

    def _note_progress(self, reading: Reading) -> None:
        for news in self._milestones.note(reading):
            self._view.say(news)

    def _show_samples(self) -> None:
        """Once: while all runs, so that whoever reads them can ask the same."""
        if self._sampled:
            return
        self._sampled = True
        self._view.say(
            "sample questions; of each table S: snapshot, H: end of what S holds, E: end of the answer"
        )
        self._problems += show_samples(self._services.api_url, self._view.plain)

    def _kill_writer(self, instruments: Instruments, reading: Reading) -> None:
        self._services.writer.kill()
        # What it had landed until then is counted now: a row more than this is its successor's.
        killed = self._milestones.killed = instruments.read()
        gone = self._milestones.rows_gone = reading.buffered_rows or 0
        self._view.say(
            f"SIGKILL to the writer: {killed.rows:,} rows committed, about {gone:,} more in its "
            f"memory are gone; starting it again"
        )
        self._services.start_writer()

    def _stop(self, instruments: Instruments) -> None:
        """Source, leg, writer: each has all of the one before it when it is stopped."""
        services = self._services
        self._show_samples()
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
        self._view.say(self._asking.asked.summary(self._trino))
        self._problems += self._asking.asked.problems(self._trino)

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
        leg = self._services.leg
        self._problems += self._milestones.too_little(str(leg.log_path) if leg else "no leg")
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
        for line in self._milestones.summary():
            self._view.plain(line)
        self._view.plain(f"proof derived in {time.monotonic() - began:.1f} s")
        for problem in self._problems:
            self._view.plain(f"OFF  {problem}")
        if verdict.exact and not self._problems:
            self._view.plain("PASSED")
            return 0
        self._view.plain("FAILED")
        return 1


def _require_alive(processes: Sequence[SupervisedProcess]) -> None:
    for process in processes:
        if process.exit_code is not None:
            raise DemoError(
                f"the {process.name} ended by itself with code {process.exit_code}. "
                f"The end of {process.log_path}:\n{process.log_tail()}"
            )
