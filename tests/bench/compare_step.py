"""Compares a training step of the 21.4M-parameter student: vitral's benchmark program and PyTorch, in turn in one run.

Usage: compare_step.py [PROGRAM] [--batch 64 ...] [--precision fp32 ...] [--device cpu] [--compile [MODE]] [--steps 5]
                       [--rounds 3] [--json]

PROGRAM (default build/tests/bench_train_step) is run as `PROGRAM --batch N --steps N --json`, PyTorch as pytorch_step.py
beside this file, with the Python that runs this: eager and, with --compile, also by torch.compile. They alternate, so that
all see the same machine; each round's median is shown, and ratios are those of the medians over rounds, for each batch size
and precision. Compare on an idle machine. On the CPU all use all cores this process may use (`taskset` chooses them;
--threads N sets OMP_NUM_THREADS).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

KEYS = ("seconds_median", "seconds_min", "images_per_second")
ROW = "{:24}{:>11}{:>11}{:>11}{:>9}{:>10}"


def run(command, environment):
    """-> the last line that is a JSON object."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()[-2000:]}")
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            result = json.loads(line)
            if missing := [key for key in KEYS if key not in result]:
                raise SystemExit(f"{' '.join(command)}: the output has no {', '.join(missing)}")
            return result
    raise SystemExit(f"{' '.join(command)}: printed no JSON line")


def commands_for(arguments, batch, precision, threads):
    """-> the contestants by name."""
    options = ["--batch", str(batch), "--precision", precision, "--steps", str(arguments.steps), "--device", arguments.device,
               "--json"]
    script = pathlib.Path(__file__).resolve().parent / "pytorch_step.py"
    eager = [sys.executable, str(script), *options, "--threads", str(threads)]
    commands = {"vitral": [str(arguments.program.resolve()), *options], "pytorch": eager}
    if arguments.compile:
        commands[f"pytorch {arguments.compile}"] = [*eager, "--compile", arguments.compile]
    return commands


def compare(arguments, batch, precision, threads):
    """-> what each contestant did, over all rounds."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    commands = commands_for(arguments, batch, precision, threads)
    results = {name: [] for name in commands}
    for number in range(arguments.rounds):
        order = list(commands) if number % 2 == 0 else list(reversed(commands))
        for name in order:
            results[name].append(run(commands[name], environment))
            print(f"batch {batch} {precision}, round {number + 1}: {name} {results[name][-1]['seconds_median']:.4f} s",
                  file=sys.stderr, flush=True)
    summary = {}
    for name, rounds in results.items():
        median = statistics.median(r["seconds_median"] for r in rounds)
        summary[name] = dict(rounds[0], seconds_median=median, seconds_min=min(r["seconds_min"] for r in rounds),
                             images_per_second=batch / median)
    for row in summary.values():
        row["times_vitral"] = row["seconds_median"] / summary["vitral"]["seconds_median"]
    return summary


def show(batch, precision, summary):
    vitral = summary["vitral"]
    print(f"\nbatch {batch}, {precision}, {vitral.get('device', 'CPU')}, torch {summary['pytorch'].get('torch', '?')}")
    print(ROW.format("", "median s", "min s", "images/s", "peak GB", "x vitral"))
    for name, row in summary.items():
        peak = row.get("reserved_gb", row.get("peak_gb")) if row.get("peak_gb") is not None or name == "vitral" else None
        print(ROW.format(name, f"{row['seconds_median']:.4f}", f"{row['seconds_min']:.4f}", f"{row['images_per_second']:.1f}",
                         "-" if peak is None else f"{peak:.2f}", f"{row['times_vitral']:.2f}"))
    if (share := vitral.get("share_of_matrix_rate")) is not None:
        print(f"vitral: {100 * share:.1f} % of the time is that of the products alone, at {vitral['matrix_tflops']:.3f} TFLOP/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", type=pathlib.Path, default=pathlib.Path("build/tests/bench_train_step"))
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), nargs="+", default=["fp32"])
    parser.add_argument("--device", default="cpu", help="of all")
    parser.add_argument("--compile", nargs="?", const="default", help="PyTorch by torch.compile, too, perhaps in a mode")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of all; 0: all cores this process may use")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.program.is_file():
        parser.error(f"{arguments.program} is not there: build it, or give its path")

    threads = arguments.threads or len(os.sched_getaffinity(0))
    for batch in arguments.batch:
        for precision in arguments.precision:
            summary = compare(arguments, batch, precision, threads)
            if arguments.json:
                print(json.dumps(dict(batch=batch, precision=precision, threads=threads, results=summary)), flush=True)
            else:
                show(batch, precision, summary)


if __name__ == "__main__":
    main()
