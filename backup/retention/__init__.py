"""Retention: how long recovery points are kept; removal of unneeded packs.

    rules = RetentionRules(daily=timedelta(days=180))
    plan, forecast = plan_retention_run(vault, owner_public_key, rules, now=now)
    result = run_retention(vault, Keeper.load(folder / "keeper.json"), rules, now=now)

  retention_run      one run of the keeper, the machine that expires backups; or a plan of it
  keeper_key         the keeper's key, on another machine than the keys of backup hosts
  vault_state        records, recovery points and packs of a vault (the folder or bucket with
                     the encrypted backups) at one moment
  rules              how long recovery points are kept
  retention_plan     what a run would change, computed without I/O
  lock_extension     which locks to extend, and which locks prevent a removal
  storage_forecast   which packs are needed, and when the other packs can be removed

Reading the keeper's records belongs in `trust.retention_log`.
"""
