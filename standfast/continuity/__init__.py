"""Services and their objectives: recovery order, RTO and RPO, schedules.

`service_order` has the dependencies of services, `recovery_objectives` compares measures with
objectives, `recovery_prediction` predicts them, `run_schedule` computes due times, `clock_skew`
orders moments of wrong clocks. Nothing here reads a disk or a clock.
"""
