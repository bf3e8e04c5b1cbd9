"""Frozen evidence: manifest, seal, custody, timestamps, masking and review.

Sources that collect it belong in `adapters.evidence_sources`.
"""
