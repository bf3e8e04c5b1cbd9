"""Services and their objectives: recovery order, RTO and RPO, schedules.

`service_order` orders services by their dependencies, `recovery_objectives` compares measured times
with objectives, and `recovery_prediction` predicts recovery times. `run_schedule` computes due
times, and `clock_skew` ignores times that wrong clocks recorded. No module of this package reads a
file or the system time.
"""
