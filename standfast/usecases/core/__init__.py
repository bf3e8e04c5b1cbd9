"""Opened installation, its backup repository and its run records.

An installation is one configured Standfast. Code for one subject, such as drills or notices, does
not belong here.
"""
