"""`python -m seamark.query_gateway`"""

import os
import sys

# Many questions at a time, each with a few rows: a pool of threads that each of them waits for
# costs more than it saves. Read when polars is loaded, so before all else.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
# Decoding a row group takes and gives back a few megabytes. Arrow's own choice hands them back to the system at once
# and has them cleared anew for the next one, which can take as long as the decoding. Where there is no jemalloc, Arrow
# says so and takes what it has.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

from seamark.query_gateway.main import main

sys.exit(main())
