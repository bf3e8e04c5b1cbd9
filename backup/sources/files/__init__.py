"""File source: walk, change detection and file content.

Databases and buckets have packages of their own.
"""
