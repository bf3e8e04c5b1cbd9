"""Ownership: operations of the owner and the custodians.

owner_session           the owner's key, and how an operation is done
operation_plan          an operation, fixed to the byte before its first step
operations              writers, domains, custodians, keepers; domain_keys
erasure                 erasure of a domain by at least two persons
attestation             how a custodian shows agreement; owner_documents are the files
custodian_challenge     whether each custodian's key still works; custodian_public_key
key_record_copies       copies of the key records; key_copy_list
repository_creation     a new repository
roster                  all roles of a repository; recovery_card, recovery_card_page
bundled_reader          FORMAT.md and the reader, stored in the vault
"""
