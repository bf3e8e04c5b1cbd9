"""The encrypted backup repository: usable alone, it imports nothing of the rest of the program.

FORMAT.md is the contract: every byte that is stored is described there.  Where to start:

- `keys` makes a repository and loads what a backup host or a custodian holds;
- `writer.back_up` makes a recovery point, `reader.Repository` finds and restores one;
- `verify.verify` checks a repository, with or without a key;
- `stores` and `sources` are the two families to extend; their `__init__` holds the promises.
"""
