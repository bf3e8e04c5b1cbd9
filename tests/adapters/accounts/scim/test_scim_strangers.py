"""SCIM answers for another account, or without the needed flag."""

import json

import pytest

from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.records import EffectState
from tests.adapters.accounts.scripted import Scripted, replying
from tests.adapters.accounts.scripted_scim import alice, lock, order

# Directories that answer for another account.


@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_ignored_filter_searches_page_by_page(
    directory: Scripted, connector: ScimConnector, page_size: int
) -> None:
    directory.ignores_filters = True
    directory.page_size = page_size
    for name in ("bob", "carol", "dave"):
        directory.add(name)
    assert lock(connector, "carol").state is EffectState.DONE
    assert lock(connector, "nobody").state is EffectState.REFUSED
    locked = [account.name for account in directory.accounts if not account.active]
    assert locked == ["carol"]


def test_an_account_of_another_name_is_not_believed(
    directory: Scripted, connector: ScimConnector
) -> None:
    directory.script(
        "GET",
        replying(
            200,
            json.dumps(
                {"totalResults": 1, "Resources": [{"id": "id-alice", "userName": "alice"}]}
            ).encode(),
        ),
    )
    assert lock(connector, "mallory").state is EffectState.REFUSED
    assert directory.count("PATCH") == 0


def test_exact_name_precedes_other_case(directory: Scripted, connector: ScimConnector) -> None:
    directory.add("Alice")
    assert lock(connector, "Alice").state is EffectState.DONE
    assert [account.active for account in directory.accounts] == [True, False]
    unclear = lock(connector, "ALICE")
    assert unclear.state is EffectState.FAILED
    assert unclear.retry_after_seconds is None
    assert directory.count("PATCH") == 1


def test_an_id_is_one_segment_of_the_path(directory: Scripted, connector: ScimConnector) -> None:
    directory.add("eve", account_id="../Groups/1?x#y")
    assert lock(connector, "eve").state is EffectState.DONE
    assert directory.count("PATCH", "/Users/../Groups/1?x#y") == 1


def test_reassigned_name_is_not_changed(directory: Scripted, connector: ScimConnector) -> None:
    (before,) = connector.observe(["alice"])
    lock(connector)
    directory.accounts[0].name = "alice.former"
    successor = directory.add("alice", account_id="id-successor", active=False)
    (locked,) = connector.lock([order(prior=before.prior)])
    assert locked.state is EffectState.REFUSED
    (undone,) = connector.undo([order("undo", prior=before.prior)])
    assert undone.state is EffectState.DONE
    assert alice(directory)
    assert not successor.active


def test_undo_of_a_deleted_account_is_refused(
    directory: Scripted, connector: ScimConnector
) -> None:
    (before,) = connector.observe(["alice"])
    directory.accounts.clear()
    (undone,) = connector.undo([order("undo", prior=before.prior)])
    assert undone.state is EffectState.REFUSED


# Directories that do not show the flag.


@pytest.mark.parametrize("shown", [None, "false", 0])
def test_hidden_flag_is_never_locked(
    directory: Scripted, connector: ScimConnector, shown: object
) -> None:
    directory.accounts[0].shown = shown
    (before,) = connector.observe(["alice"])
    assert (before.exists, before.is_enabled) == (True, None)
    assert lock(connector).state is EffectState.UNKNOWN
    (proven,) = connector.prove([order("prove")])
    assert proven.state is EffectState.FAILED
    (undone,) = connector.undo([order("undo", prior=before.prior)])
    assert undone.state is EffectState.REFUSED
