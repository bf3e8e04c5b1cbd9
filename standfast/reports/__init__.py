"""Pages that are handed to a manager or an auditor: one HTML file each, whole in itself.

The layout of results belongs here, collecting them in `standfast/usecases/reports`: this package
reads no ledger and no disk, it turns the records of `report_records` into a page.

Rules
- A page needs nothing from outside: no script, no font, no picture; it prints, and it is read on a
  phone, in the dark and by a screen reader.
- Everything that came from people goes through the template's escaping; no markup is put together
  in Python, drawings included (`charts` computes, `templates/` draws).
- Who was touched is masked (`masking`) before it comes here; a page may be mailed on.
- Numbers stand in text beside every bar, so nothing is told by colour alone.
"""
