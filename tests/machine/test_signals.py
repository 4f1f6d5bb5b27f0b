"""Signals end a run in order, and handlers are restored afterwards."""

import os
import signal

import pytest

from machine.signals import UNFINISHED, StopRequest, ending_in_order

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.fixture(autouse=True)
def handlers():
    """Start from the default handlers, and check that a block restores them."""
    before = {signum: signal.signal(signum, signal.default_int_handler) for signum in SIGNALS}
    yield
    assert {signal.getsignal(signum) for signum in SIGNALS} <= {signal.default_int_handler, signal.SIG_IGN}
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_a_stop_request_records_the_first_signal(signum: int):
    with StopRequest() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signum)
        assert stop.signal == signum
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signum


def test_a_second_ctrl_c_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_a_signal_ends_a_block_with_the_status_of_unfinished_work_after_saving(signum: int):
    saved = []
    with pytest.raises(SystemExit) as ended, ending_in_order():
        try:
            os.kill(os.getpid(), signum)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a second signal does not interrupt the saving
            saved.append(True)
    assert ended.value.code == UNFINISHED == 75 and saved == [True]


def test_a_signal_that_the_parent_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop, ending_in_order():
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal is None
