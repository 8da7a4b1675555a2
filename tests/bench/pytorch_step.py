"""Times the 21.4M-parameter student in PyTorch: a training step (zero_grad, forward, loss, backward, AdamW), or an embedding.

Usage: pytorch_step.py [--task train|infer] [--batch 64] [--steps 10] [--threads 0] [--device cpu] [--precision fp32]
                       [--compile [MODE]] [--json]
       pytorch_step.py --sweep [--task infer] [--batch 8] [--steps 5] [--threads 1]     times the variants in turn, to choose the
                       defaults

Input and target are random and made once, on the device: PyTorch has neither the copy nor the normalisation of the pixels to do.
Embeddings are computed under torch.inference_mode. On a GPU nothing waits within a round of steps. bf16 is torch.autocast, tf32
the precision of the products. The fastest variant that PyTorch offers is the default, so that the comparison is fair; all of them
compute the same, which is checked against tests/reference/student.py after timing. --compile frozen is torch.compile with
Inductor's freezing, which packs the weights for its products (infer only).
"""
import argparse
import itertools
import json
import os
import pathlib
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
from student import Student, distillation_loss  # noqa: E402

# Chosen by processor time on one thread (torch 2.15, Zen 4, other work on the machine).
# train: at batch 32 sdpa took 3.44 s a step, mha 3.51 s, composed 3.97 s; at batch 8 composed and mha were 3% ahead of sdpa. At
# batch 8 foreach cost 6-19% more than fused, conv 2-4% more than linear, tokens_first 1% more than batch_first. Batch 64 was not
# swept.
# infer, seconds of processor time: at batch 1 all fp32 variants took 0.041 to 0.044; in bf16 sdpa with autocast 0.023, with the
# whole model in bf16 0.025, conv 0.027, composed 0.031, mha 0.029. At batch 16 in fp32 all took 0.53 to 0.57, which is the noise of
# a busy machine. Batch 64 was not swept.
DEFAULTS = dict(
    train=dict(attention="sdpa", layout="batch_first", patches="linear", adamw="fused", half="autocast"),
    infer=dict(attention="sdpa", layout="batch_first", patches="linear", adamw="fused", half="autocast"),
)
VARIANTS = dict(
    attention=("sdpa", "composed", "mha"),  # scaled_dot_product_attention; two batched products; nn.MultiheadAttention
    layout=("batch_first", "tokens_first"),  # tokens [B,N,W'] or [N,B,W'] as in the original; mha keeps tokens_first
    patches=("linear", "conv"),  # the patch embedding as one matrix product or as nn.Conv2d
    adamw=("fused", "foreach"),  # train only
    half=("autocast", "model"),  # bf16, infer only: torch.autocast, or all weights and activations in bf16
)
WARM_UP_CUDA = 10  # torch.compile records its graphs in the first ones


def seconds_since_start():
    """Of this process, the interpreter's and PyTorch's loading included; to the system's clock tick (10 ms)."""
    ticks = int(pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])  # field 22, proc_pid_stat(5)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def attend(block, y, kernel, batch_first):
    """Attention of a block with the parameters of its nn.MultiheadAttention; y [B,N,W'] or [N,B,W']."""
    attn = block.attn
    if kernel == "mha":
        return attn(y, y, y, need_weights=False, attn_mask=block.mask)[0]
    first, second, width = y.shape
    qkv = functional.linear(y, attn.in_proj_weight, attn.in_proj_bias).view(first, second, 3, attn.num_heads, -1)
    q, k, v = qkv.permute((2, 0, 3, 1, 4) if batch_first else (2, 1, 3, 0, 4))  # each [B,H,N,D]
    if kernel == "sdpa":
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=block.mask)
    else:
        logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
        if block.mask is not None:
            logits = logits + block.mask
        out = logits.softmax(dim=-1) @ v
    out = (out.transpose(1, 2) if batch_first else out.permute(2, 0, 1, 3)).reshape(first, second, width)
    return attn.out_proj(out)


class FastStudent(nn.Module):
    """The student with its parameters unchanged and the hot parts as the variant says. -> embedding [B,W]"""

    def __init__(self, student, attention, layout, patches):
        super().__init__()
        self.student, self.attention, self.patches = student, attention, patches
        self.batch_first = layout == "batch_first" and attention != "mha"

    def forward(self, x):
        s = self.student
        if self.patches == "conv":
            x = s.conv1(x).flatten(2).transpose(1, 2)
        else:
            size = s.conv1.kernel_size[0]
            x = x.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # [B,3,rows,size,columns,size]
            x = functional.linear(x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), s.conv1.weight.flatten(1))
        x = s.ln_pre(x + s.positional_embedding)
        x = x if self.batch_first else x.transpose(0, 1).contiguous()
        for block in s.transformer.resblocks:
            x = x + attend(block, block.ln_1(x), self.attention, self.batch_first)
            x = x + block.mlp(block.ln_2(x))
        x = x if self.batch_first else x.transpose(0, 1)
        x = x.unflatten(2, (s.heads, -1))
        p = x[..., -1].mean(dim=2).softmax(dim=-1).unsqueeze(1)
        e = x[..., :-1].flatten(2)
        if s.same_norm:
            e = e / e.norm(dim=-1, keepdim=True) * s.scale.clamp(max=10)
        return (p @ e).squeeze(1)


def verify(model, student):
    """The variant computes what the reference does, in fp32 on the CPU."""
    torch.set_float32_matmul_precision("highest")
    model.float().cpu()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        fast, plain = model(x), student(x)[0]
    error = ((fast - plain).norm() / plain.norm()).item()
    if not error < 1e-5:
        raise SystemExit(f"pytorch_step: the variant differs from the reference by {error:.1e}")


def compiled(model, mode):
    """model by torch.compile in a mode, or as it is."""
    if mode == "frozen":
        from torch._inductor import config
        config.freezing = True
        return torch.compile(model)
    return torch.compile(model, mode=mode) if mode else model


def training_step(arguments, variant, student, model):
    """-> what one step does; it returns the loss."""
    # ln_post is never used, and AdamW passes over parameters without a gradient.
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01, **{variant["adamw"]: True})
    run = compiled(model, arguments.compile)
    x = torch.randn(arguments.batch, 3, 224, 224, device=arguments.device)
    t = torch.randn(arguments.batch, 512, device=arguments.device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(arguments.device.split(":")[0], torch.bfloat16, enabled=arguments.precision == "bf16"):
            y = run(x)
        loss = distillation_loss(y.float(), t)
        loss.backward()
        optimizer.step()
        return loss

    return step


def inference_step(arguments, variant, model):
    """-> what one embedding of a batch does; it returns the sum of the result."""
    model.eval().requires_grad_(False)
    x = torch.randn(arguments.batch, 3, 224, 224, device=arguments.device)
    bf16, whole = arguments.precision == "bf16", variant["half"] == "model"
    if bf16 and whole:
        model.bfloat16()
        x = x.bfloat16()
    run = compiled(model, arguments.compile)

    @torch.inference_mode()
    def step():
        with torch.autocast(arguments.device.split(":")[0], torch.bfloat16, enabled=bf16 and not whole):
            return run(x).float().sum()

    return step


def timed(arguments, step):
    """-> seconds of each step, and of processor time. On a GPU all steps of a round have its mean."""
    if arguments.device.startswith("cuda"):
        for _ in range(WARM_UP_CUDA):
            step()
        torch.cuda.synchronize()
        begin, processor_begin = time.perf_counter(), time.process_time()
        for _ in range(arguments.steps):
            result = step()
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - begin) / arguments.steps
        if not torch.isfinite(result):
            raise SystemExit("pytorch_step: the result is not finite")
        return [seconds], [(time.process_time() - processor_begin) / arguments.steps]
    times, processor_times = [], []
    for _ in range(arguments.warmup + arguments.steps):
        begin, processor_begin = time.perf_counter(), time.process_time()
        step().item()
        times.append(time.perf_counter() - begin)
        processor_times.append(time.process_time() - processor_begin)
    return times[arguments.warmup:], processor_times[arguments.warmup:]


def measure(arguments, **variant):
    """-> times, processor_times, seconds_to_first, peak_rss_gb"""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if arguments.precision == "tf32" else "highest")
    student = Student(attention=arguments.attention)
    model = FastStudent(student, **{name: variant[name] for name in ("attention", "layout", "patches")}).to(arguments.device)
    if arguments.task == "train":
        step = training_step(arguments, variant, student, model)
    else:
        step = inference_step(arguments, variant, model)
    step().item()
    first = seconds_since_start()
    times, processor_times = timed(arguments, step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    verify(model, student)
    return dict(times=times, processor_times=processor_times, seconds_to_first=first, peak_rss_gb=peak)


def least_seconds(work, device, rounds=5, shortest=0.02):
    """Of one call, over `rounds` of as many calls as last `shortest` seconds: as bench::times_of."""

    def one_round(calls):
        if device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    one_round(2)
    calls = max(1, min(1000, int(shortest / max(one_round(1), 1e-7))))
    return min(one_round(calls) / calls for _ in range(rounds))


@torch.no_grad()
def product_seconds(arguments, student):
    """The student's products alone, as bench::product_seconds has them, by PyTorch."""
    dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    width, patch = student.positional_embedding.shape[1], student.conv1.kernel_size[0]
    rows = arguments.batch * student.positional_embedding.shape[0]

    def linear(inputs, outputs, biased, input_gradient):
        def full(*shape):
            return torch.full(shape, 0.5, dtype=dtype, device=arguments.device)

        x, y, weight, bias = full(rows, inputs), full(rows, outputs), full(outputs, inputs), full(outputs) if biased else None

        def work():
            functional.linear(x, weight, bias)
            if arguments.task == "infer":
                return
            y.t() @ x
            if biased:
                y.sum(0)
            if input_gradient:
                y @ weight

        return least_seconds(work, arguments.device)

    layers = len(student.transformer.resblocks)
    shapes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
    return linear(3 * patch * patch, width, False, False) + layers * sum(linear(i, o, True, True) for i, o in shapes)


def sweep(arguments):
    names = [name for name in VARIANTS if name != ("half" if arguments.task == "train" else "adamw")]
    if arguments.precision != "bf16" and "half" in names:
        names.remove("half")
    defaults = DEFAULTS[arguments.task]
    seen = set()
    for values in itertools.product(*(VARIANTS[name] for name in names)):
        variant = dict(defaults, **dict(zip(names, values)))
        if variant["attention"] == "mha":
            variant["layout"] = "tokens_first"
        if sum(variant[name] != defaults[name] for name in names if name != "layout") > 1 or tuple(variant.values()) in seen:
            continue  # one change at a time
        seen.add(tuple(variant.values()))
        m = measure(arguments, **variant)
        said = " ".join(variant[name] for name in names)
        print(f"{statistics.median(m['times']):8.4f} s median {min(m['times']):8.4f} s min "
              f"{min(m['processor_times']):8.4f} s min of the processor   {said}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("train", "infer"), default="train")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10, help="timed steps, after those that are not")
    parser.add_argument("--warmup", type=int, default=2, help=f"steps before, after the first; on a GPU {WARM_UP_CUDA}")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores this process may use")
    parser.add_argument("--attention", choices=("neighbourhood", "full"), default="neighbourhood", help="of the model")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--compile", nargs="?", const="default",
                        help="with torch.compile, perhaps in a mode (max-autotune), or frozen")
    parser.add_argument("--products", action="store_true", help="also the products alone, by PyTorch")
    parser.add_argument("--json", action="store_true", help="accepted as the C++ programs have it; the output is always JSON")
    parser.add_argument("--sweep", action="store_true", help="time the variants")
    for name, choices in VARIANTS.items():
        parser.add_argument(f"--variant-{name}", choices=choices)
    arguments = parser.parse_args()
    if arguments.batch < 1 or arguments.steps < 1 or arguments.warmup < 0:
        parser.error("--batch and --steps must be at least 1, --warmup at least 0")
    if arguments.compile == "frozen" and arguments.task == "train":
        parser.error("--compile frozen: weights that change cannot be frozen; use it with --task infer")
    torch.set_num_threads(arguments.threads or len(os.sched_getaffinity(0)))
    if arguments.sweep:
        return sweep(arguments)
    variant = {name: getattr(arguments, f"variant_{name}") or DEFAULTS[arguments.task][name] for name in VARIANTS}
    m = measure(arguments, **variant)
    median = statistics.median(m["times"])
    products = product_seconds(arguments, Student(attention=arguments.attention)) if arguments.products else None
    print(json.dumps(dict(seconds_median=median, seconds_min=min(m["times"]), images_per_second=arguments.batch / median,
                          task=arguments.task, batch=arguments.batch, steps=arguments.steps, threads=torch.get_num_threads(),
                          device=torch.cuda.get_device_name(arguments.device) if arguments.device != "cpu" else "CPU",
                          precision=arguments.precision, product_seconds=products, peak_rss_gb=m["peak_rss_gb"],
                          peak_gb=torch.cuda.max_memory_allocated() / 1e9 if arguments.device != "cpu" else None,
                          seconds_to_first=m["seconds_to_first"], torch=str(torch.__version__), compile=arguments.compile,
                          variant=variant)))
    return None


if __name__ == "__main__":
    main()
