"""Replication of a vault to a second site, without any key.

    report = replicate_vault(vault, second_vault, owner=owner_public_key)
    assert report.is_whole

Copies of key records belong in `ownership`.
"""
