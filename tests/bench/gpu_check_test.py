"""Tests gpu_check.py on the simulator of a build folder, its only argument."""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import gpu_check
import gpu_report

BUILD = pathlib.Path(sys.argv.pop(1))
PROGRAM = [sys.executable, pathlib.Path(__file__).with_name("gpu_check.py")]


class Output(unittest.TestCase):
    def test_tests_are_read_from_what_a_program_printed(self):
        said = "\n".join(("[ RUN      ] A/Cuda.One", "[       OK ] A/Cuda.One (3 ms)", "[ RUN      ] Cuda.Two", "[  SKIPPED ] Cuda.Two (0 ms)",
                          "[ RUN      ] Cuda.Three", "[  FAILED  ] Cuda.Three, where GetParam() = 3 (1 ms)", "[ RUN      ] Cuda.Four",
                          "CUDA error", "[  FAILED  ] Cuda.Three, where GetParam() = 3"))
        self.assertEqual(gpu_check.tests_of(said), dict(passed=["A/Cuda.One"], skipped=["Cuda.Two"], failed=["Cuda.Three", "Cuda.Four"]))

    def test_no_test_of_the_backend_is_left_out(self):
        suffix = "_simulated_cuda"
        known = {path.name.removesuffix(suffix) for path in (BUILD / "tests").glob("test_*" + suffix) if path.is_file()}
        self.assertEqual({"test_" + name for name in gpu_check.TESTS} | {"test_train_cuda_processes"}, known)  # which wants two GPUs

    def test_half_a_line_of_json_is_no_result(self):
        self.assertEqual(gpu_check.json_lines('text\n{"a": 1}\n{"a": 2'), [dict(a=1)])

    def test_kernels_are_summed_by_name(self):
        said = "\n".join(('{"images_per_second": 3}', "==PROF== Connected",
                          '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"',
                          '"0","void norm<float>(int)","dram__bytes.sum","byte","3,000"',
                          '"0","void norm<float>(int)","gpu__time_duration.sum","ns","1,500"',
                          '"1","void norm<float>(int)","dram__bytes.sum","byte","1000"',
                          '"1","void norm<float>(int)","gpu__time_duration.sum","ns","500"',
                          '"2","gemm","gpu__time_duration.sum","ns","9000"', "==PROF== Disconnected"))
        self.assertEqual(gpu_report.kernels_of(said), [dict(kernel="gemm", launches=1, us=9.0, gb_per_second=0.0),
                                                       dict(kernel="void norm<float>", launches=2, us=2.0, gb_per_second=2.0)])


class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, *arguments, **environment):
        return subprocess.Popen([*PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, **environment})

    def check(self, *arguments, **environment):
        """-> exit status, what was printed, the report, its Markdown."""
        process = self.start(BUILD, "--simulated", "-o", self.folder, *arguments, **environment)
        out, errors = process.communicate()
        report = json.loads((self.folder / "report.json").read_text())
        return process.returncode, out + errors, report, (self.folder / "report.md").read_text()

    def test_every_stage_comes_to_its_result(self):
        status, said, report, text = self.check("--minutes", "13")
        stages = {stage["name"]: stage for stage in report["stages"]}
        self.assertEqual(status, 0, said)
        self.assertEqual(list(stages), list(gpu_check.STAGES))
        for name in ("device", "tests", "products", "kernels", "step", "profile", "loader", "embed"):
            self.assertEqual(stages[name]["status"], "ok", stages[name])
        for name, why in (("failures", "no test failed"), ("pytorch", "runs no PyTorch"), ("sanitizer", "AddressSanitizer")):
            self.assertIn(why, stages[name]["status"])
        self.assertGreater(len(stages["tests"]["commands"][0]["tests"]["passed"]), 3)
        self.assertEqual([r["kernel"] for r in stages["kernels"]["commands"][0]["results"]][0], "layer_norm")
        self.assertEqual([r["what"] for r in stages["products"]["commands"][0]["results"]].count("bias gradient"), 12)
        self.assertTrue(stages["profile"]["commands"][0]["results"])
        for part in ("a try, no measurement", "## Tests", "## Training steps", "## Kernels", "| layer_norm |", "## Products",
                     "| student c_fc |", "default-2", "recompute-2", "products-2", "fused-2", "-workers", "QuickGELU of"):
            self.assertIn(part, text)
        self.assertNotIn("did not end well", text)

    def test_what_was_found_is_kept_when_time_runs_out(self):
        check = gpu_check.Check(argparse.Namespace(programs=BUILD, output=self.folder, minutes=5, simulated=True))
        program = "import time; print('{\"us\": 1}', flush=True); time.sleep(600)"
        record = check.run("step", "slow", [sys.executable, "-c", program], 5)
        self.assertEqual((record["status"], gpu_check.json_lines(record["output"])), ("out of time", [dict(us=1)]))
        check.end = 0
        self.assertEqual(check.run("step", "late", [sys.executable, "-c", program], 5)["status"], "no time")

    def test_a_stage_without_time_is_no_success(self):
        status, said, report, text = self.check("--minutes", "0.02", "--only", "step")
        self.assertEqual(status, 1, said)
        self.assertIn(report["stages"][-1]["status"], ("out of time", "no time"))
        self.assertIn(f"| {report['stages'][-1]['status']} |", text)

    def test_a_test_that_fails_is_run_again_by_itself(self):
        status, said, report, text = self.check("--minutes", "5", "--only", "tests", "failures", VITRAL_SIMULATOR_MEMORY="1000")
        stages = {stage["name"]: stage for stage in report["stages"]}
        self.assertEqual(status, 1, said)
        failed = stages["tests"]["commands"][0]["tests"]["failed"]
        self.assertTrue(failed)
        self.assertEqual(stages["failures"]["commands"][0]["name"], failed[0])
        self.assertIn(f"{failed[0]} failed**", text)

    def test_an_interruption_keeps_the_report(self):
        process = self.start(BUILD, "--simulated", "-o", self.folder, "--only", "tests")
        deadline = time.monotonic() + 60
        while not (self.folder / "tests-tensor.log").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, errors)
        self.assertIn("interrupted", out)
        self.assertEqual(json.loads((self.folder / "report.json").read_text())["stages"][-1]["status"], "interrupted")

    def test_what_cannot_be_run_is_said(self):
        for arguments, text in ((("nowhere",), "nowhere: holds no programs; scripts/gpu-check builds them"),
                                ((BUILD, "--minutes", "0"), "--minutes 0: more than 0, at most 1440"),
                                ((BUILD, "-o", "/dev/null/x"), "-o /dev/null/x: Not a directory")):
            process = self.start(*arguments)
            _, errors = process.communicate()
            self.assertEqual(process.returncode, 2)
            self.assertIn(text, errors)

    def test_without_a_card_nothing_is_run(self):
        process = self.start(BUILD, "-o", self.folder, PATH=str(self.folder))
        _, errors = process.communicate()
        self.assertEqual(process.returncode, 2)
        self.assertIn("nothing was run", errors)


if __name__ == "__main__":
    unittest.main()
