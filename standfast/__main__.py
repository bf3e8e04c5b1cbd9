"""`python -m standfast`: the command line, where its script is not on the path."""

from standfast.entry import run

if __name__ == "__main__":
    run()
