"""Pages for managers and auditors: one self-contained HTML file each.

This package defines the layout of the pages; `standfast/usecases/reports` collects their content.
The package reads no database and no file: it converts the records of `report_records` to a page.

Rules
- A page needs no external resource: no script, no font, no picture. It can be printed, and can be
  read on a phone, in dark mode and by a screen reader.
- The templates escape all text that people wrote. `chart_layout` computes the positions on a chart,
  and a template draws the chart. Python code creates markup only for drawings of graphs and for
  commands in sentences, and escapes their text.
- The names of affected people are masked (`name_masking`) before this package receives them,
  because a page may be forwarded.
- Every bar has its number as text next to it, so that no information depends on colour alone.
"""
