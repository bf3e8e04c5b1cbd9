"""The encrypted backup repository: usable alone, it imports nothing of the rest of the program.

FORMAT.md is the contract: every byte that is stored is described there.  Where to start:

- `creation` makes a repository; `keys` loads what a backup host or a custodian holds;
- `writer.back_up` makes a recovery point (inside: `writing`);
- `reader.Repository` finds, looks into and restores one (inside: `reading`, `restoring`);
- `verify.verify` checks a repository, with or without a key (inside: `checking`);
- `keeper.keep` expires points and frees packs (inside: `keeping`);
- `ownership.Office` is where the owner changes who may do what (the deeds: `owner`);
- `copying.replicate_vault` copies everything to a second site, without a key;
- `trust`, `keeps` and `history` read what the vault says: who may, what went, what there is;
- `stores`, `sources` and `targets` are the families to extend; their `__init__` holds the promises.
"""
