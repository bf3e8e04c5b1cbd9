"""Recovery of services to their real targets, as steps of an incident.

    plan = plan_set(installation, incident_id, "crm", "newest")   # reads only; a person approves it
    recovered = recover_set(installation, incident_id, order)     # carries out the approved plan
    undo_set(installation, incident_id, order)                    # the previous data returns

A recovery restores a recovery point (one state of one backup set) to the places that the services
use. `backups` restores into a folder that the caller names. `drills` restores for a test, and
deletes the restored data after its checks. The incident engine requests the approval of a plan. It
records each call before it starts and after it ends, and repeats a call that a crash interrupted.

Rules
- Existing data at a target is renamed and never overwritten. Its new name contains the id of the
  incident. An object in a bucket is not renamed: the recovery adds a newer version of it.
- A recovery point of files is restored next to the target, and checked there. Until the checks have
  passed, the data at the target is unchanged.
- A file that is not completely restored never has the name of the target. Therefore the call that
  follows a crash cannot mistake it for the previous data.
- If a call fails, the functions `revert…` put the previous data back. After a complete recovery,
  the functions `undo…` put the previous data back when a person requests it.
- The timeline of the incident gets an event before and after each restore and each rename.
"""
