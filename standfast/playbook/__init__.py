"""Playbooks: what they may say, whether they are sound, and what comes next. Pure, no I/O.

    model.py        the frozen records of a playbook
    catalogue.py    the actions that a playbook may name, as data
    load.py         YAML text to records, every structural problem with its line
    inputs.py       what the command line hands over, turned into typed inputs
    expression.py   the sandboxed expressions of `when` and `{{ … }}`
    check.py        whether a playbook can be carried out at all, before it is accepted
    engine.py       the state of a run, and the moves that come next
    standing.py     the same state in words: what waits for whom, and the one next step
    show.py         a playbook as text, for a person and for print

Left to others: reading files, the ledger that keeps the state, and the adapters that act.
Submodules are imported by name, so that `import standfast.playbook` costs nothing.
"""
