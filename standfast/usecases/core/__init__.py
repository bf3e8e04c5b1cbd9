"""Opened installation, its backup repository and its run records.

Code for one subject, such as drills or notices, does not belong here.
"""
