"""Buffers are reused when no view of them remains, and never before."""

import mmap
import threading

from backup.system.buffer_pool import Buffers, OwnBuffer


def test_buffer_in_use_is_not_reused() -> None:
    buffers = Buffers(100)
    first = buffers.take(60)
    first[:] = b"a" * 60
    part = first[10:20]
    first.release()
    buffers.take(100)[:] = b"b" * 100
    assert bytes(part) == b"a" * 10


def test_free_buffer_is_reused_from_its_beginning() -> None:
    buffers = Buffers(100)
    first = buffers.take(100)
    first[:] = bytes(range(100))
    del first
    assert bytes(buffers.take(3)) == b"\0\1\2"


def test_request_larger_than_a_buffer_works() -> None:
    assert len(Buffers(100).take(101)) == 101
    assert OwnBuffer(mmap.PAGESIZE).take(mmap.PAGESIZE + 1) is None


def test_each_thread_has_a_buffer_of_its_own() -> None:
    own = OwnBuffer(mmap.PAGESIZE)
    mine = own.take(4)
    assert mine is not None
    mine[:] = b"mine"

    def other() -> None:
        its = own.take(4)
        assert its is not None
        its[:] = b"its."

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert bytes(mine) == b"mine"
