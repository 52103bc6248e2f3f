import sys

from seamark.query_gateway.main import main

sys.exit(main())
