"""Trust: verified record chains and key files of a repository.

    trust = load_root_chain(vault, owner=owner_public_key)
    for slot in read_history(vault, trust, "desk-1"):
        print(slot.sequence, slot.problem or slot.snapshot.time)

  root_chain          root records: the owner's lists of trusted hosts and keys
  retention_log       keep records: expired recovery points; removed and damaged packs
  snapshot_slots      reads and verifies each snapshot of a writer
  snapshot_history    checks all snapshots of a writer against each other
  key_files           keys of backup hosts, and keys that decrypt backups

A repository is the content of a vault, the folder or bucket with the encrypted backups. The owner
is the person with the offline signing key. A writer is a backup host. A slot is the object under
one sequence number of a writer; it should contain a snapshot, the signed object that makes a backup
restorable. A pack is an encrypted container of backup content.

Code that parses records belongs in `format`. Code that writes records belongs in `ownership` and
`retention`.
"""
