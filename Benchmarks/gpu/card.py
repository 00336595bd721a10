"""What the card's benchmarks share: packages, drawn inputs, the recurrences in double, fla, the clock."""

import functools
import importlib
import importlib.util
import math
import pathlib
import statistics
import sys
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# Batch, tokens and heads of 128 keys and values.
SHAPES = [(32, 512, 16), (16, 1024, 16), (8, 2048, 16), (4, 4096, 16), (1, 16384, 16), (1, 8192, 64)]
SIZE = 128
# Log decays: mild ones; uniform down to -5; of mild ones all keys reset at a token of each 64, one in twenty
# reset, all keys forgotten at two tokens in five.
GATES = ("mild", "strong", "boundaries", "resets", "forget")
# RMS error over the RMS of the double reference that bf16 is held to (docs/numerics.md).
OUTPUT, STATE, ADJOINT = 3.4e-3, 2e-3, 3e-3


class Form(NamedTuple):
    """A recurrence: what its log decays lie along, fla's function for it, and how it reads out."""

    decays: tuple
    module: str
    function: str
    # Read before the write, the present token weighed by u; the package takes log(-decay).
    bonus: bool = False


FORMS = {
    "gla": Form(("key",), "fla.ops.gla", "chunk_gla"),
    "simple-gla": Form(("token",), "fla.ops.simple_gla", "chunk_simple_gla"),
    "linear-attention": Form((), "fla.ops.simple_gla", "chunk_simple_gla"),
    # Token by token: no other system computes this one by chunks.
    "gated-outer": Form(("key", "value"), "fla.ops.gla", "fused_recurrent_gla"),
    "rwkv6": Form(("key",), "fla.ops.rwkv6", "chunk_rwkv6", bonus=True),
}


def package(folder):
    """The Python module of a package; its manifest says which form and sizes it is for."""
    path = pathlib.Path(folder).resolve() / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        path.parent.name, path, submodule_search_locations=[str(path.parent)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def form_of(module):
    return module.manifest["recurrence"]["name"]


@functools.lru_cache(maxsize=None)
def peer(form):
    """fla's function for the form; None, with a line that says why, where it cannot be imported."""
    try:
        return getattr(importlib.import_module(FORMS[form].module), FORMS[form].function)
    except ImportError as problem:
        print(f"fla is left out of {form}: {problem}", flush=True)
        return None


def draw(form, batch, length, heads, key, value, seed, gates="mild"):
    """q, k, v in bf16, log decays in f32, and u; as fla's functions take them."""
    generator = torch.Generator("cuda").manual_seed(seed)
    normal = functools.partial(torch.randn, device="cuda", generator=generator)
    uniform = functools.partial(torch.rand, device="cuda", generator=generator)
    tokens = (batch, length, heads)
    tensors = [normal(*tokens, width).bfloat16() for width in (key, key, value)]
    for axis in FORMS[form].decays:
        shape = {"key": (*tokens, key), "value": (*tokens, value), "token": tokens}[axis]
        g = F.logsigmoid(normal(*shape)) / 16
        if gates == "strong":
            g = -5 * uniform(*shape)
        if gates == "boundaries":
            chunks = -(-length // 64)
            at = (64 * uniform(batch, chunks, 1, heads)).long()
            resets = torch.arange(64, device="cuda")[:, None] == at
            g[resets.view(batch, 64 * chunks, heads)[:, :length]] = -1e4
        if gates == "resets":
            g[uniform(*shape) < 0.05] = -1e4
        if gates == "forget":
            g[uniform(*tokens) < 0.4] = -math.inf
        tensors.append(g)
    if FORMS[form].bonus:
        tensors.append(normal(heads, key))
    return tensors


def for_package(form, tensors):
    """The drawn tensors as a package takes them."""
    if not FORMS[form].bonus:
        return tensors
    q, k, v, g, u = tensors
    return [q, k, v, (-g).log(), u]


def walk(form, tensors, initial):
    """o and the final state, token by token in double; differentiable."""
    q, k, v, *gates = [x.double() for x in tensors]
    bonus = gates.pop() if FORMS[form].bonus else None
    state, outputs = initial.double(), []
    shapes = {"key": (..., slice(None), None), "value": (..., None, slice(None)), "token": (..., None, None)}
    for t in range(q.shape[1]):
        write = k[:, t, :, :, None] * v[:, t, :, None, :]
        before = state
        for axis, g in zip(FORMS[form].decays, gates):
            state = g[:, t].exp()[shapes[axis]] * state
        state = state + write
        read = state if bonus is None else before + bonus[..., None] * write
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], read))
    scale = 1 if bonus is not None else q.shape[-1] ** -0.5
    return scale * torch.stack(outputs, 1), state


def error(found, wanted):
    """RMS of the difference over the RMS of what is wanted."""
    if not wanted.any():  # the adjoint of a state that is forgotten
        return math.inf if found.any() else 0.0
    return ((found.double() - wanted).square().mean() / wanted.square().mean()).sqrt().item()


def held(title, names, found, wanted, bounds):
    """Prints the errors, and ends the benchmark where one is beyond its bound."""
    errors = [error(mine, right) for mine, right in zip(found, wanted)]
    print(f"{title}: " + ", ".join(f"{name} {value:.1e}" for name, value in zip(names, errors)))
    if not all(value <= bound for value, bound in zip(errors, bounds)):
        raise SystemExit("The package's answers are wrong; nothing was timed.")


def check_forward(module, lengths=(1, 15, 64, 257, 517), batch=2, heads=8):
    """Ends the benchmark unless output and final state are within bf16's bounds on drawn problems."""
    form, key, value = form_of(module), module.manifest["key"], module.manifest["value"]
    for gates in GATES if FORMS[form].decays else GATES[:1]:
        for length in lengths:
            tensors = draw(form, batch, length, heads, key, value, length, gates)
            initial = torch.randn(batch, heads, key, value, device="cuda")
            found = module.forward(
                *for_package(form, tensors), initial_state=initial, output_final_state=True)
            held(f"{gates:11}T {length:4}", ("o", "final state"), found,
                 walk(form, tensors, initial), (OUTPUT, STATE))


def check_backward(module, lengths=(1, 15, 64, 257), batch=2, heads=4):
    """The same for adjoints, which must also be the same from call to call."""
    form, key, value = form_of(module), module.manifest["key"], module.manifest["value"]
    for gates in GATES if FORMS[form].decays else GATES[:1]:
        for length in lengths:
            drawn = draw(form, batch, length, heads, key, value, length, gates)
            initial, d_final = (torch.randn(batch, heads, key, value, device="cuda") for _ in range(2))
            d_o = torch.randn_like(drawn[2])
            mine = for_package(form, drawn)
            given = dict(initial_state=initial, d_o=d_o, d_final_state=d_final)
            found, again = (module.backward(*mine, **given) for _ in range(2))
            if not all(torch.equal(found[name], again[name]) for name in found):
                raise SystemExit("The package's adjoints differ from call to call; nothing was timed.")
            leaves = [x.double().requires_grad_() for x in (*mine, initial)]
            q, k, v, *rest = leaves[:-1]
            if FORMS[form].bonus:
                rest[0] = -rest[0].exp()
            results = walk(form, (q, k, v, *rest), leaves[-1])
            wanted = torch.autograd.grad(results, leaves, (d_o.double(), d_final.double()))
            # A decay of -inf has the adjoint 0; through rwkv6's exponentials PyTorch finds inf * 0.
            wanted = [adjoint.nan_to_num(nan=0.0) for adjoint in wanted]
            held(f"{gates:11}T {length:4}", [f"d {name}" for name in found], found.values(), wanted,
                 [ADJOINT] * len(wanted))


def median(call, sets, count=40):
    """Milliseconds of a call. The card sleeps first, for longer than the host needs to queue all calls:
    what is timed is the card, also where a call costs the host more."""
    for index in range(2 * sets):
        call(index % sets)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    torch.cuda._sleep(4_000_000 * count)  # clocks: two milliseconds a call, as a peer's gradient takes one
    for index, (start, stop) in enumerate(pairs):
        start.record()
        call(index % sets)
        stop.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(stop) for start, stop in pairs)


def by_gates(sets_of, time):
    """Prints milliseconds under each pattern of gates, and how many times the mild one's that is."""
    mild = None
    for gates in GATES:
        found = time(sets_of(gates))
        mild = mild or found
        print(f"{gates:11}{found:.4f}  {found / mild:.2f}")


def both_ways(call, sets, d_o):
    """A forward and a backward call on a set of leaves."""

    def run(index):
        leaves = sets[index % len(sets)]
        torch.autograd.grad(call(leaves), leaves, d_o)

    return run


def attentions(sets, d_o=None):
    """Milliseconds of causal attention on [B, H, T, D] sets, by FlashAttention-2 and by cuDNN; with
    d_o forward and backward."""
    attend, times = lambda x: F.scaled_dot_product_attention(*x, is_causal=True), []
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        with sdpa_kernel(backend):
            run = both_ways(attend, sets, d_o) if d_o is not None else lambda i: attend(sets[i])
            times.append(median(run, len(sets), 20))
    return times


def peak(run):
    """MiB that a call takes beside what is there before it."""
    run(0)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run(0)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def size_of(*tensors):
    """Bytes."""
    return sum(x.numel() * x.element_size() for x in tensors)


def copy_rate():
    """Bytes a millisecond of a large copy, counting both ways; printed with the card's name."""
    source = torch.empty(1 << 31, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    rate = 2 * source.numel() / median(lambda _: target.copy_(source), 1, 10)
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, copy {rate / 1e9:.2f} TB/s")
    return rate
