"""`python -m seamark.query_gateway`"""

import os
import sys

# Many questions at a time, each with a few rows: a pool of threads that each of them waits for
# costs more than it saves. Read when polars is loaded, so before all else.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
# Decoding a row group takes and gives back a few megabytes, which Arrow's own choice hands back to the system. By hand,
# the first bars of an hour took a third less CPU with this one. Where there is none, Arrow says so and takes its own.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

from seamark.query_gateway.main import main

sys.exit(main())
