"""Checker: verification of stored backups, without and with a key.

    report = verify(vault, keys=keys, identity=identity, read=True)
    for finding in report.findings:
        print(finding.severity, finding.object, finding.problem, finding.what_to_do)

  verification    the order of all checks; the public function `verify`
  pack_check      missing and damaged packs, and the recovery points that need them
  lock_check      whether the store locks objects for as long as needed
  content_check   decrypts and compares the manifest pages and blobs of recovery points
  sampling        number of random pieces that finds damage with a given probability

The repair of damage belongs in `archiver` (sending content again) and `replication` (copying back).
"""
