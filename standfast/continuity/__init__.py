"""Services and what was promised for them: order of recovery, RTO and RPO, schedules. Pure.

`services` holds what binds services to each other, `objectives` compares what was measured with
what was promised, `schedule` says when a run was due, `moments` what came last. Nothing here reads
a disk or a clock.
"""
