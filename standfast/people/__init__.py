"""Reaching and recognising people: from a passphrase to a signing key."""
