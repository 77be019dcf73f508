"""supervisord restarts the programs and stops them in order."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import StackError, lock
from devstack.output import Output
from devstack.programs import Program
from devstack.supervision import Events, supervised
from tests.devstack.stack import eventually

pytestmark = pytest.mark.slow

ORPHANING = "import os, time; os.fork(); time.sleep(600)"  # a child outlives its parent, as with granian


def test_a_crashed_program_is_restarted_and_all_stop_in_order(home: Path, capsys: pytest.CaptureFixture[str]):
    run = [sys.executable, "-c"]
    programs = [
        Program("sink", [*run, "print('up', flush=True); import time; time.sleep(600)"], stop_seconds=3),
        Program("source", [*run, f"print('up', flush=True); {ORPHANING}"], stop_seconds=3),
        Program("stubborn", [*run, "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"], stop_seconds=1),
    ]
    shown = ""

    def has_shown(text: str, times: int = 1) -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return shown.count(text) >= times

    def group(pid: int | str) -> list[str]:
        return subprocess.run(["pgrep", "-g", str(pid)], capture_output=True, text=True).stdout.split()

    with (
        lock.held(home) as held,
        Output(home / "log", [p.name for p in programs], Events().translate) as output,
        supervised(home, programs, dict(os.environ), held, output.say) as supervisor,
    ):
        output.say("started")
        for program in programs:
            supervisor.start(program.name)
        eventually(lambda: has_shown("source   | up"))
        log = (home / "log/supervisord.log").read_text()
        killed = int(re.search(r"spawned: 'source' with pid (\d+)", log)[1])
        eventually(lambda: len(group(killed)) == 2)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: has_shown("source   | up", times=2))
        assert has_shown("devstack | source ended (terminated by SIGKILL); restarting it")
        eventually(lambda: not group(killed))
        log = (home / "log/supervisord.log").read_text()
    has_shown("")
    for pid in re.findall(r"spawned: '\S+' with pid (\d+)", log):
        eventually(lambda pid=pid: not group(pid))
    ends = [line for line in shown.splitlines() if re.search(r"stopped$|killed$", line)]
    assert ends == [
        "devstack | stubborn did not stop in time: killed",
        "devstack | stubborn stopped",
        "devstack | source stopped",
        "devstack | sink stopped",
    ]


def test_the_folder_is_locked_until_the_last_process_ends(home: Path):
    sleeper = Program("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], stop_seconds=3)
    with lock.held(home) as held, supervised(home, [sleeper], dict(os.environ), held, print) as supervisor:
        supervisor.start("sleeper")
        os.close(os.dup(held))  # the lock does not depend on this copy
        with pytest.raises(StackError, match="a stack runs"), lock.held(home):
            pass
    with lock.held(home):
        pass
