"""``python -m seamark.local``."""

import sys

from seamark.local.command import main

sys.exit(main(sys.argv[1:]))
