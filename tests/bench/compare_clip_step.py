"""Compares a training step of a CLIP in vitral and in PyTorch, in turn in one run: by default that of configs/scenes-clip.yaml.

Usage: compare_clip_step.py [FOLDER] [--rounds 3] [--compile] [--threads N] [--json] [options of bench_clip_step]
       compare_clip_step.py --torch [options of bench_clip_step]         one measurement of PyTorch, as a JSON line

FOLDER (default build/tests) holds the program: ninja -C build tests/bench_clip_step. PyTorch is the Python that runs this: both
towers by scaled_dot_product_attention, patches by a product, fused AdamW, bf16 by torch.autocast, and eager unless --compile is
given. Every measurement is a process of its own; the order turns round from round to round. Inputs are random and made once.
PyTorch computes all tokens of a row, as CLIP's code does; on the CPU vitral leaves out columns that no caption of the batch needs
(with --longest as large as --context there are none).
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

PROGRAM = "bench_clip_step"


def parse(arguments=None):
    """-> the options that both sides know."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path("build/tests"), help="of the program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="PyTorch by torch.compile, too")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores this process may use")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--torch", action="store_true")
    for name, default in (("batch", 128), ("image", 96), ("patch", 16), ("width", 96), ("context", 24), ("longest", 14),
                          ("vocabulary", 2000), ("steps", 20), ("warmup", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--vision", type=int, nargs=3, default=[192, 5, 3], metavar=("W", "LAYERS", "HEADS"))
    parser.add_argument("--text", type=int, nargs=3, default=[128, 3, 2], metavar=("W", "LAYERS", "HEADS"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    out = parser.parse_args(arguments)
    if out.rounds < 1 or out.steps < 1:
        parser.error("--rounds and --steps must be at least 1")
    out.threads = out.threads or len(os.sched_getaffinity(0))
    return out


def shared_options(a):
    """-> the command line of the options that bench_clip_step knows."""
    out = []
    for name in ("batch", "image", "patch", "width", "context", "longest", "vocabulary", "steps", "warmup", "device",
                 "precision"):
        out += [f"--{name}", str(getattr(a, name))]
    for name in ("vision", "text"):
        out += [f"--{name}", *map(str, getattr(a, name))]
    return out


def run_torch(a):
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, width, heads, causal):
            super().__init__()
            self.heads, self.causal = heads, causal
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            b, n, width = x.shape
            q, k, v = self.in_proj(self.ln_1(x)).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            x = x + self.out_proj(seen.transpose(1, 2).reshape(b, n, width))
            h = self.c_fc(self.ln_2(x))
            return x + self.c_proj(h * torch.sigmoid(1.702 * h))

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            (w, layers, heads), (t, text_layers, text_heads) = a.vision, a.text
            self.patches = nn.Linear(3 * a.patch * a.patch, w, bias=False)
            self.class_embedding = nn.Parameter(w**-0.5 * torch.randn(w))
            self.positions = nn.Parameter(w**-0.5 * torch.randn(1 + (a.image // a.patch)**2, w))
            self.ln_pre, self.ln_post = nn.LayerNorm(w), nn.LayerNorm(w)
            self.image_blocks = nn.Sequential(*(Block(w, heads, False) for _ in range(layers)))
            self.image_proj = nn.Parameter(w**-0.5 * torch.randn(w, a.width))
            self.table = nn.Embedding(a.vocabulary, t)
            self.text_positions = nn.Parameter(0.01 * torch.randn(a.context, t))
            self.text_blocks = nn.Sequential(*(Block(t, text_heads, True) for _ in range(text_layers)))
            self.ln_final = nn.LayerNorm(t)
            self.text_proj = nn.Parameter(t**-0.5 * torch.randn(t, a.width))
            self.logit_scale = nn.Parameter(torch.tensor(2.659))

        def forward(self, images, tokens):
            x = images.unflatten(3, (-1, a.patch)).unflatten(2, (-1, a.patch)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
            x = torch.cat([self.class_embedding.expand(len(x), 1, -1).to(x.dtype), self.patches(x)], 1)
            image = self.ln_post(self.image_blocks(self.ln_pre(x + self.positions))[:, 0]) @ self.image_proj
            x = self.text_blocks(self.table(tokens) + self.text_positions)
            text = self.ln_final(x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]) @ self.text_proj
            return functional.normalize(image.float(), dim=-1), functional.normalize(text.float(), dim=-1)

    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("high" if a.precision == "tf32" else "highest")
    model = Clip().to(a.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    run = torch.compile(model) if a.compile else model
    images = torch.randn(a.batch, 3, a.image, a.image, device=a.device)
    tokens = torch.zeros(a.batch, a.context, dtype=torch.int64)
    longest = min(a.longest, a.context)
    for i in range(a.batch):
        length = longest - i % max(1, longest // 2)
        tokens[i, :length] = torch.randint(0, a.vocabulary - 2, (length, ))
        tokens[i, 0], tokens[i, length - 1] = a.vocabulary - 2, a.vocabulary - 1
    tokens, labels = tokens.to(a.device), torch.arange(a.batch, device=a.device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(a.device.split(":")[0], torch.bfloat16, enabled=a.precision == "bf16"):
            image, text = run(images, tokens)
        logits = model.logit_scale.exp() * image @ text.T
        loss = (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2
        loss.backward()
        optimizer.step()
        return loss

    wait = torch.cuda.synchronize if a.device != "cpu" else lambda: None
    begin = time.perf_counter()
    step().item()
    first, times = time.perf_counter() - begin, []
    for i in range(a.warmup + a.steps):
        begin = time.perf_counter()
        step()
        wait()
        if i >= a.warmup:
            times.append(time.perf_counter() - begin)
    median = statistics.median(times)
    print(json.dumps(dict(seconds_median=median, seconds_min=min(times), images_per_second=a.batch / median, first_step=first,
                          parameters=sum(p.numel() for p in model.parameters()), torch=str(torch.__version__),
                          peak_rss_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)))


def measured(command, environment):
    """-> its JSON line; SystemExit with one line where there is none."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{pathlib.Path(command[0]).name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    a = parse()
    if a.torch:
        return run_torch(a)
    program = (a.folder / PROGRAM).resolve()
    if not program.is_file():
        raise SystemExit(f"{program} is not there: build it (ninja -C build tests/{PROGRAM}), or name its folder")
    options = shared_options(a)
    torch = [sys.executable, str(pathlib.Path(__file__).resolve()), "--torch", "--threads", str(a.threads), *options]
    commands = {"vitral": [str(program), *options], "pytorch eager": torch}
    if a.compile:
        commands["pytorch compile"] = [*torch, "--compile"]
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads))
    results = {name: [] for name in commands}
    for number in range(a.rounds):
        for name in list(commands) if number % 2 == 0 else reversed(commands):
            results[name].append(measured(commands[name], environment))
            print(f"round {number + 1}: {name}: {results[name][-1]['seconds_median']:.4f} s", file=sys.stderr, flush=True)
    if a.json:
        print(json.dumps(dict(threads=a.threads, results=results)))
        return None
    ours = statistics.median(r["seconds_median"] for r in results["vitral"])
    print(f"{results['vitral'][0]['parameters']} parameters, batch {a.batch}, {a.precision}, {a.threads} threads")
    for name, rounds in results.items():
        median, least = (f(r[key] for r in rounds) for f, key in ((statistics.median, "seconds_median"), (min, "seconds_min")))
        print(f"  {name:16} {median:.4f} s median, {least:.4f} s best: {a.batch / median:8.1f} images/s, "
              f"{median / ours:.2f} x vitral, {max(r['peak_rss_gb'] for r in rounds):.2f} GB resident")
    return None


if __name__ == "__main__":
    sys.exit(main())
