"""The large files, made in the background while the tests run: weights for the stack, and models of 12 billion."""

import shutil
import threading
import time

from process import Failed, Late, output

# Bytes that each needs.
BYTES = {"stack": 8 << 30, "q4_0": 8 << 30, "bf16": 25 << 30}


class Files:
    def __init__(self, check, folder, limit):
        self.check, self.folder, self.facts = check, folder, {}
        self.done = {name: threading.Event() for name in BYTES}
        self.limit = limit
        self.thread = threading.Thread(target=self._make, daemon=True)
        self.thread.start()

    def _command(self, name):
        sizes = self.check.sizes
        if name == "stack":
            words = ["bench", "stack", "--prepare", "--quantize", "f16,none,q8_0,q4_0", "--weights", self.path(name)]
            return self.check.program(*words, "--size", str(sizes["pixels"]), *sizes["stack_blocks"])
        return self.check.program("bench", "make-model", self.path(name), "--weights", name, *sizes["model_blocks"])

    def path(self, name):
        return self.folder / name

    def _make(self):
        for name, size in BYTES.items():
            began, facts = time.monotonic(), {}
            self.facts[name] = facts
            try:
                # The file says what was made: a rehearsal's files are smaller.
                complete, wanted = self.folder / (name + ".complete"), " ".join(self._command(name)[1:])
                if complete.exists() and complete.read_text() == wanted:
                    facts["note"] = "of an earlier run"
                else:
                    complete.unlink(missing_ok=True)
                    shutil.rmtree(self.path(name), ignore_errors=True)
                    if not self.check.small and shutil.disk_usage(self.folder).free < size:
                        raise Failed("%s has no room for %d GB" % (self.folder, size >> 30))
                    output(self._command(name), self.limit, self.check.environment, "x2i bench")
                    complete.write_text(wanted)
            except (Failed, Late, OSError) as error:
                facts["failed"] = str(error)
            except Exception as error:  # whoever waits must hear of it
                facts["failed"] = "%s: %s" % (type(error).__name__, error)
            facts["seconds"] = time.monotonic() - began
            self.done[name].set()

    def wait(self, name, deadline):
        """The path, as soon as it is complete."""
        if not self.done[name].wait(max(0.0, deadline - time.monotonic())):
            raise Late("the files of %s were not made in time" % name)
        if "failed" in self.facts[name]:
            raise Failed("the files of %s: %s" % (name, self.facts[name]["failed"]))
        return self.path(name)
