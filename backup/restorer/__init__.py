"""Restorer: writes a recovery point into a folder.

    restore = Restore(request, body=body, open_reader=open_reader, progress=None, now=now)
    result = restore.run()

  restore_run      one restore: plan, workers, then links and folders shared by several workers
  work_units       units of work, and the reports of workers
  worker           one worker: restores units of work, and pieces of large files
  large_files      cuts large files into pieces; extents: parts of a sparse file
  worker_pool      several workers in processes; worker_tuning: settings of these processes
  tree_writer      writes files and folders below the target; target_folders and safe_paths: folders
  file_attributes  owner, mode, times and extended attributes
  direct_io        writes at an offset, through the page cache or past it
  spool            values that are needed later, in memory or in a file
  restore_journal  opening of the target, and the file that marks it as unfinished
  resume_check     compares files of an interrupted restore with the recovery point
  background_sync  a process that syncs the target after its caller ended

Reading and verifying content belongs in `backup.reader`.
"""
