"""Entry point of `python -m standfast`, if `standfast` is not on the PATH."""

import sys

from standfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
