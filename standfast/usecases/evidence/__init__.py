"""Evidence of incidents: verification, stamps, copies, review, export.

`standfast/evidence` collects the logs and files of an incident, and seals (signs) them.
"""
