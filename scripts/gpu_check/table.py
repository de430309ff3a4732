"""Makes the tables of docs/GPU.md from gpu-check.json."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs/GPU.md"
PLACE = re.compile(r"(<!-- gpu-check -->\n).*?(<!-- /gpu-check -->)", re.DOTALL)


def rows(head, lines):
    """A Markdown table whose first column is text."""
    every = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in every)


def number(value, form="%.2f", factor=1.0):
    return "" if value is None else form % (value * factor)


def gigabytes(value):
    return number(value, "%.1f GB", 1e-9)


def short(reason):
    """A reason on one line of a table."""
    line = " ".join(str(reason).split()).replace("|", "/")
    return line if len(line) <= 160 else line[:157] + "..."


def conditions(found):
    machine, bundle = found["machine"], found["bundle"]
    gpu = machine["gpu"] or {}
    facts = ["%s, driver %s" % (gpu["name"], gpu["driver_version"]) if gpu else "no NVIDIA GPU"]
    facts.append("%s, %d cores" % (machine["cpu"], machine["cores"]))
    doctor = [part for part in found["parts"] if part["part"] == "doctor"]
    torch = doctor[0].get("torch", {}) if doctor else {}
    facts.append("PyTorch %s" % torch["version"] if "version" in torch else "no PyTorch")
    facts.append("x2i %s (%s)" % (bundle["version"], bundle["commit"]))
    facts.append(machine["date"])
    cut = "" if found["complete"] else " The run was cut after %.0f s." % found["seconds"]
    left = bundle["goldens_left_out"]
    lacks = " The bundle had no room for the goldens %s." % ", ".join(left) if left else ""
    return "%s. %.0f s in all.%s%s" % ("; ".join(facts), found["seconds"], cut, lacks)


def outcome(part):
    """What a part of tests came to."""
    if "not_run" in part:
        return "not run: " + short(part["not_run"])
    said = ["%d pass" % part["passed"]] if "passed" in part else []
    failures = part.get("failures", [])
    if failures:
        said.append("%d fail: %s" % (len(failures), short(", ".join(failure["test"] for failure in failures))))
    if part.get("left", 0) > 0:
        said.append("%d did not run" % part["left"])
    if "failed" in part:
        said.append(short(part["failed"]))
    if "seconds" not in part:
        said.append("cut")
    return "; ".join(said) or "done"


def tests(found):
    parts = [part for part in found["parts"] if part["part"] not in ("stack", "painting")]
    return rows(["what", "result", "s"], [[part["part"], outcome(part), number(part.get("seconds"), "%.1f")] for part in parts])


def stack_table(part):
    if "not_run" in part or not part.get("rows"):
        return "Not run: %s." % short(part.get("not_run") or part.get("failed"))
    eager = [row for row in part["rows"] if row["side"] == "PyTorch bf16" and "seconds" in row]
    lines = []
    for row in part["rows"]:
        if "seconds" not in row:
            lines.append([row["side"], "failed: " + short(row.get("failed", "no pass in time")), "", "", "", ""])
            continue
        speed = eager[0]["seconds"] / row["seconds"] if eager else None
        error = number(row.get("error"), "%.1e")
        cells = [number(row["seconds"], "%.1f", 1e3), number(row["tflops"], "%.1f"), number(speed), error]
        lines.append([row["side"], *cells, gigabytes(row.get("device_memory"))])
    head = ["side", "ms", "TFLOP/s", "speed, PyTorch bf16 = 1", "relative error", "GPU memory"]
    rounds = max((len(row["passes"]) for row in part["rows"]), default=0)
    text = "`x2i bench stack` at %dx%d: %d double and %d single blocks of FLUX's width, %.2f TFLOP, median of %d passes%s.\n\n"
    turn = " in turn" if part["in_turn"] else ", one side after the other"
    facts = (part["pixels"], part["pixels"], *part["blocks"], part["gflop"] / 1000, rounds, turn)
    return text % facts + rows(head, lines)


def painting_table(part):
    if "not_run" in part or not part.get("rows"):
        return "Not run: %s." % short(part.get("not_run") or part.get("failed"))
    lines = []
    for row in part["rows"]:
        name = "%s, %s, %s" % (row["backend"], row["weights"], row["precision"])
        limit = row["limit"] or "none"
        if "failed" in row:
            lines.append([name, limit, "failed: " + short(row["failed"]), "", "", "", ""])
            continue
        memory = [gigabytes(row["device_memory"]), gigabytes(row["host_memory"])]
        load = number(row["phases"]["load"], "%.1f")
        lines.append([name, limit, "%.1f" % row["seconds"], load, number(row["step"], "%.3f"), *memory])
    head = ["FLUX.1-schnell's shape, 11.9 billion", "limit", "first picture, s", "of it loading", "s/step", "GPU memory", "host memory"]
    text = "A picture of %dx%d in %d steps, from the start of the program to the written file.\n\n"
    return text % (part["pixels"], part["pixels"], part["steps"]) + rows(head, lines)


def render(found):
    of = {part["part"]: part for part in found["parts"]}
    cut = {"not_run": "the run was cut before"}
    parts = [conditions(found), tests(found), stack_table(of.get("stack", cut)), painting_table(of.get("painting", cut))]
    return "\n\n".join(parts)


def table(path, shown):
    found = json.loads(Path(path).read_text())
    text = render(found)
    if shown:
        print(text)
        return
    if found["rehearsal"]:
        sys.exit("error: %s is of a rehearsal (--small), whose times are no results; --print shows its tables" % path)
    document = DOCUMENT.read_text()
    written, count = PLACE.subn(lambda match: "%s\n%s\n\n%s" % (match[1], text, match[2]), document)
    if count != 1:
        sys.exit("error: %s needs one <!-- gpu-check --> and one <!-- /gpu-check -->" % DOCUMENT)
    DOCUMENT.write_text(written)
