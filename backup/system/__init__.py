"""Operating-system facilities: files, processes, memory and shutdown.

These modules depend on no store, record or repository format.
"""
