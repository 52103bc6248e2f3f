"""`python -m seamark.tail_cache`"""

import os
import sys

# Batches at the log's end and answers are small: one thread each, many at a time. Polars would
# spread each of them over a pool, and wait for that. Read when polars is loaded, so before all else.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from seamark.tail_cache.main import main

sys.exit(main())
