"""What gpu_check.py writes for people: report.md, in the form that docs/performance.md takes over."""
import collections
import csv
import json

MEMORY, PRODUCTS = 4300, 790  # GB/s and TFLOP/s in bf16: an H200 as others measured it, which the predictions assume
GOALS = (30000, 38000)  # images/s of training, bf16, batch 2,048


def kernels_of(output):
    """-> the rows of Nsight Compute's CSV by kernel: name, launches, us, GB/s; the slowest first."""
    lines = output.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    found = collections.defaultdict(lambda: dict(launches=0, ns=0.0, bytes=0.0))
    for row in csv.DictReader(lines[start:]):
        try:
            value = float(row["Metric Value"].replace(",", ""))
        except (KeyError, AttributeError, TypeError, ValueError):
            continue  # what the program itself printed
        kernel = found[row["Kernel Name"].split("(")[0]]
        if row["Metric Name"] == "gpu__time_duration.sum":
            kernel["launches"] += 1
            kernel["ns"] += value
        elif row["Metric Name"] == "dram__bytes.sum":
            kernel["bytes"] += value
    rows = [dict(kernel=name, launches=k["launches"], us=round(k["ns"] / 1e3, 2),
                 gb_per_second=round(k["bytes"] / k["ns"], 1) if k["ns"] else 0) for name, k in found.items()]
    return sorted(rows, key=lambda row: -row["us"])


def table(titles, rows):
    """-> lines; all columns but the first are numbers."""
    if not rows:
        return []
    return ["| " + " | ".join(titles) + " |", "|---|" + "--:|" * (len(titles) - 1),
            *("| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |" for row in rows), ""]


def commands(report, name):
    return [record for stage in report["stages"] if stage["name"] == name for record in stage["commands"]]


def results(report, name):
    return [(record, result) for record in commands(report, name) for result in record["results"]]


def tests(report):
    rows, failed = [], []
    for record in commands(report, "tests") + commands(report, "sanitizer"):
        of = record.get("tests", {})
        rows.append([record["name"], *(len(of.get(word, [])) for word in ("passed", "failed", "skipped")), f"{record['seconds']:.1f}",
                     record["status"]])
        failed += [f"- **{record['name']}: {test} failed**" for test in of.get("failed", [])]
    return table(["tests", "passed", "failed", "skipped", "s", ""], rows) + (failed + [""] if failed else [])


def steps(report):
    rows = []
    for record, r in results(report, "step") + results(report, "loader"):
        rows.append([record["name"], r["batch"], f"{1e3 * r['seconds_median']:.2f}", f"{r['images_per_second']:,.0f}",
                     f"{100 * r['share_of_matrix_rate']:.0f} %", f"{r['matrix_tflops']:.0f}", f"{r['peak_tensors_gb']:.1f}",
                     f"{100 * r['exposed_data_wait']:.0f} %"])
    lines = table(["step", "batch", "ms", "images/s", "of matrix rate", "TFLOP/s of products", "GB", "waits for data"], rows)
    best = max((r["images_per_second"] for record, r in results(report, "step") if r["batch"] == 2048), default=None)
    if best and not report["simulated"]:
        lines += [f"Goals at batch 2,048: {GOALS[0]:,} and {GOALS[1]:,} images/s; reached: {best:,.0f}.", ""]
    return lines


def embeddings(report):
    return table(["embedding", "batch", "ms", "images/s", "of matrix rate", "GB"],
                 [[record["name"], r["batch"], f"{1e3 * r['seconds_median']:.2f}", f"{r['images_per_second']:,.0f}",
                   f"{100 * r['share_of_matrix_rate']:.0f} %", f"{r['peak_tensors_gb']:.2f}"] for record, r in results(report, "embed")])


def kernels(report):
    rows = []
    for _, r in results(report, "kernels"):
        arithmetic = r["tflops"] / PRODUCTS > r["gb_per_second"] / MEMORY
        share = f"{100 * r['tflops'] / PRODUCTS:.0f} % of {PRODUCTS} TFLOP/s" if arithmetic else \
            f"{100 * r['gb_per_second'] / MEMORY:.0f} % of {MEMORY / 1000} TB/s"
        rows.append([r["kernel"], r["batch"], f"{r['us']:.1f}", f"{1e3 * r['us'] / r['batch']:.2f}", f"{r['gb_per_second']:.0f}",
                     f"{r['tflops']:.1f}", share, f"{r['error']:.1e}" + ("" if r["right"] else " **WRONG**")])
    return table(["kernel", "batch", "us", "ns an image", "GB/s", "TFLOP/s", "of what the predictions assume", "error"], rows)


def any_table(pairs, slowest=None):
    """-> a table of results of one form, in their own words."""
    values = [result for _, result in pairs]
    titles = list(dict.fromkeys(key for result in values for key in result))
    return table(titles, [[result.get(title, "") for title in titles] for result in values[:slowest]])


def products(report):
    found = [result for _, result in results(report, "products")]
    rows = [[f"{r['model']} {r['layer']}", r["pass"], r["epilogue"], f"{r['m']}, {r['n']}, {r['k']}", r["algorithms"],
             f"{r['first_microseconds']:.1f}", f"{r['best_microseconds']:.1f}", f"{r['tflops']:.0f}", r["best"]]
            for r in found if r["what"] == "product"]
    lines = table(["product", "pass", "epilogue", "m, n, k", "algorithms", "first us", "best us", "TFLOP/s", "best"], rows)
    rows = [[f"{r['model']} {r['layer']}", "none" if r["by_product_microseconds"] is None else f"{r['by_product_microseconds']:.1f}",
             f"{r['product_microseconds']:.1f} + {r['pass_microseconds']:.1f}"] for r in found if r["what"] == "bias gradient"]
    lines += table(["gradient of weight and bias of", "by the product, us", "product and pass, us"], rows)
    rows = [[r["model"], r["pass"], f"{r['apart_microseconds']:.1f}", f"{r['best_microseconds']:.1f}", r["best"]]
            for r in found if r["what"] == "activation"]
    return lines + table(["QuickGELU of", "pass", "product and pass, us", "best, us", "best"], rows)


def profile(report):
    lines = []
    for record in commands(report, "profile"):
        rows = [dict(row) for row in record.get("kernels", [])]
        lines += any_table([(record, row) for row in rows], 40)
        if not rows:
            lines += any_table([(record, result) for result in record["results"]], 40)
    return lines


def pytorch(report):
    rows = []
    for _, result in results(report, "pytorch"):
        for case in result.get("cases", []):
            for name, r in case["results"].items():
                ratio = "" if r["times_vitral"] is None else f"{r['times_vitral']:.2f}"
                rows.append([name, case["batch"], case["precision"], f"{1e3 * r['seconds_median']:.2f}", f"{r['images_per_second']:,.0f}",
                             f"{r['memory_gb']:.1f}", ratio])
    return table(["a step of", "batch", "precision", "ms", "images/s", "GB", "x vitral's time"], rows)


def markdown(report):
    device = ", ".join(f"{key} {value}" for key, value in report["device"].items()) or "none"
    lines = ["# GPU check" + (" on the simulator: a try, no measurement" if report["simulated"] else ""), "",
             f"{device}; vitral at {report['revision'] or 'an unknown revision'}; {report['seconds']:.0f} s of {report['minutes']:g} minutes.",
             ""]
    lines += table(["stage", "s", "limit", "how it ended"],
                   [[stage["name"], stage["seconds"], stage["limit"], stage["status"]] for stage in report["stages"]])
    for title, part in (("Tests", tests(report)), ("Training steps", steps(report)), ("Beside PyTorch", pytorch(report)),
                        ("Embeddings", embeddings(report)), ("Kernels", kernels(report)),
                        ("Products", products(report)), ("Where a step's time goes", profile(report))):
        if part:
            lines += ["## " + title, "", *part]
    ends = [(record, stage) for stage in report["stages"] for record in stage["commands"] if record["status"] != "ok"]
    if ends:
        lines += ["## What did not end well", ""]
        for record, stage in ends:
            lines += [f"{stage['name']}, {record['name']}: {record['status']} after {record['seconds']} s, `{record['log']}`", "",
                      *("    " + line for line in record["end"]), ""]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":  # the Markdown of a report.json
    import sys
    with open(sys.argv[1]) as file:
        print(markdown(json.load(file)))
