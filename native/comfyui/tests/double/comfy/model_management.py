"""Interruption and the memory of devices."""


class InterruptProcessingException(Exception):
    pass


interrupted = False
device = "cpu"
freed = []


class Device:
    def __init__(self, type):
        self.type = type


def throw_exception_if_processing_interrupted():
    global interrupted
    if interrupted:
        interrupted = False
        raise InterruptProcessingException()


def get_torch_device():
    return Device(device)


def free_memory(memory_required, device, keep_loaded=()):
    freed.append(memory_required)


def soft_empty_cache():
    pass
