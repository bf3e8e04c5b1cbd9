"""Encrypted backup repository, usable without the rest of the program.

    vault, keys = DirectoryStore(folder / "vault"), DirectoryStore(folder / "keys")
    created = create_repository(
        vault=vault, keys=keys, writer="desk-1", domain="main", now=datetime.now(UTC),
        host_dir=folder / "host", owner_file=folder / "owner.json", identity_file=folder / "id.txt",
    )
    back_up(
        vault=vault, host=Host.load(created.host_dir), set_name="documents",
        sources=[FilesSource("documents", source)], send_log=folder / "cache.db",
        now=lambda: datetime.now(UTC),
    )
    repository = Repository.open(vault, keys, open_identity(created.identity_file))
    repository.restore(repository.resolve("latest"), folder / "restored")

A vault contains encrypted backups. A backup host (writer) can only add to it. A recovery point is
one restorable backup. A custodian is a person that can decrypt the vault. The owner is the person
that authorizes all others, with an offline key. FORMAT.md describes every stored byte. Packages,
from low to high:

  format         records and packs as bytes
  stores         vaults, and stores of encrypted private keys: a directory, S3, memory
  trust          verified records and key files
  reader         reads manifests and blobs
  restorer       writes files; `repository.Repository` lists, reads and restores
  checker        `verification.verify` checks a vault, with or without a key
  replication    `vault_copy.replicate_vault` copies a vault to a second site
  retention      `retention_run.run_retention` expires recovery points and removes packs
  ownership      the owner's operations: `owner_session.OwnerSession`, repository creation
  sources        files, databases and buckets to back up
  archiver       `backup_run.back_up` makes a recovery point
  targets        database servers and buckets to restore into
  system         files, processes and memory of the operating system

If you add a store, source or target, keep the promises in the `__init__` of its package.
"""
