"""Ownership: operations of the owner and the custodians.

    session = OwnerSession(owner=open_owner(owner_file), owner_file=owner_file, vault=vault,
                           keys=keys, now=now)
    result = add_writer(session, name="desk-2", domain="main", host_dir=folder / "host")

  owner_session        the owner's key, and how an operation is carried out
  operation_plan       an operation, fixed to the byte before its first step
  operations           writers, domains, custodians, keepers; domain_keys
  erasure              erasure of a domain by at least two persons
  attestation          agreement of a custodian; owner_documents are the files
  custodian_challenge  proof that each custodian's key still works; custodian_public_key
  key_record_copies    copies of the key records; key_copy_list
  repository_creation  a new repository
  roster               all roles of a repository; recovery_card, recovery_card_page
  bundled_reader       FORMAT.md and the reader, stored in the vault

Checking records without changing them belongs in `trust`.
"""
