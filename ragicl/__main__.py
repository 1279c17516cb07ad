"""``python -m ragicl`` is ``ragicl``."""

from ragicl.cli import main

if __name__ == "__main__":
    main()
