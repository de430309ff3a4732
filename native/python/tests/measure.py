"""Measures the package: import, a picture beside the program's, memory, and other threads. Fails beyond the limits.

    python measure.py PROGRAM     PROGRAM is the binary x2i, or the package's command
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

IMPORT_SECONDS = 0.3
OVERHEAD = 0.03
GROWTH = 8 << 20
COUNTER = 0.9
ATTEMPTS, ROUNDS = 3, 5
PICTURES = 200
WARM = 20


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def import_seconds():
    code = "import time; begun = time.perf_counter(); import x2i; print(time.perf_counter() - begun)"
    runs = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(7)]
    return statistics.median(runs)


def seconds_a_picture(folder):
    """From file to file, the median."""
    times = sorted(entry.stat().st_mtime_ns for entry in os.scandir(folder))
    assert len(times) == PICTURES, len(times)
    return statistics.median(after - before for before, after in zip(times, times[1:])) / 1e9


def program_seconds(program, folder):
    """Seconds a picture of the program, which paints and writes all of them in one process."""
    command = [program, "generate", "a red apple", "--seed", "0", "--num-images", str(PICTURES), "--device", "cpu"]
    subprocess.run([*command, "-q", "-o", folder + "/"], check=True)
    return seconds_a_picture(folder)


def our_seconds(folder):
    """The same of the package, in a process of its own too, and how much memory it took after the first pictures."""
    growth = subprocess.check_output([sys.executable, __file__, "--paint", folder])
    return seconds_a_picture(folder), int(growth)


def paint(folder):
    """Paints and writes the pictures; how much memory all but the first took."""
    import x2i

    pipe = x2i.Pipeline.from_pretrained("emoji", device="cpu")
    os.mkdir(folder)
    for seed in range(PICTURES):
        pipe("a red apple", seed=seed).save(f"{folder}/{seed}.png")
        if seed == WARM - 1:
            before = resident()
    return resident() - before


class Beside:
    """Rounds of the program and the package, one after the other, so that the machine's other work is shared.

    Each is a new process: where its code and its memory lie costs some percent, and is another place every time.
    """

    def __init__(self, program):
        self.program = program
        self.overheads, self.ours, self.theirs, self.growths = [], [], [], []

    def run(self, rounds):
        with tempfile.TemporaryDirectory() as folder:
            for index in range(rounds):
                theirs = program_seconds(self.program, f"{folder}/program{index}")
                ours, growth = our_seconds(f"{folder}/package{index}")
                self.overheads.append(ours / theirs - 1)
                self.ours.append(ours)
                self.theirs.append(theirs)
                self.growths.append(growth)

    @property
    def overhead(self):
        return statistics.median(self.overheads)

    @property
    def error(self):
        """Of the median, at 95 %: rounds of one machine differ by some percent."""
        return 1.96 * 1.2533 * statistics.stdev(self.overheads) / len(self.overheads) ** 0.5

    @property
    def fits(self):
        """False where the overhead is larger than the limit by more than chance."""
        return self.overhead - self.error <= OVERHEAD

    def __str__(self):
        ours, theirs = (statistics.median(times) * 1000 for times in (self.ours, self.theirs))
        return f"{ours:.2f} ms, the program's {theirs:.2f} ms, {self.overhead:+.1%} ± {self.error:.1%} of {len(self.overheads)} rounds"


def count(seconds):
    """Steps of a counter a second of its thread's time on two cores."""
    counted, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(1000):
            counted += 1
    return counted / (time.perf_counter() - begun)


def counter_share(pipe):
    """The speed of another thread's Python while one paints, as a share of its speed alone."""
    shares = []
    for _ in range(5):
        alone = count(2)
        stop = threading.Event()

        def paint():
            while not stop.is_set():
                try:
                    pipe("a cat", width=256, height=256, steps=4, callback=lambda _: not stop.is_set())
                except Exception:
                    return

        painter = threading.Thread(target=paint)
        painter.start()
        time.sleep(0.3)
        beside = count(2)
        stop.set()
        painter.join()
        shares.append(beside / alone)
    return max(shares)  # the machine's other work makes it smaller, never larger


def main(program):
    failed = []

    def told(name, value, limit, fits):
        print(f"{name}: {value} (limit {limit}){'' if fits else '  TOO MUCH'}")
        if not fits:
            failed.append(name)

    seconds = import_seconds()
    told("import x2i", f"{seconds:.3f} s", f"{IMPORT_SECONDS} s", seconds <= IMPORT_SECONDS)
    beside = Beside(program)
    for _ in range(ATTEMPTS):
        beside.run(ROUNDS)
        if beside.overhead <= OVERHEAD:
            break
    told("a picture", beside, f"{OVERHEAD:+.0%}", beside.fits)
    growth = min(beside.growths)
    told(f"growth over {PICTURES - WARM} pictures", f"{growth / 1e6:.1f} MB", f"{GROWTH / 1e6:.1f} MB", growth <= GROWTH)
    # One thread computes, so that the other of two cores is the counter's.
    env = {**os.environ, "RAYON_NUM_THREADS": "1"}
    share = float(subprocess.check_output([sys.executable, __file__, "--share"], env=env))
    told("another thread's Python", f"{share:.2f} of its speed alone", str(COUNTER), share >= COUNTER)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "--paint":
        print(paint(sys.argv[2]))
        sys.exit()
    if sys.argv[1] == "--share":
        import x2i

        print(counter_share(x2i.Pipeline.from_pretrained("emoji", device="cpu")))
        sys.exit()
    sys.exit(main(sys.argv[1]))
