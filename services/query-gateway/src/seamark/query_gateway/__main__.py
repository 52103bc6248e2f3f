import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "1")

from seamark.query_gateway.main import main

sys.exit(main())
