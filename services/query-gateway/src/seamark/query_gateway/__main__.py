"""`python -m seamark.query_gateway`"""

import os
import sys

# Many questions at a time, each with a few rows: a pool of threads that each of them waits for
# costs more than it saves. Read when polars is loaded, so before all else.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from seamark.query_gateway.main import main

sys.exit(main())
