"""Review of frozen logs: timelines, indicators, detections, counts.

Frozen logs are copied and signed as evidence of an incident. `log_timeline` sorts the records of
all logs into one timeline. `indicator_timeline` returns the lines that contain an account or an
indicator (a trace of an intruder). The formats of the logs are in `evidence.parsers`.
"""
