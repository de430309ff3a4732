"""Child processes that never outlive their time, nor this process."""

import ctypes
import os
import queue
import signal
import subprocess
import threading
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
_running = set()
_over = threading.Event()


class Late(Exception):
    """The time of a part is over."""


class Failed(Exception):
    """A process ended with an error."""


def _in_child():
    # A run that is killed takes its children along.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A process whose lines of output are read with a limit of time."""

    def __init__(self, command, environment=None, stdin=False, label=None):
        self.label = label or os.path.basename(command[0])
        self.began = time.monotonic()
        if _over.is_set():
            raise Failed("%s: the run is over" % self.label)
        self.child = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_in_child,
        )
        _running.add(self)
        self.lines = queue.Queue()  # (seconds since the start, line); None at the end
        self.complaints = []
        threading.Thread(target=self._read, daemon=True).start()
        self.complaining = threading.Thread(target=self._read_complaints, daemon=True)
        self.complaining.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.put((time.monotonic() - self.began, line.rstrip("\n")))
        self.lines.put(None)

    def _read_complaints(self):
        for line in self.child.stderr:
            self.complaints.append(line.rstrip("\n"))
            del self.complaints[:-40]

    def line(self, deadline):
        """The next line and its time; None at the end of the output."""
        try:
            return self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise Late("%s: its time is over" % self.label) from None

    def ask(self, text):
        try:
            self.child.stdin.write(text + "\n")
            self.child.stdin.flush()
        except OSError:
            raise Failed("%s: it ended%s" % (self.label, self.complaint())) from None

    def complaint(self):
        """The end of its standard error, for a message."""
        self.complaining.join(0.5)
        said = [line for line in self.complaints if line.strip()]
        return ": " + " / ".join(said[-4:])[-900:] if said else ""

    def end(self, deadline):
        """Waits for the exit status."""
        try:
            return self.child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Late("%s: its time is over" % self.label) from None

    def kill(self):
        _running.discard(self)
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except OSError:
            pass
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            pass  # a driver may hold it; the rest goes on

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def output(command, deadline, environment=None, label=None, must_succeed=True):
    """The standard output of a command, which may fail where that is said, but then has to say something."""
    with Process(command, environment, label=label) as process:
        found = []
        while True:
            line = process.line(deadline)
            if line is None:
                break
            found.append(line[1])
        if process.end(deadline) != 0 and (must_succeed or not found):
            raise Failed("%s: exit status %s%s" % (process.label, process.child.returncode, process.complaint()))
        return "\n".join(found)


def kill_all():
    """Ends everything; nothing is started any more."""
    _over.set()
    for process in list(_running):
        process.kill()
