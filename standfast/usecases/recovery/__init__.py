"""Recovery of services to their real targets, as steps of an incident.

    plan = plan_set(installation, incident_id, "crm", "newest")   # the effect contains the plan
    recovered = recover_set(installation, incident_id, order)   # may be repeated after a crash
    return_set(installation, incident_id, order)                # the undo

Restores into a folder that the caller names are in `backups`; restores that are deleted after their
checks are in `drills`. The incident engine plans, approves, claims and records the calls.

Rules
- Data at a target is renamed and never overwritten. The new name contains the incident. An object
  in a bucket is not renamed: a new version of the object covers it.
- A recovery point of files is restored next to the target, and checked there. Until the checks have
  passed, the data at the target is unchanged.
- Unfinished files never have the name of the target. A repeated try therefore cannot mistake them
  for the previous data.
- An event of the incident is recorded before and after each restore and each rename.
"""
