"""Module map in ARCHITECTURE.md."""

from tests.project.module_map import PAGE, expected_page


def test_module_map_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == expected_page(page), "the map is stale: run `make docs`"
