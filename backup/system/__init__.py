"""Operating-system facilities: files, processes, memory and shutdown.

These modules import nothing of `backup` except its errors.
"""
