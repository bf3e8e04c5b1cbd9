"""Numbers with their noun in singular or plural."""


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: 1 file, 2,000 files."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
