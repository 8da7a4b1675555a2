"""What a switch of the architecture, the objective or the optimiser costs: training steps of the 21.4M student with it, beside the default.

Usage: compare_switches.py [FOLDER] [--batch 8] [--steps 4] [--rounds 3] [--device cpu] [--precision fp32] [--threads N] [KEY=VALUE ...]

FOLDER (default build/tests) holds the program: ninja -C build tests/bench_train_step. Each KEY=VALUE is one switch
("A=1 + B=2": two together); without any, the list in this file. Every step is timed in a process of its own with the default before
it, so that both see the same machine; the table has the median over the rounds of the ratio of the two, and its range.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

SWITCHES = [
    "model.attention=full", "model.dilation=2", "model.window=5", "model.registers=4", "model.position=rope", "model.position=none",
    "model.mlp=gelu", "model.mlp=swiglu", "model.norm=rms_norm", "model.last_block=attention", "model.head=query", "model.head=mean",
    "model.same_norm=false", "model.drop_path=0.1",
    "train.objective={cosine: 1}", "train.objective={l1: 1, relational: 1}", "train.objective={l1: 1, contrastive: 1}",
    "train.objective={l1: 1, patches: 1}", "train.optimizer.name=sgd", "train.optimizer.name=lion", "train.optimizer.name=muon",
]


def seconds(arguments, overrides, environment):
    """-> the median step of a process; RuntimeError with its last line where it fails."""
    command = [str((arguments.folder / "bench_train_step").resolve()), "--batch", str(arguments.batch), "--steps", str(arguments.steps),
               "--warmup", "1", "--device", arguments.device, "--precision", arguments.precision, "--json", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])["seconds_median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("build/tests"), help="of the program")
    parser.add_argument("switches", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores this process may use")
    arguments = parser.parse_args()
    if "=" in str(arguments.folder):
        arguments.switches.insert(0, str(arguments.folder))
        arguments.folder = pathlib.Path("build/tests")
    if not (arguments.folder / "bench_train_step").is_file():
        parser.error(f"{arguments.folder}/bench_train_step is not there: build it (ninja -C build tests/bench_train_step)")
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads or len(os.sched_getaffinity(0))))

    ratios = {switch: [] for switch in arguments.switches or SWITCHES}
    for _ in range(arguments.rounds):
        for switch, of in ratios.items():
            default = seconds(arguments, [], environment)
            of.append(seconds(arguments, switch.split(" + "), environment) / default)
            print(f"{switch}: {of[-1]:.3f}", file=sys.stderr, flush=True)
    print("| switch | x default | range |\n|---|---|---|")
    for switch, of in ratios.items():
        print(f"| `{switch}` | {statistics.median(of):.2f} | {min(of):.2f} to {max(of):.2f} |")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"compare_switches: {error}")
