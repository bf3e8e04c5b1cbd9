"""Execution of the code blocks in pages for readers.

`blocks.py` reads them, `typist.py` types their commands, `courses.py` names the installation in
which the commands of each page run, and `not_run.py` the blocks that cannot run in a test.
"""
