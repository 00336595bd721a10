"""Times a gla package for a card beside fla, FlashAttention-2 and cuDNN attention, in one process.

    sluice build gla --target sm_90a --dtype bf16 --batch 8 --heads 16 -o out/gla
    sluice build gla --target sm_90a --dtype bf16 --heads 16 --length 16384 -o out/gla_long
    python3 Benchmarks/gpu/run.py out/gla out/gla_long

Of several packages, each made for another length, OURS is the fastest one at a shape. Needs PyTorch
with CUDA, and flash-linear-attention for its column. The packages' answers are held to the recurrence
in double first. Times are medians of calls that the card's events bracket, on three
sets of inputs in turns, with the queue filled before; every side gets its turn at every shape. The
attention columns are SDPA, causal, on the same q, k and v: another function at the same shapes.
FLOOR is each input read once and each output written once at the rate of a large copy here.
"""

import ctypes
import json
import math
import pathlib
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = [(32, 512, 16), (16, 1024, 16), (8, 2048, 16), (4, 4096, 16), (1, 16384, 16), (1, 8192, 64)]
GATES = ("mild", "strong", "resets", "forget")
K = V = 128
SCALE = K**-0.5


class Arguments(ctypes.Structure):
    _fields_ = (
        [("abi", ctypes.c_uint32), ("size", ctypes.c_uint32)]
        + [(n, ctypes.c_int64) for n in ("batch", "length", "query_heads", "heads", "sequences")]
        + [("cu_seqlens", ctypes.c_void_p), ("threads", ctypes.c_int32), ("layout", ctypes.c_int32)]
        + [("scale", ctypes.c_float), ("reserved", ctypes.c_uint32)]
        + [("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_uint64)]
        + [(n, ctypes.c_void_p) for n in ("initial_state", "final_state", "o", "q", "k", "v", "g")]
    )


class Kernel:
    """The package's entries, on the current stream."""

    def __init__(self, folder):
        manifest = json.loads((pathlib.Path(folder) / "manifest.json").read_text())
        self.name, self.abi = manifest["name"], manifest["abi"]
        library = ctypes.CDLL(str((pathlib.Path(folder) / f"{self.name}.so").resolve()))
        self.entry = library[f"{self.name}_forward_on"]
        self.entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.message = library[f"{self.name}_message"]
        self.message.restype = ctypes.c_char_p
        self.workspace_size = library[f"{self.name}_workspace_size"]
        self.workspace_size.restype = ctypes.c_int64

    def arguments(self, q, k, v, g, o, initial, final):
        batch, length, heads, _ = q.shape
        address = lambda tensor: None if tensor is None else tensor.data_ptr()
        pointers = [address(tensor) for tensor in (initial, final, o, q, k, v, g)]
        arguments = Arguments(
            self.abi, ctypes.sizeof(Arguments), batch, length, heads, k.shape[2], 0, None, 0, 0,
            SCALE, 0, None, 0, *pointers,
        )
        arguments.workspace_size = self.workspace_size(ctypes.byref(arguments))
        workspace = torch.empty(arguments.workspace_size, dtype=torch.uint8, device="cuda")
        arguments.workspace = workspace.data_ptr()
        arguments.kept = workspace  # as long as the arguments
        return arguments

    def __call__(self, arguments):
        stream = torch.cuda.current_stream().cuda_stream
        code = self.entry(ctypes.byref(arguments), stream)
        if code:
            raise RuntimeError(self.message(code).decode())


def draw(batch, length, heads, seed, gates="mild"):
    generator = torch.Generator("cuda").manual_seed(seed)
    normal = lambda width: torch.randn(batch, length, heads, width, device="cuda", generator=generator)
    q, k, v = normal(K).bfloat16(), normal(K).bfloat16(), normal(V).bfloat16()
    g = F.logsigmoid(normal(K)) / 16
    uniform = lambda width: torch.rand(batch, length, heads, width, device="cuda", generator=generator)
    if gates == "strong":
        g = -5 * uniform(K)
    if gates == "resets":
        g[uniform(K) < 0.05] = -1e4
    if gates == "forget":
        g[uniform(1)[..., 0] < 0.4] = -math.inf
    return q, k, v, g


def reference(q, k, v, g, initial):
    q, k, v, decay = q.double(), k.double(), v.double(), g.double().exp()
    state, outputs = initial.double().clone(), torch.empty_like(v)
    for t in range(q.shape[1]):
        state = state * decay[:, t, :, :, None] + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs[:, t] = SCALE * torch.einsum("bhk,bhkv->bhv", q[:, t], state)
    return outputs, state


def error(found, wanted):
    return ((found.double() - wanted).square().mean() / wanted.square().mean()).sqrt().item()


def check(kernel):
    """Raises unless output and final state are within bf16's bounds on drawn problems."""
    for gates in GATES:
        for length in (1, 15, 64, 257, 517):
            tensors = draw(2, length, 8, length, gates)
            initial = torch.randn(2, 8, K, V, device="cuda")
            o, final = torch.full_like(tensors[2], math.nan), torch.full_like(initial, math.nan)
            kernel(kernel.arguments(*tensors, o, initial, final))
            wanted, state = reference(*tensors, initial)
            errors = error(o, wanted), error(final, state)
            print(f"{gates:8}T {length:4}: o {errors[0]:.1e}, final state {errors[1]:.1e}")
            if not (errors[0] <= 3.4e-3 and errors[1] <= 2e-3):
                raise SystemExit("The package's answers are wrong; nothing was timed.")


def median(call, sets, count=40):
    """Milliseconds of a call, the card kept busy all the while."""
    for index in range(2 * sets):
        call(index % sets)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    torch.cuda._sleep(2_000_000)
    for index, (start, stop) in enumerate(pairs):
        start.record()
        call(index % sets)
        stop.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(stop) for start, stop in pairs)


def copy_rate():
    source = torch.empty(1 << 31, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / median(lambda _: target.copy_(source), 1, 10)  # bytes a millisecond


def time(kernel, sets, final):
    outputs = [torch.empty_like(tensors[2]) for tensors in sets]
    calls = [kernel.arguments(*t, o, None, final) for t, o in zip(sets, outputs)]
    return median(lambda i: kernel(calls[i]), len(sets))


def main(folders):
    kernels = [Kernel(folder) for folder in folders]
    for kernel in kernels:
        print(kernel.name)
        check(kernel)
    try:
        from fla.ops.gla import chunk_gla
    except ImportError:
        chunk_gla = None
    rate = copy_rate()
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {rate / 1e9:.2f} TB/s")
    print("B   T      H   OURS ms  FLOOR  TIME/FLOOR  FLA     FA2     CUDNN")
    for batch, length, heads in SHAPES:
        sets = [draw(batch, length, heads, seed) for seed in range(3)]
        final = torch.empty(batch, heads, K, V, device="cuda")
        ours = min(time(kernel, sets, final) for kernel in kernels)
        heads_first = [[x.transpose(1, 2) for x in tensors[:3]] for tensors in sets]
        moved = sum(x.numel() * x.element_size() for x in (*sets[0], sets[0][2], final))
        peers = []
        if chunk_gla is None:
            peers.append("absent ")
        else:
            call = lambda i: chunk_gla(*sets[i], scale=SCALE, output_final_state=True)
            peers.append(f"{median(call, 3, 20):.4f} ")
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
            with sdpa_kernel(backend):
                call = lambda i: F.scaled_dot_product_attention(*heads_first[i], is_causal=True)
                peers.append(f"{median(call, 3, 20):.4f} ")
        floor = moved / rate
        print(f"{batch:<4}{length:<7}{heads:<4}{ours:.4f}   {floor:.4f} {ours / floor:.2f}"
              f"        {' '.join(peers)}", flush=True)
    print("\nB 8, T 2048, H 16, by gates: " + ", ".join(
        f"{gates} {time(kernels[0], [draw(8, 2048, 16, seed, gates) for seed in range(3)], None):.4f}"
        for gates in GATES))


if __name__ == "__main__":
    main(sys.argv[1:])
