"""``python cli.py …`` from a checkout is ``ragicl …``."""

from ragicl.cli.main import main

if __name__ == "__main__":
    main()
