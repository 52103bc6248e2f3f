"""Runs `command.main`: ``python -m seamark.local.engines up --dir D``."""

import sys

from seamark.local.engines.command import main

sys.exit(main(sys.argv[1:]))
