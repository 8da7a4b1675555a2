"""Times one training step of the 21.4M-parameter student in PyTorch: zero_grad, forward, loss, backward, AdamW.

Usage: pytorch_step.py [--batch 64] [--steps 10] [--threads 0] [--device cpu] [--precision fp32] [--compile [MODE]] [--json]
       pytorch_step.py --sweep [--batch 8] [--steps 5] [--threads 1]     times the variants in turn, to choose the defaults

Input and target are random and made once, on the device: PyTorch has neither the copy nor the normalisation of the pixels to do.
On a GPU nothing waits within a round of steps, bf16 is torch.autocast, tf32 the precision of the products. The fastest variant that PyTorch offers in eager mode is the default, so that the
comparison is fair; all of them compute the same and are checked against tests/reference/student.py before timing.
"""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
from student import Student, distillation_loss  # noqa: E402

# Chosen by processor time on one thread (torch 2.15, Zen 4, other work on the machine). At batch 32 sdpa took 3.44 s a step,
# mha 3.51 s, composed 3.97 s; at batch 8 composed and mha were 3% ahead of sdpa. At batch 8 foreach cost 6-19% more than
# fused, conv 2-4% more than linear, tokens_first 1% more than batch_first. Batch 64 was not swept.
DEFAULTS = dict(attention="sdpa", layout="batch_first", patches="linear", adamw="fused")
VARIANTS = dict(
    attention=("sdpa", "composed", "mha"),  # scaled_dot_product_attention; two batched products; nn.MultiheadAttention
    layout=("batch_first", "tokens_first"),  # tokens [B,N,W'] or [N,B,W'] as in the original; mha keeps tokens_first
    patches=("linear", "conv"),  # the patch embedding as one matrix product or as nn.Conv2d
    adamw=("fused", "foreach"),
)
WARM_UP = 2
WARM_UP_CUDA = 10  # torch.compile records its graphs in the first ones


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
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        fast, plain = model(x), student(x)[0]
    error = ((fast - plain).norm() / plain.norm()).item()
    if not error < 1e-5:
        raise SystemExit(f"pytorch_step: the variant differs from the reference by {error:.1e}")


def measure(arguments, **variant):
    """-> seconds of each step, and of processor time. On a GPU all steps of a round have its mean."""
    torch.manual_seed(0)
    cuda = arguments.device.startswith("cuda")
    torch.set_float32_matmul_precision("high" if arguments.precision == "tf32" else "highest")
    student = Student(attention=arguments.attention)
    model = FastStudent(student, **{name: variant[name] for name in ("attention", "layout", "patches")})
    verify(model, student)
    model.to(arguments.device)
    # ln_post is never used, and AdamW passes over parameters without a gradient.
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01, **{variant["adamw"]: True})
    run = torch.compile(model, mode=arguments.compile) if arguments.compile else model
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

    if cuda:
        for _ in range(WARM_UP_CUDA):
            step()
        torch.cuda.synchronize()
        begin, processor_begin = time.perf_counter(), time.process_time()
        for _ in range(arguments.steps):
            loss = step()
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - begin) / arguments.steps
        if not torch.isfinite(loss):
            raise SystemExit("pytorch_step: the loss is not finite")
        return [seconds], [(time.process_time() - processor_begin) / arguments.steps]
    times, processor_times = [], []
    for _ in range(WARM_UP + arguments.steps):
        begin, processor_begin = time.perf_counter(), time.process_time()
        step().item()
        times.append(time.perf_counter() - begin)
        processor_times.append(time.process_time() - processor_begin)
    return times[WARM_UP:], processor_times[WARM_UP:]


def sweep(arguments):
    names = list(VARIANTS)
    seen = set()
    for values in itertools.product(*VARIANTS.values()):
        variant = dict(zip(names, values))
        if variant["attention"] == "mha":
            variant["layout"] = "tokens_first"
        if sum(variant[name] != DEFAULTS[name] for name in names if name != "layout") > 1 or tuple(variant.values()) in seen:
            continue  # one change at a time
        seen.add(tuple(variant.values()))
        times, processor_times = measure(arguments, **variant)
        print(f"{statistics.median(times):8.3f} s median {min(times):8.3f} s min {min(processor_times):8.3f} s min of the "
              f"processor   {' '.join(variant.values())}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10, help=f"timed steps, after {WARM_UP} that are not")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores this process may use")
    parser.add_argument("--attention", choices=("neighbourhood", "full"), default="neighbourhood", help="of the model")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--compile", nargs="?", const="default", help="with torch.compile, perhaps in a mode (max-autotune)")
    parser.add_argument("--json", action="store_true", help="accepted as the C++ program has it; the output is always JSON")
    parser.add_argument("--sweep", action="store_true", help="time the variants")
    for name, choices in VARIANTS.items():
        parser.add_argument(f"--variant-{name}", choices=choices, default=DEFAULTS[name])
    arguments = parser.parse_args()
    if arguments.batch < 1 or arguments.steps < 1:
        parser.error("--batch and --steps must be at least 1")
    torch.set_num_threads(arguments.threads or len(os.sched_getaffinity(0)))
    if arguments.sweep:
        return sweep(arguments)
    variant = {name: getattr(arguments, f"variant_{name}") for name in VARIANTS}
    times, _ = measure(arguments, **variant)
    median = statistics.median(times)
    print(json.dumps(dict(seconds_median=median, seconds_min=min(times), images_per_second=arguments.batch / median,
                          batch=arguments.batch, steps=arguments.steps, threads=torch.get_num_threads(),
                          device=torch.cuda.get_device_name(arguments.device) if arguments.device != "cpu" else "CPU",
                          precision=arguments.precision,
                          peak_gb=torch.cuda.max_memory_allocated() / 1e9 if arguments.device != "cpu" else None,
                          torch=str(torch.__version__), compile=arguments.compile, variant=variant)))
    return None


if __name__ == "__main__":
    main()
