"""``python -m seamark_oracle``."""

import sys

from seamark_oracle.command import main

sys.exit(main(sys.argv[1:]))
