"""Operating-system facilities: files, processes, memory and shutdown.

Nothing here knows stores, records or the repository format.
"""
