from seamark.tail_cache.main import main

raise SystemExit(main())
