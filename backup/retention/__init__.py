"""Retention: how long recovery points are kept, and what may be freed.

    rules = RetentionRules(daily=timedelta(days=180))
    plan, forecast = plan_retention_run(vault, owner_public_key, rules, now=now)
    result = run_retention(vault, Keeper.load(folder / "keeper.json"), rules, now=now)

  retention_run      one run of the keeper, or its plan; the public functions
  keeper_key         the keeper's key, on another machine than the writer's key
  vault_state        records, recovery points and packs at one moment; blocked writers
  rules              how long recovery points are kept
  retention_plan     what a run would change, computed without I/O
  lock_extension     which locks to extend, and which locks prevent a removal
  storage_forecast   which packs are needed, and when the other packs can be freed

Reading the keeper's records belongs in `trust.retention_log`.
"""
