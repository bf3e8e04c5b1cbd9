"""How many of something, as a person says it."""


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many: 1 file, 2,000 files."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
