"""Callbacks, Ctrl-C, threads, closing, forks."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import x2i


def test_false_from_a_callback_cancels_within_a_block(pipe):
    heard = []

    def stop(progress):
        heard.append(progress)
        return progress.phase != "denoise" or progress.done < 5

    with pytest.raises(x2i.Cancelled, match="^cancelled$"):
        pipe("a cat", seed=1, callback=stop)
    assert heard[-1].phase == "denoise" and heard[-1].done == 5
    assert pipe("a cat", seed=1).seeds == [1]  # it goes on


def test_an_exception_of_a_callback_comes_out_as_it_is(pipe):
    class Mine(Exception):
        pass

    def fail(progress):
        if progress.phase == "denoise":
            raise Mine("mine")

    with pytest.raises(Mine, match="^mine$"):
        pipe("a cat", callback=fail)
    with pytest.raises(Mine):
        pipe("a cat", callback_on_step_end=lambda *_: (_ for _ in ()).throw(Mine("mine")))
    with pytest.raises(Mine):
        x2i.Pipeline.from_pretrained("emoji", device="cpu", callback=lambda _: (_ for _ in ()).throw(Mine("mine")))


def test_a_callback_cant_use_its_own_pipeline(pipe):
    with pytest.raises(x2i.Error, match="a callback can't use the pipeline that it hears; use another one"):
        pipe("a cat", callback=lambda _: pipe("a dog"))


def interrupted(code, delay=0.6):
    """Runs code, sends SIGINT when it prints, and returns the process and the seconds that it took to end."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "painting\n"
    time.sleep(delay)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    return process.returncode, out, error, time.monotonic() - sent


def test_ctrl_c_is_keyboard_interrupt_within_a_block():
    code = """if True:
        import x2i
        pipe = x2i.Pipeline.from_pretrained("emoji", device="cpu")
        print("painting", flush=True)
        try:
            pipe("a cat", steps=1000, width=512, height=512)
        except KeyboardInterrupt:
            print("interrupted")
        print(pipe("a cat", seed=3).seeds)
    """
    code, out, error, seconds = interrupted(code)
    assert code == 0, error
    assert out.splitlines() == ["interrupted", "[3]"]
    assert seconds < 3


def test_a_handler_of_signals_runs_while_it_paints():
    code = """if True:
        import signal, x2i
        pipe = x2i.Pipeline.from_pretrained("emoji", device="cpu")
        class Stop(Exception): pass
        def stop(number, frame): raise Stop
        signal.signal(signal.SIGINT, stop)
        print("painting", flush=True)
        try:
            pipe("a cat", steps=1000, width=512, height=512)
        except Stop:
            print("stopped")
    """
    code, out, error, _ = interrupted(code)
    assert (code, out) == (0, "stopped\n"), error


def test_pipelines_paint_in_threads(pipe):
    expected = [pipe("a cat", seed=seed).arrays[0] for seed in range(4)]
    other = x2i.Pipeline.from_pretrained("emoji", device="cpu")
    painted, failed = {}, []

    def paint(which, seed):
        try:
            for _ in range(3):
                painted[which is pipe, seed] = which("a cat", seed=seed).arrays[0]
        except Exception as error:
            failed.append(error)

    # Two pipelines at once, and two threads that share each.
    threads = [threading.Thread(target=paint, args=(which, seed)) for which in (pipe, other) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(painted) == 4
    for (_, seed), array in painted.items():
        assert np.array_equal(array, expected[seed])


def test_a_thread_with_a_small_stack_paints(pipe):
    before = threading.stack_size(256 * 1024)
    painted = []

    def paint():
        with x2i.Pipeline.from_pretrained("emoji", device="cpu") as other:
            painted.append(other("a cat", seed=2).arrays[0])

    try:
        thread = threading.Thread(target=paint)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert np.array_equal(painted[0], pipe("a cat", seed=2).arrays[0])


def test_callbacks_have_the_callers_context(pipe):
    import contextvars

    name = contextvars.ContextVar("name")
    heard = set()

    def paint():
        name.set("mine")
        pipe("a cat", callback=lambda _: heard.add(name.get(None)))

    thread = threading.Thread(target=paint)
    thread.start()
    thread.join()
    assert heard == {"mine"}


def test_close_gives_the_memory_back():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def once():
        with x2i.Pipeline.from_pretrained("emoji", device="cpu") as pipe:
            pipe("a cat", width=256, height=256, steps=1)
        assert pipe.closed and repr(pipe) == "<x2i.Pipeline emoji on cpu, closed>"
        pipe.close()  # twice is once
        with pytest.raises(x2i.Error, match="pipeline: is closed; open another one"):
            pipe("a cat")

    for _ in range(3):
        once()
    gc.collect()
    before = resident()
    for _ in range(10):
        once()
    assert resident() - before < 8 << 20


def test_the_last_reference_closes():
    import weakref

    pipe = x2i.Pipeline.from_pretrained("emoji", device="cpu")
    gone = weakref.ref(pipe)
    del pipe
    assert gone() is None


def _forked(pipe, queue):
    try:
        pipe("a cat")
    except x2i.Error as error:
        queue.put(str(error))


def test_a_forked_process_says_that_it_cant_paint(pipe):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_forked, args=(pipe, queue))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert 'start it with multiprocessing\'s start method "spawn" or "forkserver"' in queue.get()


def _spawned(queue):
    queue.put(x2i.Pipeline.from_pretrained("emoji", device="cpu")("a cat", seed=4).seeds)


def test_a_spawned_process_paints(pipe):
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_spawned, args=(queue,))
    process.start()
    assert queue.get() == [4]
    process.join(20)
