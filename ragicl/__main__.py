"""``python -m ragicl`` is ``ragicl``."""

from ragicl.cli.main import main

if __name__ == "__main__":
    main()
