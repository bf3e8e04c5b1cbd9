"""Tables, their migrations, and encryption of personal columns.

Queries and changes of rows do not belong here.

To change the tables
1. Change `tables.py`. A new column must be nullable and the last column of its table.
2. Write `migrations/versions/NNNN_TOPIC.py` with `revision = "NNNN"`, the next number, and the
   number before it as `down_revision`. `upgrade` calls `op.create_table` or `op.add_column`. It
   must not change a row: the audit chain contains the digests of all rows.
3. List each new column of an existing table in `added_columns.py`.
4. Set `HEAD` in `database/sqlite_file.py` to the new number.

`tests/ledger/schema/test_upgrade.py` upgrades ledgers of each release and compares the result with
`tables.py`.
"""
