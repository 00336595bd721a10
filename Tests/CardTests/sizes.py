"""Sizes past what 32 bits or 16 bits count: elements of a tensor, packed sequences."""

import torch

from answers import Package, adjoints, card, compare, demand, walk

SEQUENCES = 70_000


def _beyond(columns, bits):
    """Tokens with which a tensor of so many columns a token has more than 2^bits elements."""
    return ((1 << bits) * 103 // 100) // columns // 64 * 64 + 37


def _parts(package, tensors, window):
    """The tokens of a window, and parameters whole."""
    return [x[:, window] if x.dim() > 2 else x for x in tensors]


def tokens(folder, bits=31, heads=16):
    """The last tokens of long tensors, and those where an index passes 2^bits: mild decay has forgotten
    what lies 1200 tokens back (2^-80), so a double walk over those tokens has the answer."""
    package = Package(folder)
    length = _beyond(min(package.key, package.value) * heads, bits)
    tensors = package.draw(1, length, heads)
    o, final = package.forward(tensors)
    torch.cuda.synchronize()
    border = (1 << bits) // (heads * package.key)
    worst = 0.0
    for title, end in (("the last tokens", length), ("the border", border + 100)):
        window, kept = slice(end - 1600, end), 400
        initial = torch.zeros(1, heads, package.key, package.value, device="cuda")
        wanted, state = walk(package.form, _parts(package, tensors, window), initial)
        found = [o[:, window][:, -kept:]] + ([final] if end == length else [])
        worst = max(worst, compare(title, found, (wanted[:, -kept:], state), package.bounds[:2]))
    return f"T {length}, {o.numel() / 2**31:.2f} x 2^31 outputs, error {worst:.1e}"


def tokens_4g(folder):
    """The same where unsigned numbers of 32 bits overflow too."""
    return tokens(folder, bits=32)


def tokens_backward(folder, heads=16):
    """Adjoints of the last tokens: those before them matter through a state that is forgotten. The larger
    of K and V counts: the states of chunks take most of the card."""
    package = Package(folder)
    length = _beyond(max(package.key, package.value) * heads, 31)
    tensors = package.draw(1, length, heads)
    d_o = torch.randn(1, length, heads, package.value, device="cuda", dtype=torch.bfloat16)
    found = list(package.module.backward(*package.given(tensors), d_o=d_o).values())[:-1]
    torch.cuda.synchronize()
    window, kept = slice(length - 900, length), 300
    initial = torch.zeros(1, heads, package.key, package.value, device="cuda")
    part = _parts(package, tensors, window)
    wanted = adjoints(package, part, initial, d_o[:, window], torch.zeros_like(initial))[:-1]
    # Parameters' adjoints are sums over all tokens, of which the window has a part.
    pairs = [
        (mine[:, window][:, -kept:], right[:, -kept:])
        for mine, right in zip(found, wanted) if mine.dim() > 2
    ]
    worst = compare("the last tokens", *zip(*pairs), [package.bounds[2]] * len(pairs))
    return f"T {length}, error {worst:.1e}"


def _packed(package, heads=1):
    """Sequences of none to three tokens: tensors, offsets, and where their tokens lie when each has three."""
    generator = torch.Generator("cuda").manual_seed(1)
    lengths = torch.randint(0, 4, (SEQUENCES,), device="cuda", generator=generator)
    lengths[-1] = 2
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    tensors = package.draw(1, int(offsets[-1]), heads)
    columns = torch.arange(3, device="cuda")
    present = columns < lengths[:, None]
    places = (offsets[:-1, None] + columns)[present]
    return tensors, offsets, present, places


def _spread(x, present, places):
    """Tokens [1, T, ...] as [sequences, 3, ...], zeros where a sequence has ended."""
    out = x.new_zeros(*present.shape, *x.shape[2:])
    out[present] = x[0, places]
    return out


def _slices(present, each=5000):
    for begin in range(0, len(present), each):
        yield slice(begin, min(begin + each, len(present)))


def packed(folder):
    """More sequences than a grid's second axis has blocks; some of them empty."""
    package = Package(folder)
    tensors, offsets, present, places = _packed(package)
    initial = package.state(SEQUENCES, 1)
    o, final = package.forward(tensors, initial_state=initial, cu_seqlens=offsets)
    spread = [_spread(x, present, places) if x.dim() > 2 else x for x in tensors]
    wanted, states = [], []
    for rows in _slices(present):
        part = [x[rows] if x.dim() > 2 else x for x in spread]
        right, state = walk(package.form, part, initial[rows])
        wanted.append(right[present[rows]])
        states.append(card.error(final[rows], state))
        demand(states[-1] <= package.bounds[1], f"states from {rows.start} on: {states[-1]:.1e}")
    error = compare("packed", [o[0]], [torch.cat(wanted)], package.bounds)
    empty = ~present[:, 0]
    demand(torch.equal(final[empty], initial[empty]), "an empty sequence's state has changed")
    return f"{SEQUENCES} sequences, {int(empty.sum())} empty: o {error:.1e}, states {max(states):.1e}"


def packed_backward(folder):
    """Their adjoints."""
    package = Package(folder)
    tensors, offsets, present, places = _packed(package)
    initial, d_final = package.state(SEQUENCES, 1), package.state(SEQUENCES, 1)
    d_o = torch.randn(*tensors[2].shape, device="cuda").to(tensors[2].dtype)
    found = package.module.backward(
        *package.given(tensors), d_o=d_o, d_final_state=d_final, initial_state=initial,
        cu_seqlens=offsets)
    *found, d_initial = found.values()
    spread = [_spread(x, present, places) if x.dim() > 2 else x for x in tensors]
    d_spread = _spread(d_o, present, places)
    wanted, errors = [[] for _ in found], []
    for rows in _slices(present, 2500):
        part = [x[rows] if x.dim() > 2 else x for x in spread]
        right = adjoints(package, part, initial[rows], d_spread[rows], d_final[rows])
        for adjoint, all_ in zip(right, wanted):
            all_.append(adjoint[present[rows]] if adjoint.dim() > 2 else adjoint)
        errors.append(card.error(d_initial[rows], right[-1]))
        demand(errors[-1] <= package.bounds[2], f"states' from {rows.start} on: {errors[-1]:.1e}")
    wanted = [torch.cat(x) if x[0].dim() > 2 or mine.dim() > 2 else sum(x)
              for mine, x in zip(found, wanted)]
    found = [mine[0] if mine.dim() > 2 else mine for mine in found]
    error = compare("packed", found, wanted, [package.bounds[2]] * len(wanted))
    return f"{SEQUENCES} sequences: adjoints {error:.1e}, states' {max(errors):.1e}"
