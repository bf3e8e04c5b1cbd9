"""Retention: how long recovery points are kept, and what may be freed.

    rules = RetentionRules(daily=timedelta(days=180))
    plan, forecast = plan_retention_run(vault, owner_public_key, rules, now=now)
    result = run_retention(vault, Keeper.load(folder / "keeper.json"), rules, now=now)

  retention_run      one run of the keeper, or its plan; the public functions
  keeper_key         the keeper's key, on another machine than the writer's
  vault_state        records, recovery points and packs at one moment
  rules              retention by time
  retention_plan     what a run would change; pure
  lock_extension     which locks to extend, and which prevent a removal
  storage_forecast   which packs are needed, and when the others can be freed

The keeper's records themselves belong in `trust.retention_log`.
"""
