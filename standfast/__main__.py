"""Entry point of `python -m standfast`, for a shell without the script."""

import sys

from standfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
