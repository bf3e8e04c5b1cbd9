"""Services are recovered in a valid order, or refused."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.continuity.service_order import recovery_order
from standfast.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Service:
    rto_minutes: int = 60
    depends_on: tuple[str, ...] = ()


def test_independent_services_return_in_parallel() -> None:
    services = {
        "telephony": Service(depends_on=("network",)),
        "crm": Service(depends_on=("network",)),
        "network": Service(),
        "desk": Service(depends_on=("crm", "telephony")),
    }
    assert recovery_order(services) == (("network",), ("crm", "telephony"), ("desk",))


def test_no_service_is_no_wave() -> None:
    assert recovery_order({}) == ()


def test_a_cycle_is_refused_and_named() -> None:
    services = {
        "crm": Service(depends_on=("sign-in",)),
        "sign-in": Service(depends_on=("network",)),
        "network": Service(depends_on=("crm",)),
        "fax": Service(),
    }
    with pytest.raises(ConfigurationError) as caught:
        recovery_order(services)
    assert "crm → sign-in → network → crm" in _rotations(str(caught.value))
    assert "fax" not in str(caught.value)


def _rotations(message: str) -> set[str]:
    """Return every rotation of the same cycle."""
    names = message.split("circle: ", 1)[1].split(".")[0].split(" → ")[:-1]
    turned = [names[start:] + names[:start] for start in range(len(names))]
    return {" → ".join([*one, one[0]]) for one in turned}


def test_service_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(ConfigurationError, match="crm → crm"):
        recovery_order({"crm": Service(depends_on=("crm",))})


def test_shorter_rto_than_a_dependency_is_refused() -> None:
    services = {"crm": Service(rto_minutes=30, depends_on=("db",)), "db": Service(rto_minutes=60)}
    with pytest.raises(ConfigurationError, match=r"crm: .* 30 minutes.* db.* 60"):
        recovery_order(services)


def test_rto_equal_to_a_dependency_is_accepted() -> None:
    services = {"crm": Service(depends_on=("db",)), "db": Service()}
    assert recovery_order(services) == (("db",), ("crm",))


@given(st.lists(st.sets(st.integers(0, 7)), max_size=8))
def test_everything_comes_after_what_it_stands_on(edges: list[set[int]]) -> None:
    services = {
        f"s{number}": Service(depends_on=tuple(f"s{n}" for n in sorted(needed) if n < number))
        for number, needed in enumerate(edges)
    }
    flat = list(itertools.chain.from_iterable(recovery_order(services)))
    assert sorted(flat) == sorted(services)
    for name, service in services.items():
        assert all(flat.index(other) < flat.index(name) for other in service.depends_on)
