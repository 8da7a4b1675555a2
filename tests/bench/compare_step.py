"""Compares the 21.4M-parameter student in vitral and in PyTorch, in turn in one run: training steps and embeddings.

Usage: compare_step.py [FOLDER]                          the whole list: both tasks, fp32 and bf16, about 15 minutes on 2 cores
       compare_step.py [FOLDER] [--task train infer] [--batch 64 ...] [--precision fp32 ...] [--device cpu] [--compile [MODE ...]]
                       [--steps N] [--rounds 2] [--minutes 20] [--threads N] [--json]

FOLDER (default build/tests) holds the programs: ninja -C build tests/bench_train_step tests/bench_inference. PyTorch is
pytorch_step.py beside this file, with the Python that runs this: eager and by torch.compile. Every contestant is a process of
its own, so that its memory and its start are its own. They alternate, so that all see the same machine; further rounds start
only while --minutes allow. Compare on an idle machine. On the CPU all use all cores this process may use (`taskset` chooses
them; --threads N sets OMP_NUM_THREADS).

of rate   the machine's best time for the matrix products alone at these shapes (vitral's or PyTorch's, whichever is faster, in
          any round), as a share of the fastest step: 100 % would be products and nothing else
first s   from the start of the process to the end of the first step, the best round. torch.compile's first round begins with an
          empty cache and compiles; later ones find what it left
x vitral  median of the medians, and fastest step, as multiples of vitral's; * is PyTorch's best
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAMS = dict(train="bench_train_step", infer="bench_inference")
BATCHES = dict(train=(16, 64), infer=(1, 16, 64))
COMPILE = dict(train=("default", ), infer=("default", "frozen"))  # the modes of torch.compile, pytorch_step.py explains them
WARM_UP = dict(train=1, infer=3)
KEYS = ("seconds_median", "seconds_min", "images_per_second", "seconds_to_first", "peak_rss_gb")
ROW = "{:18}{:20}{:>11}{:>11}{:>10}{:>9}{:>9}{:>9}{:>15}"


def steps_of(arguments, task, batch):
    """-> timed steps of a round."""
    return arguments.steps or (3 if task == "train" else max(5, 64 // batch))


def contestants(arguments, task, batch, precision, threads):
    """-> the command of each, by name."""
    options = ["--batch", str(batch), "--precision", precision, "--steps", str(steps_of(arguments, task, batch)),
               "--warmup", str(WARM_UP[task]), "--device", arguments.device, "--json"]
    script = pathlib.Path(__file__).resolve().parent / "pytorch_step.py"
    pytorch = [sys.executable, str(script), *options, "--task", task, "--threads", str(threads)]
    commands = {"vitral": [str((arguments.folder / PROGRAMS[task]).resolve()), *options],
                "pytorch eager": [*pytorch, "--products"]}
    for mode in COMPILE[task] if arguments.compile is None else arguments.compile:
        if mode != "frozen" or task == "infer":
            commands["pytorch compile" if mode == "default" else f"pytorch {mode}"] = [*pytorch, "--compile", mode]
    return commands


def run(command, environment):
    """-> what its last line that is a JSON object says; RuntimeError with one line where there is none."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            result = json.loads(line)
            if missing := [key for key in KEYS if key not in result]:
                raise RuntimeError(f"the output has no {', '.join(missing)}")
            return result
    raise RuntimeError("printed no JSON line")


class Case:
    """One task, batch size and precision: what each contestant did in each round, or why it did not."""

    def __init__(self, arguments, task, batch, precision, threads):
        self.task, self.batch, self.precision, self.device = task, batch, precision, arguments.device
        self.title = f"{task} {batch} {precision}"
        self.commands = contestants(arguments, task, batch, precision, threads)
        self.results = {name: [] for name in self.commands}
        self.failed = {}

    def play(self, backwards, environment):
        names = [name for name in self.commands if name not in self.failed]
        for name in reversed(names) if backwards else names:
            try:
                self.results[name].append(run(self.commands[name], environment))
                said = f"{self.results[name][-1]['seconds_median']:.4f} s"
            except RuntimeError as error:
                said = self.failed[name] = str(error)
            print(f"{self.title}: {name}: {said}", file=sys.stderr, flush=True)

    def product_seconds(self):
        """-> the machine's best, by anybody's products, or None."""
        return min((r["product_seconds"] for rounds in self.results.values() for r in rounds if r.get("product_seconds")),
                   default=None)

    def matrix_gflops(self):
        """-> the rate at that, or None."""
        known = [r["matrix_tflops"] * r["product_seconds"] for r in self.results["vitral"]]
        return 1000 * known[0] / self.product_seconds() if known else None

    def rows(self):
        """-> name: figures over all rounds, of those who were measured in one."""
        products, out = self.product_seconds(), {}
        for name, rounds in self.results.items():
            if not rounds:
                continue
            median, least = statistics.median(r["seconds_median"] for r in rounds), min(r["seconds_min"] for r in rounds)
            out[name] = dict(seconds_median=median, seconds_min=least, images_per_second=self.batch / median,
                             share_of_matrix_rate=products / least if products else None,
                             memory_gb=max(memory_of(r, self.device) for r in rounds),
                             seconds_to_first=min(r["seconds_to_first"] for r in rounds),
                             seconds_to_first_cold=rounds[0]["seconds_to_first"], rounds=rounds)
        for row in out.values():
            vitral = out.get("vitral")
            row["times_vitral"] = row["seconds_median"] / vitral["seconds_median"] if vitral else None
            row["times_vitral_min"] = row["seconds_min"] / vitral["seconds_min"] if vitral else None
        return out

    def best_pytorch(self, rows):
        """-> its name, or None."""
        return min((name for name in rows if name != "vitral"), key=lambda name: rows[name]["seconds_median"], default=None)


def memory_of(result, device):
    """-> 1e9 bytes: on the CPU the process's peak; on a GPU what vitral held of its memory, and what PyTorch's tensors took."""
    if device == "cpu":
        return result["peak_rss_gb"]
    return result["reserved_gb"] if "reserved_gb" in result else result["peak_gb"]


def show(cases, device, threads):
    memory = "RSS GB" if device == "cpu" else "GPU GB"
    versions = {r["torch"] for case in cases for rounds in case.results.values() for r in rounds if "torch" in r}
    print(f"\n{threads} threads, torch {', '.join(sorted(versions)) or 'not measured'}")
    print(ROW.format("", "", "median s", "min s", "images/s", "of rate", memory, "first s", "x vitral (min)"))
    for case in cases:
        rows = case.rows()
        best = case.best_pytorch(rows)
        title = case.title
        for name in case.commands:
            if name not in rows:
                print(f"{title:18}{name:20} not measured: {case.failed[name]}")
                title = ""
                continue
            r = rows[name]
            rate, ratio = r["share_of_matrix_rate"], r["times_vitral"]
            print(ROW.format(title, name + (" *" if name == best else ""), f"{r['seconds_median']:.4f}",
                             f"{r['seconds_min']:.4f}", f"{r['images_per_second']:.1f}",
                             "-" if rate is None else f"{100 * rate:.1f} %",
                             f"{r['memory_gb']:.2f}", f"{r['seconds_to_first']:.2f}",
                             "-" if ratio is None else f"{ratio:.2f} ({r['times_vitral_min']:.2f})"))
            title = ""


def show_conclusions(cases):
    measured = {(case.task, case.batch, case.precision): case.rows() for case in cases}
    print()
    for case in cases:
        rows = measured[case.task, case.batch, case.precision]
        best = case.best_pytorch(rows)
        if best and "vitral" in rows:
            least = min(row["memory_gb"] for name, row in rows.items() if name != "vitral")
            print(f"{case.title}: vitral is {rows[best]['times_vitral']:.2f} x as fast as PyTorch's best ({best}; "
                  f"{rows[best]['times_vitral_min']:.2f} by the fastest steps) in {rows['vitral']['memory_gb'] / least:.2f} of "
                  f"PyTorch's least memory; products reach {case.matrix_gflops():.0f} GFLOP/s")
        single = measured.get((case.task, case.batch, "fp32"), {})
        if case.precision == "bf16" and "vitral" in rows and "vitral" in single:
            ratio = single["vitral"]["seconds_median"] / rows["vitral"]["seconds_median"]
            print(f"{case.title}: vitral is {ratio:.2f} x as fast as in fp32")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("build/tests"), help="of the programs")
    parser.add_argument("--task", choices=("train", "infer"), nargs="+", default=["train", "infer"])
    parser.add_argument("--batch", type=int, nargs="+", help="of all tasks; default: train 16 64, infer 1 16 64")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu", help="of all")
    parser.add_argument("--compile", nargs="*", metavar="MODE",
                        help="of torch.compile, beside eager: default, max-autotune, ..., frozen (infer only); none: eager alone")
    parser.add_argument("--steps", type=int, help="timed steps of each round; default: train 3, infer 64 images, at least 5")
    parser.add_argument("--rounds", type=int, default=2, help="at most")
    parser.add_argument("--minutes", type=float, default=20, help="a further round starts only where it will be over by then")
    parser.add_argument("--threads", type=int, default=0, help="of all; 0: all cores this process may use")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or (arguments.steps is not None and arguments.steps < 1):
        parser.error("--rounds and --steps must be at least 1")
    for task in arguments.task:
        if not (arguments.folder / PROGRAMS[task]).is_file():
            parser.error(f"{arguments.folder / PROGRAMS[task]} is not there: build it (ninja -C build tests/{PROGRAMS[task]}), "
                         "or name its folder")

    threads = arguments.threads or len(os.sched_getaffinity(0))
    cases = [Case(arguments, task, batch, precision, threads) for task in arguments.task
             for batch in arguments.batch or BATCHES[task] for precision in arguments.precision]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="compare_step_") as cache:
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), TORCHINDUCTOR_CACHE_DIR=cache)
        for number in range(arguments.rounds):
            started = time.monotonic()
            for case in cases:
                case.play(number % 2 == 1, environment)
            now = time.monotonic()
            print(f"round {number + 1}: {(now - started) / 60:.1f} minutes", file=sys.stderr, flush=True)
            if now - begin + (now - started) > 60 * arguments.minutes:
                break
    if arguments.json:
        print(json.dumps(dict(threads=threads, cases=[
            dict(task=case.task, batch=case.batch, precision=case.precision, matrix_gflops=case.matrix_gflops(),
                 failed=case.failed, results=case.rows())
            for case in cases])))
    else:
        show(cases, arguments.device, threads)
        show_conclusions(cases)
    return 1 if any(case.failed for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())
