"""Commands on continuity: attestations.

Recovery itself is in `recovery`.
"""
