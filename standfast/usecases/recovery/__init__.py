"""Recovery of services to their real targets, as steps of an incident.

    prepared = prepare_set(installation, incident_id, "crm", {"point": "newest", "services": []})
    recovered = recover_set(installation, incident_id, order)   # may be repeated after a crash
    return_set(installation, incident_id, order)                # the undo

Restores into a named folder are in `backups`; restores that are destroyed again are in `drills`.
The incident engine plans, approves, claims and records the calls.

Rules
- Data at a target is renamed and never overwritten. The new name contains the incident. An object
  in a bucket is covered by a new version instead.
- The recovery point is restored next to the target, and checked there. Until the check has passed,
  the data at the target is unchanged.
- Unfinished data never has the name of the target, so a repeated try cannot mistake it for the
  previous data.
- An event of the incident is recorded before and after each restore and each rename.
"""
