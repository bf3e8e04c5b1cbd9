"""Frozen evidence: manifest, seal, custody, time stamps, masking, review.

Frozen evidence is a folder with copies of logs and files of an incident. The seal is a signature
over its manifest. The chain of custody is a file that records each access to the folder. The code
that collects evidence is in `adapters.evidence_sources`.
"""
