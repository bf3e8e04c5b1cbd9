"""Checker: verification of a vault, without and with a key.

    report = verify(vault, keys=keys, identity=identity, read=True)
    for finding in report.findings:
        print(finding.severity, finding.object, finding.problem, finding.what_to_do)

  verification    the order of all checks; the public function `verify`
  pack_check      which packs are complete, and what each damaged pack costs
  lock_check      whether the store locks objects for as long as needed
  content_check   decrypts and compares the pages and blobs of recovery points
  sampling        number of random pieces needed to find a share of damage

Repairing damage belongs in `archiver` (sending again) and `replication` (copying back).
"""
