"""Answers of every package, beside a double recurrence."""

import torch

from answers import OFFSETS, Package, card, compare, demand, right_backward, right_forward, walk

# (batch, tokens, heads, query heads for each)
SHAPES = ((2, 1, 3, 1), (1, 130, 2, 1), (2, 300, 2, 1), (1, 150, 2, 3))


def answers(folder):
    """Forward, backward and a step: gates mild, strong, reset, forgetting; packed and grouped."""
    package = Package(folder)
    worst_o, worst_d = 0.0, 0.0
    grouped = not card.FORMS[package.form].bonus
    for gates in card.GATES:
        for batch, length, heads, group in SHAPES if grouped else SHAPES[:-1]:
            title = f"{gates}, T {length}, {heads} x {group} heads"
            tensors = package.draw(batch, length, heads, gates, group, seed=length)
            initial = package.state(batch, heads)
            worst_o = max(worst_o, right_forward(package, title, tensors, initial))
            if package.has_gradient:
                worst_d = max(worst_d, right_backward(package, title, tensors, initial))
        tensors = package.draw(1, OFFSETS[-1], 2, gates)
        initial = package.state(len(OFFSETS) - 1, 2)
        worst_o = max(worst_o, right_forward(package, f"{gates}, packed", tensors, initial, OFFSETS))
        if package.has_gradient:
            worst_d = max(
                worst_d, right_backward(package, f"{gates}, packed", tensors, initial, OFFSETS))
    told = f"o and state {worst_o:.1e}" + (f", adjoints {worst_d:.1e}" if package.has_gradient else "")
    if package.module.manifest.get("step") is None:
        return told
    return f"{told}, step {step(package):.1e}"


def step(package):
    """Ten tokens one by one: o of each, and the state where it lies."""
    worst = 0.0
    for gates in card.GATES:
        tensors, initial = package.draw(3, 10, 2, gates), package.state(3, 2)
        wanted, final = walk(package.form, tensors, initial)
        state, outputs = initial.clone(), []
        for t in range(10):
            token = [x[:, t : t + 1] if x.dim() > 2 else x for x in package.given(tensors)]
            outputs.append(package.module.step(*token, state))
        found = [torch.cat(outputs, 1), state]
        worst = max(worst, compare(f"step, {gates}", found, (wanted, final), package.bounds[:2]))
    return worst


def deterministic(folder):
    """Equal bits from call to call, and alone as among other rows of a batch."""
    package = Package(folder)
    tensors, initial = package.draw(4, 333, 3, "resets"), package.state(4, 3)
    d_o = torch.randn(4, 333, 3, package.value, device="cuda").to(tensors[0].dtype)

    def run(rows):
        part = [x[rows] if x.dim() > 2 else x for x in tensors]
        results = list(package.forward(part, initial_state=initial[rows]))
        if package.has_gradient:
            d = package.module.backward(
                *package.given(part), d_o=d_o[rows], initial_state=initial[rows])
            # Parameters' adjoints are sums over the rows.
            results += [x for x in d.values() if x.dim() > 2]
        return results

    whole = run(slice(0, 4))
    compare("whole", whole[:2], walk(package.form, tensors, initial), package.bounds[:2])
    for _ in range(20):
        again = run(slice(0, 4))
        demand(all(map(torch.equal, whole, again)), "other bits on another call")
    for row in range(4):
        alone = run(slice(row, row + 1))
        demand(all(torch.equal(x[row : row + 1], y) for x, y in zip(whole, alone)), f"row {row} alone")
    return "21 calls, and rows alone"
