"""Operating-system facilities: files, processes and memory.

Nothing here knows stores, records or the repository format.
"""
