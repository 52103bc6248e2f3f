"""Runs a program that the kernel kills when its supervisor is gone, even by kill -9.

    python -I -S dies_with_parent.py SUPERVISOR_PID PROGRAM [ARGUMENT...]

A program of its own, not a hook between fork and exec: Python code must not run there
once the supervisor has threads. It imports nothing of the project to start in milliseconds.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    supervisor_pid, *argv = sys.argv[1:]
    # Only Linux offers this; elsewhere an engine outlives a supervisor killed by kill -9.
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        if os.getppid() != int(supervisor_pid):
            sys.exit(f"supervisor {supervisor_pid} is gone: not starting {argv[0]}")
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main()
