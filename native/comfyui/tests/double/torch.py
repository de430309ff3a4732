"""Tensors on the host: arrays with the methods that the nodes call."""

import numpy as np


class Tensor(np.ndarray):
    def detach(self):
        return self

    cpu = detach

    def float(self):
        return self.astype(np.float32)

    def numpy(self):
        return np.asarray(self)


def from_numpy(array):
    return array.view(Tensor)
