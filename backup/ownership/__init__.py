"""Ownership: operations of the owner and the custodians.

The owner is the person with the offline signing key. A custodian is a person that can decrypt
backups.

    session = OwnerSession(owner=open_owner(owner_file), owner_file=owner_file, vault=vault,
                           keys=keys, now=now)
    result = add_writer(session, name="desk-2", domain="main", host_dir=folder / "host")

  owner_session         the owner's key, and the run of an operation
  operation_plan        all bytes of an operation, stored before its first step
  operations            changes of writers (backup hosts), domains (backup sets that share one
                        key), custodians and keepers (machines that may expire backups)
  erasure               erasure of a domain by at least two persons
  decryption_challenge  proof that a custodian can decrypt, and agrees; owner_documents: form of
                        the documents
  custodian_challenge   quarterly test of each custodian's key; custodian_public_key: the keys
  key_record_copies     copies of the encrypted private keys; key_copy_list: the known copies
  repository_creation   a new repository
  roster                all roles of a repository
  recovery_card         the printed page with the steps of a restore
  bundled_reader        FORMAT.md and a restore program, stored with the encrypted backups

Code that reads and checks signed records belongs in `backup.trust`.
"""
