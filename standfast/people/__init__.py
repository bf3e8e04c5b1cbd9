"""Authentication of people: from a passphrase to a signing key."""
