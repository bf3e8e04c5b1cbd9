"""Entry point of `python -m standfast`, if the script is not on the path."""

import sys

from standfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
