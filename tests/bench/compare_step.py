"""Compares a training step of the 21.4M-parameter student: vitral's benchmark program and PyTorch, in turn in one run.

Usage: compare_step.py [PROGRAM] [--batch 64] [--steps 5] [--rounds 3] [--compile [MODE]] [--device cuda --precision bf16] [--json]

PROGRAM (default build/tests/bench_train_step) is run as `PROGRAM --batch N --steps N --json`, PyTorch as pytorch_step.py
beside this file, with the Python that runs this. They alternate, so that both see the same machine; each round's median
is shown, and the ratio is that of the medians over rounds. Compare on an idle machine. Both use all cores this process may
use (`taskset` chooses them; --threads N sets OMP_NUM_THREADS for both).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

KEYS = ("seconds_median", "seconds_min", "images_per_second")


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", type=pathlib.Path, default=pathlib.Path("build/tests/bench_train_step"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of both; 0: all cores this process may use")
    parser.add_argument("--device", default="cpu", help="of both")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="of both")
    parser.add_argument("--compile", nargs="?", const="default", help="PyTorch with torch.compile, perhaps in a mode")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.program.is_file():
        parser.error(f"{arguments.program} is not there: build it, or give its path")

    threads = arguments.threads or len(os.sched_getaffinity(0))
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    options = ["--batch", str(arguments.batch), "--steps", str(arguments.steps), "--device", arguments.device, "--precision",
               arguments.precision, "--json"]
    script = pathlib.Path(__file__).resolve().parent / "pytorch_step.py"
    commands = {
        "vitral": [str(arguments.program.resolve()), *options],
        "pytorch": [sys.executable, str(script), *options, "--threads", str(threads),
                    *(["--compile", arguments.compile] if arguments.compile else [])],
    }
    results = {name: [] for name in commands}
    for number in range(arguments.rounds):
        order = list(commands) if number % 2 == 0 else list(reversed(commands))
        for name in order:
            results[name].append(run(commands[name], environment))
            print(f"round {number + 1}: {name} {results[name][-1]['seconds_median']:.3f} s", file=sys.stderr, flush=True)

    summary = {name: dict(seconds_median=statistics.median(r["seconds_median"] for r in rounds),
                          seconds_min=min(r["seconds_min"] for r in rounds)) for name, rounds in results.items()}
    for row in summary.values():
        row["images_per_second"] = arguments.batch / row["seconds_median"]
    ratio = summary["pytorch"]["seconds_median"] / summary["vitral"]["seconds_median"]
    ratio_min = summary["pytorch"]["seconds_min"] / summary["vitral"]["seconds_min"]
    torch_version = results["pytorch"][0].get("torch", "?")
    if arguments.json:
        print(json.dumps(dict(summary, batch=arguments.batch, threads=threads, torch=torch_version, ratio=ratio,
                              ratio_of_minima=ratio_min)))
        return
    print(f"training step, batch {arguments.batch}, {threads} threads, {arguments.rounds} rounds of {arguments.steps} steps, "
          f"torch {torch_version}{f' compiled ({arguments.compile})' if arguments.compile else ''}, {arguments.device}, {arguments.precision}")
    print(f"{'':10}{'median s':>10}{'min s':>10}{'images/s':>10}")
    for name, row in summary.items():
        print(f"{name:10}{row['seconds_median']:10.3f}{row['seconds_min']:10.3f}{row['images_per_second']:10.1f}")
    if (share := results["vitral"][0].get("share_of_matrix_rate")) is not None:
        print(f"vitral's step is at {100 * share:.1f} % of the matrix rate of {results['vitral'][0]['device']} on the model's shapes")
    print(f"vitral is {ratio:.2f} times as fast as PyTorch by the medians, {ratio_min:.2f} by the minima")


if __name__ == "__main__":
    main()
