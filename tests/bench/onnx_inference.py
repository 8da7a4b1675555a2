"""Times the embedding of images by an ONNX model in ONNX Runtime or OpenVINO; one contestant of compare_inference.py.

Usage: onnx_inference.py MODEL --engine onnxruntime|openvino [--precision fp32] [--batch 64] [--steps 10] [--warmup 3] [--threads 0]
       onnx_inference.py MODEL --engine onnxruntime|openvino --quantise OUT       writes the int8 model, which is then a MODEL
       onnx_inference.py --versions                                              what is installed, as a JSON line

MODEL is what `vitral convert` or `bench_inference --onnx` writes (images float32 [batch,3,S,S]), .onnx, or for OpenVINO its .xml. The
batch is fixed before the network is compiled, which both engines make use of. Pixels are random and made once, in float32: neither
engine has to normalise or convert them. int8 in OpenVINO is NNCF's post-training quantisation for transformers (weights a row,
activations a tensor, calibrated, SmoothQuant), in ONNX Runtime its dynamic quantisation (weights a row, activations a tensor at
run time); what is not int8 runs in the type that the engine prefers on this processor. bf16 is OpenVINO's inference_precision hint;
ONNX Runtime has none on the CPU.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import sys
import time

CALIBRATION_IMAGES = 64


def seconds_since_start():
    """Of this process, to the system's clock tick (10 ms)."""
    ticks = int(pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])  # field 22, proc_pid_stat(5)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def pixels(numpy, count, size):
    return numpy.random.default_rng(0).standard_normal((count, 3, size, size), dtype=numpy.float32)


def open_onnxruntime(a):
    """-> calls that embed the pixels, and how large they are"""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = a.threads, 1
    options.add_free_dimension_override_by_name("batch", a.batch)
    session = onnxruntime.InferenceSession(str(a.model), options, providers=["CPUExecutionProvider"])
    images = session.get_inputs()[0]
    return (lambda x: session.run(["embedding"], {images.name: x})[0]), images.shape[-1]


def open_openvino(a):
    import openvino

    core = openvino.Core()
    model = core.read_model(a.model)
    size = model.input(0).partial_shape[-1].get_length()
    model.reshape([a.batch, 3, size, size])
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": a.threads}
    if a.precision != "int8":
        options["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[a.precision]
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    embedding = compiled.output("embedding")

    def embed(x):
        request.infer([x], share_inputs=True)
        return request.get_tensor(embedding).data

    return embed, size


def quantise_onnxruntime(a):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(a.model), str(a.quantise), per_channel=True, weight_type=QuantType.QInt8)


def quantise_openvino(a):
    import nncf
    import numpy
    import openvino

    model = openvino.Core().read_model(a.model)
    size = model.input(0).partial_shape[-1].get_length()
    images = pixels(numpy, CALIBRATION_IMAGES, size)
    dataset = nncf.Dataset([images[i:i + 1] for i in range(CALIBRATION_IMAGES)])
    quantised = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION_IMAGES)
    openvino.save_model(quantised, str(a.quantise), compress_to_fp16=False)


OPEN = dict(onnxruntime=open_onnxruntime, openvino=open_openvino)
QUANTISE = dict(onnxruntime=quantise_onnxruntime, openvino=quantise_openvino)


def measure(a):
    import numpy

    embed, size = OPEN[a.engine](a)
    x = pixels(numpy, a.batch, size)
    seconds, first = [], None
    for i in range(a.warmup + a.steps):
        begin = time.perf_counter()
        y = embed(x)
        if i >= a.warmup:
            seconds.append(time.perf_counter() - begin)
        first = first or seconds_since_start()
    if not numpy.isfinite(y).all():
        raise SystemExit("the embedding is not finite")
    median = statistics.median(seconds)
    print(json.dumps(dict(seconds_median=median, seconds_min=min(seconds), images_per_second=a.batch / median,
                          seconds_to_first=first,
                          peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)))


def versions():
    """-> name: version of the packages that are installed"""
    from importlib import metadata

    out = {}
    for package in ("onnxruntime", "openvino", "nncf"):
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=pathlib.Path)
    parser.add_argument("--engine", choices=tuple(OPEN))
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores this process may use")
    parser.add_argument("--quantise", type=pathlib.Path, metavar="OUT")
    parser.add_argument("--versions", action="store_true")
    a = parser.parse_args()
    if a.versions:
        return print(json.dumps(versions()))
    if not a.model or not a.engine:
        parser.error("MODEL and --engine are needed")
    if a.batch < 1 or a.steps < 1 or a.warmup < 0:
        parser.error("--batch and --steps must be at least 1, --warmup at least 0")
    if a.engine == "onnxruntime" and a.precision == "bf16":
        parser.error("ONNX Runtime has no bf16 on the CPU")
    a.threads = a.threads or len(os.sched_getaffinity(0))
    return QUANTISE[a.engine](a) if a.quantise else measure(a)


if __name__ == "__main__":
    sys.exit(main())
