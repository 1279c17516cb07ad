"""``python cli.py …`` from a checkout is ``ragicl …``."""

from ragicl.cli import main

if __name__ == "__main__":
    main()
