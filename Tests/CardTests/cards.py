"""Two cards in one process."""

import torch

from answers import Package, compare, demand, refused, same_bits, walk


def _on(device, x):
    return [y.to(device) for y in x]


def other_card(folder):
    """Tensors on the second card while the first one is current, and the other way round."""
    package = Package(folder)
    tensors, initial = package.draw(2, 300, 4, "resets"), package.state(2, 4)
    right = package.forward(tensors, initial_state=initial)
    compare("first card", right, walk(package.form, tensors, initial), package.bounds[:2])
    second = _on("cuda:1", tensors)
    start = initial.to("cuda:1")
    torch.cuda.synchronize(0)
    torch.cuda.synchronize(1)
    found = package.forward(second, initial_state=start)
    demand(torch.cuda.current_device() == 0, "the current card has changed")
    demand(all(x.device.index == 1 for x in found), "outputs on the other card")
    torch.cuda.synchronize(1)
    demand(same_bits(_on("cuda:0", found), right), "other bits on the second card")
    d_o = torch.randn_like(right[0])
    plain = package.module.backward(*package.given(tensors), d_o=d_o, initial_state=initial).values()
    other = package.module.backward(
        *package.given(second), d_o=d_o.to("cuda:1"), initial_state=start).values()
    demand(torch.cuda.current_device() == 0, "the current card has changed")
    demand(same_bits(_on("cuda:0", other), plain), "adjoints have other bits on the second card")
    leaves = [x.clone().requires_grad_() for x in package.given(second)]
    o, _ = package.module.forward(*leaves, initial_state=start)
    through = torch.autograd.grad(o, leaves, d_o.to("cuda:1"))
    demand(same_bits(through, list(other)[: len(leaves)]), "autograd's threads: other bits")
    state = start.clone()
    token = [x[:, :1] if x.dim() > 2 else x for x in package.given(second)]
    package.module.step(*token, state)
    with torch.cuda.device(1):
        here = package.forward(tensors, initial_state=initial)
        demand(torch.cuda.current_device() == 1, "the current card has changed")
    demand(same_bits(here, right), "other bits with the second card current")
    return "forward, backward, autograd, step; the current card stays"


def other_stream(folder):
    """A stream of the second card is current: a call on the first card takes the first one's own."""
    package = Package(folder)
    tensors, initial = package.draw(2, 300, 4), package.state(2, 4)
    right = package.forward(tensors, initial_state=initial)
    compare("first card", right, walk(package.form, tensors, initial), package.bounds[:2])
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream(device=1)):
        demand(torch.cuda.current_device() == 1, "a stream makes its card current")
        found = package.forward(tensors, initial_state=initial)
        demand(torch.cuda.current_device() == 1, "the current card has changed")
    demand(same_bits(found, right), "other bits")
    # The second card is busy on that stream, and its own tensors wait for it.
    side = torch.cuda.Stream(device=1)
    second = [torch.zeros_like(x, device="cuda:1") for x in tensors]
    start = initial.to("cuda:1")
    torch.cuda.synchronize(1)
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
        for to, value in zip(second, tensors):
            to.copy_(value)
    torch.cuda.set_device(0)
    with torch.cuda.stream(side):
        late = package.forward(second, initial_state=start)
    side.synchronize()
    demand(same_bits(_on("cuda:0", late), right), "the second card's stream was passed by")
    return "right"


def two_cards(folder):
    """Tensors of one call on two cards."""
    package = Package(folder)
    tensors, initial = package.draw(1, 64, 2), package.state(1, 2)
    q, k, v, *rest = package.given(tensors)
    refused(lambda: package.module.forward(q, k.to("cuda:1"), v, *rest), "k is on cuda:1, and q on cuda:0")
    told = refused(
        lambda: package.module.forward(q, k, v, *rest, initial_state=initial.to("cuda:1")),
        "initial_state is on cuda:1")
    found = package.forward(tensors, initial_state=initial)
    compare("after", found, walk(package.form, tensors, initial), package.bounds[:2])
    return told
