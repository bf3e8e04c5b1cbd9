"""Ownership: operations of the owner and the custodians.

The owner is the person with the offline signing key. A custodian is a person that can decrypt
backups.

    session = OwnerSession(owner=open_owner(owner_file), owner_file=owner_file, vault=vault,
                           keys=keys, now=now)
    result = add_writer(session, name="desk-2", domain="main", host_dir=folder / "host")

  owner_session         the owner's key, and the run of an operation
  operation_plan        all bytes of an operation, stored before its first step
  operations            writers, domains, custodians, keepers
  erasure               erasure of a domain by at least two persons
  decryption_challenge  proof that a custodian can decrypt, and agrees; owner_documents: the files
  custodian_challenge   quarterly test of each custodian's key; custodian_public_key: the keys
  key_record_copies     copies of the encrypted domain keys; key_copy_list: the known copies
  repository_creation   a new repository
  roster                all roles of a repository; recovery_card
  bundled_reader        FORMAT.md and the reader, stored in the vault

Reading and checking of signed records belongs in `trust`.
"""
