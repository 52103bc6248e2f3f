"""One supervised child process: started, awaited, paused, stopped, and never orphaned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seamark.local.engines import dies_with_parent
from seamark.local.engines.errors import EngineDiedError, EngineError, EngineNotReadyError

_POLL_SECONDS = 0.05
_TAIL_LINES = 20
_TAIL_BYTES = 16_384

# The kernel takes "parent" in PR_SET_PDEATHSIG to be the thread that forked. Engines are
# started in parallel from short-lived threads, so all forks happen on one thread that lives
# as long as the process.
_FORKING_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-start")


class SupervisedProcess:
    """A program with a log file, in a process group of its own (Ctrl-C does not reach it)."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`argv[0]` is an absolute path. `environment` is added to the caller's own.

        Output of the program is appended to `log_path`.
        """
        self.name = name
        self.log_path = log_path
        self._argv = [str(part) for part in argv]
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """As `subprocess`: negative for a signal; None before the first start and while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Starts the program and returns at once. Raises EngineError when it already runs."""
        if self.pid is not None:
            raise EngineError(f"{self.name} already runs as process {self.pid}")
        guard = [sys.executable, "-I", "-S", dies_with_parent.__file__, str(os.getpid())]
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = _FORKING_THREAD.submit(
                subprocess.Popen,
                [*guard, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment,
                start_new_session=True,
            ).result()

    def wait_ready(self, is_ready: Callable[[], bool], deadline_seconds: float) -> None:
        """Polls `is_ready` until it is true.

        Raises EngineDiedError with the end of the log when the program ends first, and
        EngineNotReadyError when `deadline_seconds` have passed.
        """
        deadline = time.monotonic() + deadline_seconds
        while True:
            if self.exit_code is not None:
                raise EngineDiedError(
                    f"{self.name} ended with code {self.exit_code} while starting. "
                    f"The end of {self.log_path}:\n{self.log_tail()}"
                )
            if is_ready():
                return
            if time.monotonic() > deadline:
                raise EngineNotReadyError(
                    f"{self.name} did not answer within {deadline_seconds:g} s. "
                    f"The end of {self.log_path}:\n{self.log_tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL when it still runs after `grace_seconds`. Nothing if it does not run."""
        if self._process is None or self.pid is None:
            return
        self.resume()  # a stopped process would not see the SIGTERM
        self._process.terminate()
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would. Returns when the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: undoes `pause`; harmless when it was not paused."""
        self._signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The last lines the program wrote since it was last started."""
        with self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(it wrote nothing)"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self.pid is None:
            raise EngineError(f"{self.name} does not run: cannot send it {number.name}")
        self._process.send_signal(number)
