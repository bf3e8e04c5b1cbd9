"""The file source: walk, change detection data and file content.

Databases and buckets have packages of their own.
"""
