"""Tests and measures the GPU backend, stage after stage, in a given time (scripts/gpu-check builds what is run, and calls this).

Usage: gpu_check.py PROGRAMS [--minutes 14] [-o DIR] [--only STAGE ...] [--simulated]

PROGRAMS is a build folder, or what `scripts/gpu-check --prepare` made of one. DIR (default gpu-check) gets report.json, report.md and the
output of every command; both reports are written anew after each stage, so that nothing is lost when time runs out or somebody
interrupts. Each stage has a limit of its own, its part of --minutes; what it had printed by then counts.

device     the card, its driver, and what else is installed
tests      all tests of the CUDA backend, several programs at once
failures   only after a test failed: each of them alone, with CUDA_LAUNCH_BLOCKING=1, then under compute-sanitizer
products   each product of the student and of a CLIP: algorithms of cuBLASLt, with and without epilogues
kernels    each fused kernel: checked, then timed
step       training steps, by batch size and by setting
profile    the kernels of one step: by Nsight Compute where it is installed and may read counters, else by vitral's own profile
loader     steps that read their images from a file, and what waiting for them adds
embed      embeddings of images
pytorch    steps of PyTorch beside vitral's, in turn, where it is installed
sanitizer  the attention kernels under compute-sanitizer, where it is installed

--names prints the programs that all this takes, and runs nothing.

--simulated takes the programs that compute on the simulator of the tests, and small sizes: a try of this program, no measurement.
Exit status: 0, 1 where a test failed or a stage came to no result, 2 where nothing could be run.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import gpu_report

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ("tensor_ops", "tensor", "autograd", "nn", "train_cuda", "train_memory", "infer_cuda", "models_distillation", "train_adamw", "models")
BENCHMARKS = ("cublaslt", "kernels", "train_step", "inference")
# Seconds of each stage when there are 14 minutes: at most, so that all of them together may be more.
LIMITS = dict(device=15, tests=180, failures=300, products=120, kernels=75, step=150, profile=60, loader=75, embed=30, pytorch=180,
              sanitizer=90)


class Check:
    """What has been run: report() is all of it."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.programs = arguments.programs.resolve()
        self.output = arguments.output
        self.begin = time.monotonic()
        self.end = self.begin + 60 * arguments.minutes
        self.stages = []
        self.device = {}
        self.environment = dict(os.environ)
        if (self.programs / "lib").is_dir():
            before = os.environ.get("LD_LIBRARY_PATH")
            self.environment["LD_LIBRARY_PATH"] = str(self.programs / "lib") + (":" + before if before else "")
        self.running = set()

    def program(self, name):
        """-> the path of a program, of the simulator's kind where that is asked for; Missing where it is not there."""
        folder = self.programs / ("cli" if name == "vitral" else "tests")
        path = folder / (name + ("_simulated_cuda" if self.arguments.simulated and name != "vitral" else ""))
        if not path.is_file():
            raise Missing(f"{path.name} is not among the programs")
        return str(path)

    def run(self, stage, name, command, seconds, environment=None):
        """Runs a command for at most so many seconds -> its record, with what it printed under "output"."""
        log = self.output / f"{stage}-{name}.log"
        started = time.monotonic()
        seconds = min(seconds, self.end - started)
        record = dict(name=name, command=[str(word) for word in command], log=log.name, status="no time", seconds=0.0, output="")
        if seconds < 1:
            return record
        with open(log, "wb") as out:
            process = subprocess.Popen(record["command"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                                       env={**self.environment, **(environment or {})}, start_new_session=True)
            self.running.add(process.pid)
            try:
                status = process.wait(seconds)
                record["status"] = "ok" if status == 0 else f"exit status {status}" if status > 0 else signal.Signals(-status).name
            except subprocess.TimeoutExpired:
                record["status"] = "out of time"
            finally:
                kill(process.pid)
                process.wait()
                self.running.discard(process.pid)
        record["seconds"] = round(time.monotonic() - started, 2)
        record["output"] = log.read_text(errors="replace")
        return record

    def report(self):
        return dict(version=1, simulated=self.arguments.simulated, minutes=self.arguments.minutes,
                    seconds=round(time.monotonic() - self.begin, 1), revision=revision(), device=self.device, stages=self.stages)

    def write(self):
        report = self.report()
        for name, text in (("report.json", json.dumps(report, indent=1)), ("report.md", gpu_report.markdown(report))):
            part = self.output / (name + ".part")
            part.write_text(text + "\n")
            part.replace(self.output / name)


class Missing(Exception):
    """Why a stage cannot be run here."""


def revision():
    """-> of this tree, or "" where nobody knows."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def kill(group):
    """Ends whatever a command has left running."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def json_lines(text):
    """-> the objects among the lines."""
    out = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                out.append(json.loads(line))
            except ValueError:
                pass  # the last line of a program that was ended while it wrote it
    return out


def tool(name):
    newest_first = sorted(pathlib.Path("/opt/nvidia/nsight-compute").glob("*"), reverse=True)
    for folder in (None, "/usr/local/cuda/bin", *newest_first):
        if found := shutil.which(name, path=folder):
            return found
    raise Missing(f"{name} is not installed")


def tests_of(output):
    """-> what a GoogleTest program said: names by how they ended; the one that was running when it ended counts as failed."""
    out = dict(passed=[], failed=[], skipped=[])
    running = None
    for line in output.splitlines():
        match = re.match(r"\[ +(RUN|OK|FAILED|SKIPPED) +\] ([\w/]+\.[\w/]+)(?:$|,| \()", line)
        if not match:
            continue
        word, name = match.groups()
        if word == "RUN":
            running = name
        elif name == running:
            out[dict(OK="passed", FAILED="failed", SKIPPED="skipped")[word]].append(name)
            running = None
    if running:
        out["failed"].append(running)
    return out


def stage_device(check, seconds):
    if check.arguments.simulated:
        check.device = dict(name="simulator", driver="none")
    else:
        fields = ("name", "driver_version", "memory.total", "compute_cap", "clocks.max.sm", "power.limit")
        record = check.run("device", "nvidia-smi", [tool("nvidia-smi"), "--query-gpu=" + ",".join(fields), "--format=csv,noheader"], seconds)
        yield record
        values = [value.strip() for value in record["output"].splitlines()[0].split(",")] if record["status"] == "ok" else []
        if len(values) != len(fields):
            raise Missing("nvidia-smi shows no GPU")
        check.device = dict(zip(fields, values))
    code = "import torch; print(torch.__version__, torch.version.cuda)"
    for name, command in (("vitral", [check.program("vitral"), "--version"]), ("PyTorch", [sys.executable, "-c", code])):
        record = check.run("device", name, command, seconds)
        check.device[name] = record["output"].splitlines()[-1] if record["status"] == "ok" else "not installed"
    check.device["processors"] = len(os.sched_getaffinity(0))


def stage_tests(check, seconds):
    until = time.monotonic() + seconds
    at_once = max(1, min(8, len(os.sched_getaffinity(0)) // 2))
    names = [name for name in TESTS if not check.arguments.simulated or name in ("tensor", "models_distillation")]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        def one(name):
            return check.run("tests", name, [check.program("test_" + name), "--gtest_filter=*Cuda*"], until - time.monotonic())
        for record in pool.map(one, names):
            record["tests"] = tests_of(record["output"])
            yield record


def failed_tests(check):
    """-> (program, name of the test) of each that failed."""
    return [(record["name"], test) for stage in check.stages if stage["name"] == "tests" for record in stage["commands"]
            for test in record["tests"]["failed"]]


def stage_failures(check, seconds):
    failed = failed_tests(check)
    if not failed:
        raise Missing("no test failed")
    until = time.monotonic() + seconds
    for name, test in failed:
        command = [check.program("test_" + name), "--gtest_filter=" + test]
        yield check.run("failures", test, command, min(60, until - time.monotonic()), {"CUDA_LAUNCH_BLOCKING": "1"})
    sanitizer = tool("compute-sanitizer")
    for name, test in failed:
        command = [sanitizer, "--error-exitcode", "3", check.program("test_" + name), "--gtest_filter=" + test]
        yield check.run("failures", test + "-sanitizer", command, min(90, until - time.monotonic()))


def small_student(check):
    return "--image 56 --patch 28 --width 32 --heads 2 --layers 1".split() if check.arguments.simulated else []


def stage_products(check, seconds):
    small = ["--small"] if check.arguments.simulated else []
    yield check.run("products", "cublaslt", [check.program("bench_cublaslt"), "--json", *small], seconds)


def stage_kernels(check, seconds):
    few = ["--batch", "2", "--only", "norm"] if check.arguments.simulated else ["--batch", "2048"]
    yield check.run("kernels", "bf16", [check.program("bench_kernels"), "--device", "cuda", "--precision", "bf16", "--json", *few], seconds)


# Further keys of a step, by the name that the report gives them; {output} is the report's folder.
SETTINGS = {"default": [], "recompute": ["train.recompute=always"], "products": ["train.products={output}/products.jsonl"],
            "fused": ["train.products={output}/products.jsonl", "train.recompute=never"]}


def step(check, batch, steps, *more):
    return [check.program("bench_train_step"), "--device", "cuda", "--precision", "bf16", "--batch", batch, "--steps", steps, "--json",
            *small_student(check), *more]


def stage_step(check, seconds):
    until = time.monotonic() + seconds
    sizes = [(2, 2)] if check.arguments.simulated else [(2048, 100), (512, 200), (4096, 50), (1024, 100)]
    for batch, steps in sizes:
        for name, keys in SETTINGS.items():
            keys = [key.format(output=check.output.resolve()) for key in keys]
            yield check.run("step", f"{name}-{batch}", step(check, batch, steps, *keys), until - time.monotonic())


def stage_profile(check, seconds):
    until = time.monotonic() + seconds
    batch = 2 if check.arguments.simulated else 2048
    try:
        ncu = None if check.arguments.simulated else tool("ncu")
    except Missing:
        ncu = None
    if ncu:
        # The first step is not yet a graph; what comes behind it are products alone.
        record = check.run("profile", "ncu", [ncu, "--clock-control", "none", "--csv", "--print-units", "base", "--metrics",
                                              "gpu__time_duration.sum,dram__bytes.sum", *step(check, batch, 1, "--warmup", 0)], seconds)
        kernels = gpu_report.kernels_of(record["output"])
        yield {**record, "kernels": kernels}
        if kernels:
            return
    yield check.run("profile", "own", step(check, batch, 3, "--profile"), until - time.monotonic())  # also where counters are not to be read


def stage_loader(check, seconds):
    memory = pathlib.Path("/dev/shm")
    count, side, batch, steps = (8, 64, 4, 2) if check.arguments.simulated else (8192, 256, 2048, 30)
    workers = max(1, len(os.sched_getaffinity(0)) - 2)
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield check.run("loader", f"{workers}-workers", step(check, batch, steps, "--data", pathlib.Path(folder) / "train.h5", "--make", count,
                                                             "--side", side, "--workers", workers, "data.augment=clip"), seconds)


def stage_embed(check, seconds):
    until = time.monotonic() + seconds
    for batch in [2] if check.arguments.simulated else [1, 64, 1024]:
        yield check.run("embed", f"bf16-{batch}", [check.program("bench_inference"), "--device", "cuda", "--precision", "bf16", "--batch",
                                                   batch, "--json", *small_student(check)], until - time.monotonic())


def stage_pytorch(check, seconds):
    if check.arguments.simulated:
        raise Missing("the simulator runs no PyTorch")
    if check.device.get("PyTorch") == "not installed":
        raise Missing("PyTorch is not installed")
    yield check.run("pytorch", "step", [sys.executable, ROOT / "tests/bench/compare_step.py", check.programs / "tests", "--task", "train",
                                        "--device", "cuda", "--batch", 1024, "--precision", "bf16", "--compile", "default", "--steps", 50,
                                        "--rounds", 1, "--json"], seconds)


def stage_sanitizer(check, seconds):
    if check.arguments.simulated:
        raise Missing("the simulator has AddressSanitizer instead")
    command = [tool("compute-sanitizer"), "--error-exitcode", "3", check.program("test_tensor_ops"), "--gtest_filter=*Attention*Cuda*"]
    record = check.run("sanitizer", "attention", command, seconds)
    record["tests"] = tests_of(record["output"])
    yield record


STAGES = {name[len("stage_"):]: function for name, function in list(globals().items()) if name.startswith("stage_")}


def play(check, name):
    """Runs a stage; writes both reports after each of its commands."""
    seconds = min(max(LIMITS[name] * check.arguments.minutes / 14, 5), check.end - time.monotonic())
    stage = dict(name=name, status="running", limit=round(seconds, 1), seconds=0.0, commands=[])
    check.stages.append(stage)
    started = time.monotonic()
    try:
        for record in STAGES[name](check, seconds) if seconds >= 1 else []:
            output = record.pop("output")
            record["results"] = json_lines(output)
            record["end"] = output.splitlines()[-12:] if record["status"] != "ok" else []
            stage["commands"].append(record)
            stage["seconds"] = round(time.monotonic() - started, 1)
            check.write()
        states = [record["status"] for record in stage["commands"]]
        stage["status"] = "no time" if seconds < 1 else next((state for state in states if state != "ok"), "ok")
        tests = [record["tests"] for record in stage["commands"] if "tests" in record]
        if tests and stage["status"] == "ok" and not any(of["passed"] for of in tests):
            stage["status"] = "no test ran"
    except Missing as why:
        stage["status"] = f"left out: {why}"
    stage["seconds"] = round(time.monotonic() - started, 1)
    check.write()
    print(f"{name:10} {stage['seconds']:6.1f} s  {stage['status']}", flush=True)


class Names(argparse.Action):
    def __call__(self, parser, *_):
        print("cli/vitral", *("tests/test_" + name for name in TESTS), *("tests/bench_" + name for name in BENCHMARKS), sep="\n")
        parser.exit()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=14, help="for all stages (default: 14)")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("gpu-check"), metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=STAGES, metavar="STAGE", help="these stages, and device: " + " ".join(STAGES))
    parser.add_argument("--simulated", action="store_true", help="on the simulator of the tests")
    parser.add_argument("--names", action=Names, nargs=0, help="print the programs, run nothing")
    arguments = parser.parse_args()
    if not 0 < arguments.minutes <= 1440:
        parser.error(f"--minutes {arguments.minutes:g}: more than 0, at most 1440")
    if not (arguments.programs / "tests").is_dir():
        parser.error(f"{arguments.programs}: holds no programs; scripts/gpu-check builds them")
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"-o {arguments.output}: {error.strerror}")

    check = Check(arguments)

    def interrupted(number, frame):
        check.end = 0  # what waits for its turn does not begin
        for group in list(check.running):
            kill(group)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    ended = ""
    try:
        for name in STAGES:
            if not arguments.only or name == "device" or name in arguments.only:
                play(check, name)
            if not check.device:
                print(f"gpu-check: {check.stages[0]['status'].removeprefix('left out: ')}; nothing was run", file=sys.stderr)
                return 2
    except KeyboardInterrupt:
        check.stages[-1]["status"] = "interrupted"
        ended = ", interrupted"
    check.write()
    print(f"report: {arguments.output / 'report.md'}{ended}")
    fine = all(stage["status"] == "ok" or stage["status"].startswith("left out") for stage in check.stages)
    return 0 if fine and not ended else 1


if __name__ == "__main__":
    sys.exit(main())
