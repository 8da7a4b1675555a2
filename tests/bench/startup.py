"""What a build costs at the start: seconds and memory of `vitral --version` and of embedding one photograph, of two builds side by side.

Usage: startup.py BUILD BASE [--weights FILE] [--image FILE] [--rounds 31]

BUILD and BASE are build folders, one with CUDA (-Dcuda=enabled) and one without, say. Each command runs once a round in each of them, in
turn, as a process of its own, the first time unmeasured; the table has the medians of wall seconds, of CPU seconds (which say more where
others compute, too) and of peak resident memory (wait4), and their ratios. Without --weights the small student of tests/golden embeds, without --image a made picture of 640 x 480.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measure(command):
    """-> seconds, CPU seconds, MB resident at the peak; ends the program where the command fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {error.decode(errors='replace').strip()}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs=2, type=pathlib.Path, metavar="BUILD", help="the build in question, and the one it is compared with")
    parser.add_argument("--weights", type=pathlib.Path, default=ROOT / "tests/golden/run_init.safetensors", help="of a student")
    parser.add_argument("--image", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    programs = [build / "cli/vitral" for build in arguments.builds]
    for program in programs:
        if not program.is_file():
            parser.error(f"{program} is not there: build it (ninja -C {program.parent.parent} cli/vitral)")
    with tempfile.TemporaryDirectory() as folder:
        image = arguments.image
        if image is None:
            image = pathlib.Path(folder) / "made.ppm"
            pixels = bytes((x * y + c * x) % 251 for y in range(480) for x in range(640) for c in range(3))
            image.write_bytes(b"P6 640 480 255\n" + pixels)
        embed = ["embed", arguments.weights, image, "-o", pathlib.Path(folder) / "e.h5", "--device", "cpu"]
        commands = {"--version": ["--version"], "embed one image": embed}
        print("| | | BUILD | BASE | ratio |\n|---|---|---|---|---|")
        for name, words in commands.items():
            runs = [[], []]
            for i in range(arguments.rounds + 1):
                for program, of in zip(programs, runs):
                    measured = measure([program, *words])
                    if i > 0:
                        of.append(measured)
            medians = [[statistics.median(values) for values in zip(*of)] for of in runs]
            for unit, digits, build, base in zip(("seconds", "CPU seconds", "MB resident"), (".4f", ".4f", ".1f"), *medians):
                print(f"| {name} | {unit} | {build:{digits}} | {base:{digits}} | {build / base:.3f} |")


if __name__ == "__main__":
    main()
