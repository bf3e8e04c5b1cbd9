"""Frozen evidence: manifest, seal, custody, time stamps, masking, review.

The sources that collect evidence are in `adapters.evidence_sources`.
"""
