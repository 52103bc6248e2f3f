from seamark.consumer_writer.main import main

raise SystemExit(main())
