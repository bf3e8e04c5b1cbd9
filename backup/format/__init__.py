"""Format 1 as FORMAT.md describes it: bytes to records and back, and no input or output.

- `canonical` JSON, times, path text; `fields` reads parsed JSON strictly; `layout` names objects;
- `signed` puts a signature under bytes; `root`, `keep` and `snapshot` are signed;
- `pack` is the encrypted container; `frame` a compressed stretch in it; `manifest` the tree.

A parser raises `Damaged` or `FormatUnknown`, each naming the object, and nothing else.
"""

FORMAT = 1
