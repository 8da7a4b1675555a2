"""Compares embeddings of the 21.4M-parameter student by vitral, ONNX Runtime and OpenVINO, in turn in one run.

Usage: compare_inference.py [FOLDER]                       fp32, bf16 and int8 at batch 1, 16 and 64: about 10 minutes on 2 cores
       compare_inference.py [FOLDER] [--precision int8 ...] [--batch 1 ...] [--rounds 3] [--steps N] [--threads N] [--isa LEVEL]
                            [--model FIELD=VALUE ...] [--json]

FOLDER (default build/tests) holds bench_inference (ninja -C build tests/bench_inference), which exports the student as an ONNX model;
the rivals run that very model (onnx_inference.py beside this file, with the Python that runs this: pip install onnxruntime openvino
nncf). Who is not installed is named and left out. Every measurement is a process of its own, with --threads threads; the order turns
from round to round, so that all see the same machine. A figure is the median over the rounds of a process's median call.

--isa LEVEL: the instructions that oneDNN may use in vitral and OpenVINO, as on a processor without the others: AVX512_CORE_VNNI,
AVX2, ... (DNNL_MAX_CPU_ISA and ONEDNN_MAX_CPU_ISA). ONNX Runtime and loops outside of oneDNN know no such limit.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from compare_step import run

PROGRAM = "bench_inference"
HELPER = pathlib.Path(__file__).resolve().with_name("onnx_inference.py")
RIVALS = dict(openvino="OpenVINO", onnxruntime="ONNX Runtime")
PRECISIONS = dict(openvino=("fp32", "bf16", "int8"), onnxruntime=("fp32", "int8"))
ROW = "{:12}{:16}{:>11}{:>11}{:>11}{:>10}{:>9}{:>10}"


def machine():
    """-> processor and cores, in words"""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())
    known = [text for flag, text in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_vnni", "VNNI"), ("avx512_bf16", "AVX512_BF16"),
                                     ("amx_int8", "AMX")) if flag in flags]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else 'an unknown processor'} ({', '.join(known) or 'no AVX2'})"


class Contestants:
    """The commands of those who are there, and in `absent` why others are not."""

    def __init__(self, a, models, environment):
        self.a, self.models, self.environment, self.absent = a, models, environment, {}
        self.program = str((a.folder / PROGRAM).resolve())
        self.fields = [word for setting in a.model for word in ("--model", setting)]
        self.versions = json.loads(subprocess.run([sys.executable, str(HELPER), "--versions"], capture_output=True, text=True,
                                                  check=True).stdout)
        self.onnx = models / "student.onnx"
        self.tool([self.program, "--onnx", str(self.onnx), *self.fields])

    def tool(self, command):
        """RuntimeError with its last line where it fails."""
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        if done.returncode != 0:
            raise RuntimeError(((done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"])[-1])

    def quantised(self, engine):
        """-> the int8 model, made on the way"""
        out = self.models / ("openvino.xml" if engine == "openvino" else f"{engine}.onnx")
        if not out.exists():
            self.tool([sys.executable, str(HELPER), str(self.onnx), "--engine", engine, "--quantise", str(out)])
        return out

    def commands(self, precision, batch):
        """-> name: command"""
        options = ["--precision", precision, "--batch", str(batch), "--steps", str(self.a.steps or max(10, 64 // batch))]
        out = {"vitral": [self.program, *options, *self.fields, "--json"]}
        for engine, name in RIVALS.items():
            needed = [engine] + ["nncf"] * (engine == "openvino" and precision == "int8")
            missing = [package for package in needed if package not in self.versions]
            if missing:
                self.absent[name, precision] = f"{' and '.join(missing)} not installed"
            elif precision not in PRECISIONS[engine]:
                self.absent[name, precision] = f"has no {precision} on the CPU"
            elif (name, precision) not in self.absent:
                try:
                    model = self.quantised(engine) if precision == "int8" else self.onnx
                except RuntimeError as error:
                    self.absent[name, precision] = f"cannot quantise the model: {error}"
                    continue
                out[name] = [sys.executable, str(HELPER), str(model), "--engine", engine, *options, "--threads", str(self.a.threads)]
        return out


def summary(rounds):
    return dict(seconds_median=statistics.median(r["seconds_median"] for r in rounds),
                seconds_min=min(r["seconds_min"] for r in rounds), peak_rss_gb=max(r["peak_rss_gb"] for r in rounds),
                seconds_to_first=min(r["seconds_to_first"] for r in rounds))


def show(cases, contestants):
    print(ROW.format("", "", "median s", "min s", "images/s", "x vitral", "RSS GB", "first s"))
    for (precision, batch), results in cases.items():
        rows = {name: summary(rounds) for name, rounds in results.items() if rounds}
        title = f"{precision}, {batch}"
        for name, r in rows.items():
            ratio = f"{r['seconds_median'] / rows['vitral']['seconds_median']:.2f}" if "vitral" in rows else "-"
            print(ROW.format(title, name, f"{r['seconds_median']:.5f}", f"{r['seconds_min']:.5f}", f"{batch / r['seconds_median']:.1f}",
                             ratio, f"{r['peak_rss_gb']:.2f}", f"{r['seconds_to_first']:.2f}"))
            title = ""
    print()
    for (name, precision), why in contestants.absent.items():
        print(f"{precision}: {name} left out: {why}")
    for batch in dict.fromkeys(batch for _, batch in cases):
        ours = {precision: statistics.median(r["seconds_median"] for r in cases[precision, batch]["vitral"])
                for precision in ("bf16", "int8") if cases.get((precision, batch), {}).get("vitral")}
        if len(ours) == 2:
            print(f"batch {batch}: vitral's int8 is {ours['bf16'] / ours['int8']:.2f} x as fast as its bf16")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("build/tests"), help="of bench_inference")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="timed calls of each process; default: 64 images, at least 10")
    parser.add_argument("--threads", type=int, default=0, help="of all; 0: all cores this process may use")
    parser.add_argument("--isa", help="the most that oneDNN may use, in its own words")
    parser.add_argument("--model", nargs="+", default=[], metavar="FIELD=VALUE", help="other fields of the student")
    parser.add_argument("--json", action="store_true", help="one JSON object with every round")
    a = parser.parse_args()
    if a.rounds < 1 or min(a.batch) < 1 or (a.steps is not None and a.steps < 1):
        parser.error("--rounds, --steps and --batch must be at least 1")
    if not (a.folder / PROGRAM).is_file():
        parser.error(f"{a.folder / PROGRAM} is not there: build it (ninja -C build tests/{PROGRAM}), or name its folder")
    a.threads = a.threads or len(os.sched_getaffinity(0))
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads))
    if a.isa:
        environment.update(DNNL_MAX_CPU_ISA=a.isa, ONEDNN_MAX_CPU_ISA=a.isa)

    with tempfile.TemporaryDirectory(prefix="compare_inference_") as folder:
        contestants = Contestants(a, pathlib.Path(folder), environment)
        commands = {(precision, batch): contestants.commands(precision, batch) for precision in a.precision for batch in a.batch}
        cases = {case: {name: [] for name in those} for case, those in commands.items()}
        for number in range(a.rounds):
            for (precision, batch), those in commands.items():
                for name in list(those) if number % 2 == 0 else list(reversed(those)):
                    if (name, precision) in contestants.absent:
                        continue
                    try:
                        cases[precision, batch][name].append(run(those[name], environment))
                        said = f"{cases[precision, batch][name][-1]['seconds_median']:.5f} s"
                    except RuntimeError as error:
                        said = contestants.absent[name, precision] = str(error)
                    print(f"round {number + 1}, {precision}, batch {batch}: {name}: {said}", file=sys.stderr, flush=True)

    installed = ", ".join(f"{name} {version}" for name, version in contestants.versions.items()) or "no rival installed"
    if a.json:
        print(json.dumps(dict(machine=machine(), isa=a.isa, threads=a.threads, versions=contestants.versions,
                              absent={f"{name}, {precision}": why for (name, precision), why in contestants.absent.items()},
                              cases=[dict(precision=precision, batch=batch, results={
                                  name: dict(summary(rounds), rounds=rounds) for name, rounds in results.items() if rounds})
                                  for (precision, batch), results in cases.items()])))
    else:
        print(f"{machine()}, {a.threads} threads{f', oneDNN at most {a.isa}' if a.isa else ''}; {installed}\n")
        show(cases, contestants)
    return 1 if any(not results["vitral"] for results in cases.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
