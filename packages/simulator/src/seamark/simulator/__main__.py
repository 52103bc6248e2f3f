"""`python -m seamark.simulator`."""

import sys

from .main import main

sys.exit(main())
