import sys

from seamark.ingestor.main import main

sys.exit(main())
