"""A lease expires in real time, also while the machine is suspended."""

import time

import pytest

from worker.settings import load
from worker.stream.clock import lease_time
from worker.stream.control import Control


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system's monotonic clock counts suspended time")
def test_a_lease_runs_out_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(load({}))
    control.lease_ends = lease_time() + 5
    assert control.lease_is_valid()
    clock_gettime = time.clock_gettime

    def after_a_suspension(clock: int) -> float:
        return clock_gettime(clock) + (6 if clock == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime", after_a_suspension)

    assert not control.lease_is_valid()
