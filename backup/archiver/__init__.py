"""Archiver: reads sources and writes packs and one signed snapshot.

    result = back_up(
        vault=vault, host=Host.load(folder / "host"), set_name="documents",
        sources=[FilesSource("documents", Path("/srv/documents"))], send_log=folder / "cache.db",
        now=lambda: datetime.now(UTC),
    )
    print(result.point, result.files_new, result.warnings)

  backup_run              one run, from the authorization to the result
  walk                    one walk of the sources
  writer_authorization    whether the owner of the vault authorizes this host to write
  unusable_packs          packs that a new recovery point must not use, such as damaged packs
  source_archiver         makes a manifest entry (row) for each path; parent_snapshot: rows of the
                          previous run, reused for unchanged paths
  manifest_rows           encodes rows; keeps the rows of files with hard links
  worker_reader           first backup: a worker process finds and reads the files; worker_ipc
  chunker                 boundaries of chunks
  blob_writer             stores each blob once; pack_writer fills packs; archiver_records
  manifest_builder        makes the pages of the manifest, level by level
  snapshot_commit         puts the signed snapshot; skipped_sequence_numbers: invalid objects
                          that have the name of a snapshot
  upload_cache            local record of the blobs that the vault already has

The vault is the folder or bucket with the encrypted backups.

Reading and restoring do not belong here: see `backup.reader` and `backup.restorer`.
"""
