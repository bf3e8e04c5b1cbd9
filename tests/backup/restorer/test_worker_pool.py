"""Values between two processes."""

import os
import pickle
import select
from threading import Thread

import pytest

from backup.restorer.worker_pool import PipeEnd, open_message_pipe
from backup.system.process_fork import fork

LARGE = bytes(range(256)) * 16_384  # 4 MiB, many times the capacity of a pipe


def test_values_arrive_whole_and_in_order_however_large() -> None:
    ours, theirs = open_message_pipe()
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


def test_posted_value_waits_for_nobody() -> None:
    ours, theirs = open_message_pipe()
    ours.post(LARGE)
    ours.post("next")
    assert not ours.try_to_send()
    received = []
    child = Thread(target=lambda: received.extend([theirs.receive(), theirs.receive()]))
    child.start()
    while not ours.try_to_send():
        select.select([], [ours.writing], [])
    child.join()
    assert received == [LARGE, "next"]
    for end in (ours, theirs):
        end.close()


def test_sender_to_closed_pipe_gets_an_error() -> None:
    ours, theirs = open_message_pipe()
    theirs.close()
    with pytest.raises(BrokenPipeError):
        ours.send("anybody?")
    ours.close()


def test_unpicklable_value_is_refused_completely() -> None:
    ours, theirs = open_message_pipe()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        ours.send([LARGE, lambda: None])
    ours.send("next")
    assert theirs.receive() == "next"
    for end in (ours, theirs):
        end.close()


def test_waiting_values_stay_separate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: write(number, data[:3]))
    ours, theirs = open_message_pipe()
    for value in ("first", "second"):
        ours.send(value)
    ours.close()  # so that no process waits for unsent messages
    assert [theirs.receive(), theirs.receive()] == ["first", "second"]
    theirs.close()


def test_half_a_value_of_dead_sender_is_nothing() -> None:
    reading, writing = os.pipe()
    data = pickle.dumps("a value")
    os.write(writing, len(data).to_bytes(8) + data[:-1])
    os.close(writing)
    end = PipeEnd(reading, os.open(os.devnull, os.O_WRONLY))
    with pytest.raises(EOFError):
        end.receive()
    end.close()


def test_unprivileged_user_gets_a_smaller_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: int) -> int:
        raise PermissionError

    monkeypatch.setattr("fcntl.fcntl", refused)
    ours, theirs = open_message_pipe()
    ours.send("value")
    assert theirs.receive() == "value"
    for end in (ours, theirs):
        end.close()
