"""Restore of a recovery point into a folder.

restore_run      the run: plan, workers, and what is left when all units are done
frame_plan       plan of the units of work, so that a frame is decoded about once
work_units       units of work, and the reports of the workers
worker           one worker: restores the stretches and pieces that it is given
worker_pool      several workers side by side, in processes or threads
worker_process   settings of a process that is nothing but a worker
pipe_messages    values between the run and a worker process
large_files      files that all workers fill in pieces
tree_writer      files and folders below the target, never outside of it
target_folders   the folders that a writer is in
safe_paths       opening a path below the target, step by step
file_attributes  owner, mode, times and extended attributes
extents          the parts of a file that its content fills, between its holes
direct_io        writes past the page cache
spool            values for later, in memory or in a file
restore_journal  the file that marks a target until it is whole
resume_check     comparison of an interrupted restore's files with the point
background_sync  the process that syncs a target after the caller has ended
"""
