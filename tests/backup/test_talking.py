"""Values between two processes."""

import os
import pickle

import pytest

from backup.forking import fork
from backup.restoring.talking import two_ends

LARGE = bytes(range(256)) * 16_384  # 4 MiB: many times what a pipe holds


def test_values_arrive_whole_and_in_order_however_large() -> None:
    ours, theirs = two_ends()
    child = fork()
    if not child:
        ours.close()
        theirs.send((1, LARGE))
        theirs.send(theirs.receive())
        os._exit(0)
    theirs.close()
    assert ours.receive() == (1, LARGE)
    ours.send({"back": LARGE})
    assert ours.receive() == {"back": LARGE}
    with pytest.raises(EOFError):
        ours.receive()
    ours.close()
    assert os.waitpid(child, 0)[1] == 0


def test_who_sends_to_an_end_that_is_closed_is_told() -> None:
    ours, theirs = two_ends()
    theirs.close()
    with pytest.raises(BrokenPipeError):
        ours.send("anybody?")
    ours.close()


def test_a_value_that_does_not_pickle_is_refused_and_nothing_of_it_arrives() -> None:
    ours, theirs = two_ends()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        ours.send([LARGE, lambda: None])
    ours.send("next")
    assert theirs.receive() == "next"
    for end in (ours, theirs):
        end.close()
