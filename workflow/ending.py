"""How a command ends that is told to: Ctrl-C, SIGTERM or a closed terminal, in one line, with all it has started."""
import os
import signal
import sys

WORDS = "interrupted; run again to resume"


def in_one_line():
    """From now on the first of these signals is told in one line and leaves by SystemExit, so that every `with` and
    `finally` is honoured; further ones are ignored. What was ignored before stays so, as under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number, frame):
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    if not os.environ.get("FU_QUIET_END"):      # run_all.sh says it once for all its jobs
        os.write(2, f"{WORDS}\n".encode())
    of_children()       # a kernel that is asked politely has words of its own to say, and five seconds to say them
    sys.exit(128 + number)


def of_children():
    """Kill what this process has started and what that has started, kernels above all, and wait until it is gone."""
    import psutil
    children = psutil.Process().children(recursive=True)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children, timeout=10)
