"""Replication of a vault to a second site, without any key.

    report = replicate_vault(vault, second_vault, owner=owner_public_key)
    assert report.is_whole

A vault is the folder or bucket with the encrypted backups. Key records (encrypted private keys) are
copied only if the caller passes stores for them. The other code for copies of key records belongs
in `ownership`.
"""
