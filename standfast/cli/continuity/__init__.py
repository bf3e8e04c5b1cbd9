"""Commands on continuity: services, attestations, calendar of practice.

The commands that recover services are in `recovery`.
"""
