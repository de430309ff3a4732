"""Pictures of a GPU, a software one too. Slow there, so that X2I_TEST_GPU asks for it."""

import os
import threading

import numpy as np
import pytest
import x2i

GPUS = [device.id for device in x2i.devices() if device.id.startswith("wgpu")] if os.environ.get("X2I_TEST_GPU") else []


@pytest.mark.skipif(not GPUS, reason="X2I_TEST_GPU is not set, or there is no GPU")
def test_a_gpu_paints_what_the_cpu_paints_in_threads_too(pipe):
    expected = pipe("a red apple", seed=7).arrays[0].astype(int)
    pipes = [x2i.Pipeline.from_pretrained("emoji", device=GPUS[0]) for _ in range(2)]
    painted = [None, None]

    def paint(index):
        painted[index] = pipes[index]("a red apple", seed=7).arrays[0]

    threads = [threading.Thread(target=paint, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(*painted)
    assert np.abs(painted[0] - expected).max() <= 2  # grey levels: sums of another order
    for each in pipes:
        each.close()
