"""Pointers that are misaligned, calls that cannot be right, and a card that is full."""

import ctypes

import torch

from answers import Package, compare, demand, refused, right_forward, same_bits, walk


def _shifted(x):
    """The same numbers one element further in memory."""
    whole = torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)
    view = whole[1:].view(x.shape)
    view.copy_(x)
    return view


def misaligned(folder):
    """Tensors shifted by one element, or of other strides, through Python: copied, the same bits."""
    package = Package(folder)
    module = package.module
    tensors, initial = package.draw(2, 200, 4, "resets"), package.state(2, 4)
    right = package.forward(tensors, initial_state=initial)
    compare("aligned", right, walk(package.form, tensors, initial), package.bounds[:2])
    for n in range(len(tensors)):
        moved = [_shifted(x) if i == n else x for i, x in enumerate(tensors)]
        demand(same_bits(package.forward(moved, initial_state=initial), right), f"input {n}: other bits")
    moved = [_shifted(x) for x in tensors]
    found = package.forward(moved, initial_state=_shifted(initial))
    demand(same_bits(found, right), "all shifted: other bits")
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) if x.dim() > 2 else x for x in tensors]
    demand(same_bits(package.forward(strided, initial_state=initial), right), "strided: other bits")
    if package.has_gradient:
        d_o, d_final = torch.randn_like(right[0]), torch.randn_like(initial)
        plain, other = (
            module.backward(*package.given(x), d_o=d, d_final_state=f, initial_state=s).values()
            for x, d, f, s in (
                (tensors, d_o, d_final, initial),
                (moved, _shifted(d_o), _shifted(d_final), _shifted(initial))))
        demand(same_bits(plain, other), "adjoints of shifted tensors have other bits")
    if module.manifest.get("step") is not None:
        token = [x[:, :1] if x.dim() > 2 else x for x in package.given(tensors)]
        refused(lambda: module.step(*token, _shifted(initial)), "must be dense and begin at sixteen bytes")
        states = [initial.clone(), initial.clone()]
        first = module.step(*token, states[0])
        second = module.step(*[_shifted(x) for x in token], states[1])
        demand(same_bits([first, states[0]], [second, states[1]]), "a step of shifted tensors: other bits")
    return f"{len(tensors)} inputs, states, adjoints"


def misaligned_c(folder):
    """The same pointers handed to the C interface: right, or a sentence; never a fault of the card."""
    package = Package(folder)
    kernel = package.module.cuda._kernel
    entry, message = kernel.library[f"{kernel.name}_forward_on"], package.module._calls._message
    entry.argtypes, entry.restype = [ctypes.c_char_p, ctypes.c_void_p], ctypes.c_int32
    tensors = package.draw(1, 130, 2)
    given, initial = package.given(tensors), package.state(1, 2)
    o, final = package.forward(tensors, initial_state=initial)
    names = [f"input_{known.name}" for known in kernel.inputs]
    sentences = set()
    for shifted in (None, *names, "o", "initial_state", "final_state"):
        places = dict(zip(names, given), o=torch.empty_like(o), initial_state=initial,
                      final_state=torch.empty_like(final))
        if shifted:
            places[shifted] = _shifted(places[shifted])
        values = {name: x.data_ptr() for name, x in places.items()}
        a = kernel.Arguments(
            abi=1, size=ctypes.sizeof(kernel.Arguments), batch=1, length=130, query_heads=2, heads=2,
            scale=kernel.default_scale, **values)
        size = kernel._workspace_size(ctypes.addressof(a))
        demand(size >= 0, f"workspace: {size}")
        workspace = torch.empty(size, dtype=torch.uint8, device="cuda")
        a.workspace, a.workspace_size = workspace.data_ptr(), size
        code = entry(bytes(a), torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()
        if code:
            demand(shifted is not None, f"aligned pointers: code {code}")
            demand(code == 6, f"{shifted}: code {code}")
            sentences.add(message(code).decode())
        else:
            demand(same_bits([places["o"], places["final_state"]], [o, final]), f"{shifted}: other bits")
    words = " ".join(sentences) or "all right"
    a.input_q = given[0].data_ptr() + 1
    demand(message(entry(bytes(a), None)).decode() == "A pointer is misaligned.", "an odd address passes")
    return words


def sentences(folder):
    """Types, shapes and devices that are wrong; the next right call is right."""
    package = Package(folder)
    module = package.module
    tensors, initial = package.draw(2, 64, 4), package.state(2, 4)
    q, k, v, *rest = package.given(tensors)
    calls = [
        ((q.cpu(), k, v, *rest), {}, ("is on",)),
        ((q, k.cpu(), v, *rest), {}, ("k is on cpu, and q on cuda:0",)),
        (tuple(x.cpu() for x in (q, k, v, *rest)), {}, ("q must be a torch.Tensor on a card",)),
        ((q.double(), k, v, *rest), {}, ("q must be of type", "torch.float64")),
        ((q, k, v[..., :-1], *rest), {}, ("v must have shape",)),
        ((q, k[:, :-1], v, *rest), {}, ("k must have shape",)),
        ((q[0], k, v, *rest), {}, ("q must have four axes",)),
        ((q[:, :, :3], k, v, *rest), {}, ("heads must be a multiple",)),
        (([1.0], k, v, *rest), {}, ("must be a torch.Tensor",)),
        ((q, k, v, *rest), {"initial_state": initial.bfloat16()}, ("initial_state must be of type",)),
        ((q, k, v, *rest), {"initial_state": initial.cpu()}, ("initial_state is on cpu",)),
        ((q, k, v, *rest), {"initial_state": initial[:1]}, ("initial_state must have shape",)),
        ((q, k, v, *rest), {"cu_seqlens": torch.tensor([0, 64], device="cuda")}, ("B = 1",)),
        ((q, k, v, *rest), {"scale": float("nan")}, ("scale",)),
        ((q, k), {}, ("v is missing",)),
    ]
    for args, options, words in calls:
        refused(lambda: module.forward(*args, **options), *words)
    if package.has_gradient:
        d_o = torch.zeros_like(v)
        refused(lambda: module.backward(q, k, v, *rest, d_o=d_o.float()), "d_o must be of type")
        refused(lambda: module.backward(q, k, v, *rest, d_o=d_o[:, 1:]), "d_o must have shape")
        refused(lambda: module.backward(q, k, v, *rest, d_o=d_o.cpu()), "d_o is on cpu")
    else:
        leaf = q.detach().clone().requires_grad_()
        refused(lambda: module.forward(leaf, k, v, *rest), "--backward")
    right_forward(package, "after", tensors, initial)
    # No tokens at all: the state passes.
    none = [x[:, :0] if x.dim() > 2 else x for x in tensors]
    demand(torch.equal(package.forward(none, initial_state=initial)[1], initial), "T 0 changed the state")
    return f"{len(calls)} calls"


def _fill():
    """Takes the card's memory down to less than a MiB, and what torch keeps for later too."""
    held, size = [], 1 << 37
    while size >= 1 << 19:
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            size >>= 1
    return held


def full(folder):
    """Calls on a full card say so, leave nothing behind, and are right once there is memory again."""
    package = Package(folder)
    tensors, initial = package.draw(4, 4096, 16), package.state(4, 16)
    small, start = package.draw(1, 200, 2), package.state(1, 2)
    right_forward(package, "before", small, start)
    expected = package.forward(tensors, initial_state=initial)
    d_o = torch.randn_like(expected[0])
    calls = [lambda: package.forward(tensors, initial_state=initial)]
    if package.has_gradient:
        calls.append(lambda: package.module.backward(*package.given(tensors), d_o=d_o))
    for call in calls:
        call()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before, told = torch.cuda.memory_allocated(), []
    held = _fill()
    filled = torch.cuda.memory_allocated()
    for call in calls * 3:
        try:
            call()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            told.append(f"{type(error).__name__}: {str(error).split('.')[0]}")
        else:
            demand(False, f"a call found memory on a full card ({torch.cuda.mem_get_info()[0]} free)")
    demand(torch.cuda.memory_allocated() == filled, "a refused call keeps memory")
    # Outputs fit, the workspace does not.
    if package.has_gradient:
        del held[0]
        hold = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        wanted = sum(x.numel() * x.element_size() for x in (*tensors, initial)) + (48 << 20)
        if hold > wanted:
            held.append(torch.empty(hold - wanted, dtype=torch.uint8, device="cuda"))
        refused(calls[1], "out of memory")
    held.clear()
    torch.cuda.empty_cache()
    demand(torch.cuda.memory_allocated() == before, "memory is left behind")
    demand(same_bits(package.forward(tensors, initial_state=initial), expected), "other bits afterwards")
    right_forward(package, "after", small, start)
    return f"{len(told)} refusals, {' | '.join(sorted(set(told)))}"


def full_at_first(folder):
    """A process whose first call finds no room for the kernels, on a card that is full to the last page."""
    package = Package(folder)
    tensors, initial = package.draw(1, 200, 2), package.state(1, 2)
    room = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")  # for what PyTorch itself needs
    held = _fill()
    runtime = ctypes.CDLL("libcuda.so.1")
    pieces, place = [], ctypes.c_uint64()
    for size in (1 << 21, 1 << 16, 1 << 12):
        while runtime.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(size)) == 0:
            pieces.append(place.value)
    del room  # torch keeps it for the outputs; the driver has nothing
    told = "loaded on a full card"
    try:
        package.forward(tensors, initial_state=initial)
        torch.cuda.synchronize()
    except RuntimeError as error:
        told = str(error).splitlines()[0]
        demand("out of memory" in told, told)
    for piece in pieces:
        runtime.cuMemFree_v2(ctypes.c_uint64(piece))
    held.clear()
    torch.cuda.empty_cache()
    right_forward(package, "after", tensors, initial)
    return told[-60:]
