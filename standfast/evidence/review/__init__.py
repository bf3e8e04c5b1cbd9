"""Review of frozen logs: timelines, indicators, detections, counts.

`log_timeline` sorts the records of all logs into one timeline; `indicator_timeline` keeps the raw
lines that name an account or an indicator. The formats of the logs are in `evidence.parsers`.
"""
