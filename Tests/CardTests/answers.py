"""What the checks share: packages, problems, the recurrences in double, and what a failed check is."""

import importlib.util
import pathlib
import sys
import time

import torch

_path = pathlib.Path(__file__).resolve().parents[2] / "Benchmarks/gpu/card.py"
_spec = importlib.util.spec_from_file_location("card", _path)
card = importlib.util.module_from_spec(_spec)
sys.modules["card"] = card
_spec.loader.exec_module(card)

# RMS error over the RMS of the double reference: o, states, adjoints (docs/numerics.md).
BOUNDS = {
    "bf16": (card.OUTPUT, card.STATE, card.ADJOINT),
    "f16": (5e-4, 5e-4, 1e-3),
    "f32": (1e-5, 1e-5, 2e-5),
}
TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
# Of a batch of two, or of packed sequences.
OFFSETS = (0, 1, 1, 66, 200, 263)


class Failed(Exception):
    """A check that does not hold, as a sentence."""


def demand(holds, sentence):
    if not holds:
        raise Failed(sentence)


class Package:
    """A package, and what the checks ask of it again and again."""

    def __init__(self, folder):
        self.module = card.package(folder)
        self.form = card.form_of(self.module)
        self.key, self.value = self.module.manifest["key"], self.module.manifest["value"]
        self.element = self.module.manifest["type"]
        self.bounds = BOUNDS[self.element]
        self.has_gradient = self.module.manifest.get("backward") is not None

    def draw(self, batch, length, heads, gates="mild", group=1, seed=0):
        """The inputs in the form's own terms, with `group` query heads for each head."""
        tensors = card.draw(self.form, batch, length, heads, self.key, self.value, seed, gates)
        if group > 1:
            tensors[0] = card.draw(
                self.form, batch, length, heads * group, self.key, self.value, seed + 1, gates)[0]
        return [x.to(TYPES[self.element]) if x.dtype == torch.bfloat16 else x for x in tensors]

    def given(self, tensors):
        """The same as the package takes them."""
        return card.for_package(self.form, tensors)

    def state(self, rows, heads):
        return torch.randn(rows, heads, self.key, self.value, device="cuda")

    def forward(self, tensors, **options):
        return self.module.forward(*self.given(tensors), output_final_state=True, **options)


def walk(form, tensors, initial):
    """o and the final state in double, also where query heads share keys; differentiable."""
    q, k, v, *rest = tensors
    group = q.shape[2] // k.shape[2]
    if group == 1:
        return card.walk(form, tensors, initial)
    shared = [x.repeat_interleave(group, 2) for x in (k, v, *rest)]
    o, final = card.walk(form, [q, *shared], initial.repeat_interleave(group, 1))
    return o, final[:, ::group]


def walk_packed(form, tensors, initial, offsets):
    """The same of sequences packed along T."""
    count = 3 if form == "linear-attention" else 4
    outputs, states = [], []
    for row, (begin, end) in enumerate(zip(offsets, offsets[1:])):
        state = initial[row : row + 1].double()
        if begin < end:
            part = [x[:, begin:end] for x in tensors[:count]] + list(tensors[count:])
            o, state = walk(form, part, state)
            outputs.append(o)
        states.append(state)
    return torch.cat(outputs, 1), torch.cat(states)


def adjoints(package, tensors, initial, d_o, d_final, offsets=None):
    """Those of what the package takes, and of the initial state, in double."""
    leaves = [x.double().requires_grad_() for x in (*package.given(tensors), initial)]
    own = leaves[:-1]
    if card.FORMS[package.form].bonus:
        own = [*own[:3], -own[3].exp(), own[4]]
    results = (
        walk(package.form, own, leaves[-1]) if offsets is None
        else walk_packed(package.form, own, leaves[-1], offsets))
    found = torch.autograd.grad(results, leaves, (d_o.double(), d_final.double()))
    # A decay of -inf has the adjoint 0; through rwkv6's exponentials PyTorch finds inf * 0.
    return [adjoint.nan_to_num(nan=0.0) for adjoint in found]


def compare(title, found, wanted, bounds):
    """The errors, each within its bound."""
    errors = [card.error(mine, right) for mine, right in zip(found, wanted)]
    demand(
        all(error <= bound for error, bound in zip(errors, bounds)),
        f"{title}: errors {', '.join(f'{error:.1e}' for error in errors)}, bounds {bounds}")
    return max(errors)


def right_forward(package, title, tensors, initial, offsets=None):
    """The largest error of o and the final state."""
    options = {"initial_state": initial}
    if offsets is not None:
        options["cu_seqlens"] = torch.tensor(offsets, device="cuda")
    found = package.forward(tensors, **options)
    wanted = (
        walk(package.form, tensors, initial) if offsets is None
        else walk_packed(package.form, tensors, initial, offsets))
    return compare(title, found, wanted, package.bounds[:2])


def right_backward(package, title, tensors, initial, offsets=None):
    """The largest error of an adjoint."""
    options = {"initial_state": initial}
    if offsets is not None:
        options["cu_seqlens"] = torch.tensor(offsets, device="cuda")
    q, v = tensors[0], tensors[2]
    d_o = torch.randn(*q.shape[:3], v.shape[3], device="cuda").to(q.dtype)
    d_final = torch.randn_like(initial)
    found = package.module.backward(
        *package.given(tensors), d_o=d_o, d_final_state=d_final, **options)
    wanted = adjoints(package, tensors, initial, d_o, d_final, offsets)
    return compare(f"{title} adjoints", found.values(), wanted, [package.bounds[2]] * len(wanted))


def same_bits(ours, others):
    return all(torch.equal(mine, other) for mine, other in zip(ours, others, strict=True))


def refused(call, *words):
    """The sentence with which a call is refused; it must have these words."""
    try:
        call()
    except (TypeError, ValueError, RuntimeError) as error:
        sentence = str(error)
        demand(all(word in sentence for word in words), f"{words} not in: {sentence}")
        return sentence
    raise Failed(f"was not refused: {words}")


def clock():
    torch.cuda.synchronize()
    return time.perf_counter()
