"""Pages for managers and auditors: one self-contained HTML file each.

This package lays out results; `standfast/usecases/reports` collects them. The package reads no
ledger and no disk: it turns the records of `report_records` into a page.

Rules
- A page needs no external resource: no script, no font, no picture. It can be printed, and read on
  a phone, in dark mode and by a screen reader.
- All text of people goes through the escaping of the template. Python assembles no markup, not even
  for drawings (`chart_layout` computes, `templates/` draws).
- Affected people are masked (`name_masking`) before their data comes here: a page may be mailed on.
- Every bar has its number as text next to it, so that colour alone carries no information.
"""
