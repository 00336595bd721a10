"""What a call costs the processor, the streams and graphs that it works on, the memory that it takes."""

import statistics
import threading
import time

import torch

from answers import Package, clock, compare, demand, right_forward, same_bits, walk

DISPATCH = 20.0  # us
FIRST_CALL = 50.0  # ms


def _host(call, bursts=20, count=100):
    """Microseconds of the processor's time a call, over bursts that end before the stream's queue is full."""
    times = []
    for _ in range(bursts + 2):
        begin = clock()
        for _ in range(count):
            call()
        times.append((time.perf_counter() - begin) / count * 1e6)
    return statistics.median(times[2:])


def dispatch(folder):
    """A call's way through Python at B 1, T 64."""
    package = Package(folder)
    tensors, initial = package.draw(1, 64, 2), package.state(1, 2)
    right_forward(package, "T 64", tensors, initial)
    given, module = package.given(tensors), package.module
    o, _ = module.forward(*given)
    calls = {"forward": lambda: module.forward(*given)}
    if module.manifest.get("step") is not None:
        token = [x[:, :1].contiguous() if x.dim() > 2 else x for x in given]
        calls["step"] = lambda: module.step(*token, initial)
    if package.has_gradient:
        d_o = torch.randn_like(o)
        calls["backward"] = lambda: module.backward(*given, d_o=d_o)
    times = {name: _host(call) for name, call in calls.items()}
    told = ", ".join(f"{name} {value:.1f}" for name, value in times.items()) + " us a call"
    demand(all(value <= DISPATCH for value in times.values()), f"{told}, and {DISPATCH} are wanted")
    return told


def first_call(folder):
    """In a process that has loaded no kernel yet: importing, the first call, later ones, other sizes."""
    import numpy  # noqa: F401  (which the package imports: its time is not the package's)

    torch.randn(64, 64, device="cuda").bfloat16()
    begin = clock()
    package = Package(folder)
    imported = clock() - begin
    problems = [(package.draw(1, length, 2), package.state(1, 2)) for length in (64, 300, 1111)]
    times = []
    for tensors, initial in (problems[0], problems[0], problems[1], problems[2]):
        given = package.given(tensors)
        begin = clock()
        package.module.forward(*given, initial_state=initial)
        times.append((clock() - begin) * 1e3)
    told = f"import {imported * 1e3:.0f} ms, first call {times[0]:.1f} ms, then " + ", ".join(
        f"{value:.2f}" for value in times[1:])
    if package.has_gradient:
        given, begin = package.given(problems[0][0]), clock()
        o, _ = package.module.forward(*given)
        begin = clock()
        package.module.backward(*given, d_o=o)
        told += f"; first backward {(clock() - begin) * 1e3:.1f}"
    compiles = "assembler" not in package.module.manifest  # the driver, which keeps what it compiled
    demand(compiles or times[0] <= FIRST_CALL, f"{told}: {FIRST_CALL} ms are wanted")
    demand(max(times[1:]) <= 5, f"{told}: a later call tunes something")
    for tensors, initial in problems:
        right_forward(package, f"T {tensors[0].shape[1]}", tensors, initial)
    return told


def stream(folder):
    """Behind work that waits on a side stream, and beside work that holds the default stream."""
    package = Package(folder)
    drawn, initial = package.draw(2, 300, 4), package.state(2, 4)
    tensors = [torch.zeros_like(x) for x in drawn]
    package.forward(tensors, initial_state=initial)  # the kernels are loaded
    side, done = torch.cuda.Stream(), torch.cuda.Event()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)  # clocks: some 50 ms
        for to, value in zip(tensors, drawn):
            to.copy_(value, non_blocking=True)
        begin = time.perf_counter()
        found = package.forward(tensors, initial_state=initial)
        host = (time.perf_counter() - begin) * 1e3
        demand(not side.query(), "the side stream was waited for")
        late = found[0].clone()
    demand(host < 10, f"the call took {host:.1f} ms while its stream was busy")
    torch.cuda.synchronize()
    compare("side stream", found, walk(package.form, drawn, initial), package.bounds[:2])
    demand(torch.equal(late, found[0]), "work queued after the call saw another output")

    torch.cuda._sleep(400_000_000)  # the default stream, some 200 ms
    with torch.cuda.stream(side):
        again = package.forward(tensors, initial_state=initial)
        done.record()
    done.synchronize()
    demand(not torch.cuda.default_stream().query(), "the call waited for the default stream")
    torch.cuda.synchronize()
    demand(same_bits(found, again), "other bits on the second call")
    return f"{host:.2f} ms on a busy stream; done while the default stream was busy"


def threads(folder):
    """Eight threads at once, each with a stream of its own, in contexts that they never made current."""
    package = Package(folder)
    problems = [(package.draw(1, 200 + 10 * n, 2, seed=n), package.state(1, 2)) for n in range(8)]
    torch.cuda.synchronize()
    found, refusals = [None] * 8, []

    def work(n):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(20):
                    found[n] = package.forward(problems[n][0], initial_state=problems[n][1])
        except Exception as error:  # shown below
            refusals.append(f"{type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    torch.cuda.synchronize()
    demand(not refusals, "; ".join(refusals[:2]))
    for n, (tensors, initial) in enumerate(problems):
        right = package.forward(tensors, initial_state=initial)
        demand(same_bits(found[n], right), f"thread {n} has other bits")
    compare("a thread", found[0], walk(package.form, *problems[0]), package.bounds[:2])
    return "8 threads, 20 calls each, the same bits"


def first_thread(folder):
    """The very first call of a process comes from a thread that has no context."""
    package = Package(folder)
    tensors, initial, found = package.draw(1, 100, 2), package.state(1, 2), []
    torch.cuda.synchronize()
    worker = threading.Thread(
        target=lambda: found.append(package.forward(tensors, initial_state=initial)))
    worker.start()
    worker.join()
    demand(bool(found), "the call failed in its thread")
    torch.cuda.synchronize()
    compare("thread", found[0], walk(package.form, tensors, initial), package.bounds[:2])
    return "right"


def graph(folder):
    """Captured once, replayed with other inputs: forward, backward and a step."""
    package = Package(folder)
    module = package.module
    problems = [(package.draw(2, 300, 4, "resets", seed=n), package.state(2, 4)) for n in range(3)]
    d_outs = [torch.randn_like(problems[0][0][2]) for _ in problems]

    def run(tensors, initial, d_o):
        given = package.given(tensors)
        results = list(module.forward(*given, initial_state=initial, output_final_state=True))
        if package.has_gradient:
            results += module.backward(*given, d_o=d_o, initial_state=initial).values()
        if module.manifest.get("step") is not None:
            state = results[1].clone()
            token = [x[:, :1] if x.dim() > 2 else x for x in given]
            results += [module.step(*token, state), state]
        return results

    expected = [run(*problem, d_o) for problem, d_o in zip(problems, d_outs)]
    compare("eager", expected[1][:2], walk(package.form, *problems[1]), package.bounds[:2])
    places = [x.clone() for x in (*problems[0][0], problems[0][1], d_outs[0])]
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        results = run(places[:-2], places[-2], places[-1])
    for n in (1, 2, 0):
        for to, value in zip(places, (*problems[n][0], problems[n][1], d_outs[n])):
            to.copy_(value)
        for result in results:
            result.fill_(float("nan"))
        captured.replay()
        torch.cuda.synchronize()
        demand(same_bits(results, expected[n]), f"replay {n} has other bits than the calls")
    return f"{len(results)} results, three replays, the bits of plain calls"


def leak(folder):
    """A thousand calls of each entry leave torch's memory and the card's as they were."""
    package = Package(folder)
    module = package.module
    given = package.given(package.draw(2, 300, 4, "strong"))
    state = package.state(2, 4)
    o, _ = module.forward(*given)
    calls = [lambda: module.forward(*given, initial_state=state, output_final_state=True)]
    if package.has_gradient:
        calls.append(lambda: module.backward(*given, d_o=o, initial_state=state))
    if module.manifest.get("step") is not None:
        token = [x[:, :1].contiguous() if x.dim() > 2 else x for x in given]
        calls.append(lambda: module.step(*token, state))
    for call in calls * 10:
        call()
    torch.cuda.synchronize()
    before, free = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    held = calls[0]()
    grown = torch.cuda.memory_allocated() - before
    wanted = sum(x.numel() * x.element_size() for x in held)
    demand(grown >= wanted, f"outputs of {wanted} bytes moved memory_allocated by {grown}")
    del held
    resident = _resident()
    for call in calls:
        for _ in range(1000):
            call()
    torch.cuda.synchronize()
    after, left = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    demand(after == before, f"memory_allocated went from {before} to {after}")
    demand(free - left < 16 << 20, f"the card has {(free - left) >> 20} MiB less free")
    process = _resident() - resident
    demand(process < 32, f"the process has grown by {process} MiB")
    return f"{1000 * len(calls)} calls; the process grew by {process} MiB"


def _resident():
    """MiB of the process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20


def compiled(folder):
    """torch.compile takes a call and its gradient without a graph break, and a step."""
    package = Package(folder)
    tensors, initial = package.draw(1, 130, 2), package.state(1, 2)

    def loss(*given):
        return package.module.forward(*given, initial_state=initial)[0].float().square().sum()

    leaves = [x.detach().clone().requires_grad_() for x in package.given(tensors)]
    plain = torch.autograd.grad(loss(*leaves), leaves)
    torch._dynamo.reset()
    through = torch.autograd.grad(torch.compile(loss, fullgraph=True)(*leaves), leaves)
    for mine, other in zip(plain, through):
        difference = (mine.double() - other.double()).norm() / mine.double().norm()
        demand(difference < 1e-2, f"gradients differ by {difference:.1e}")
    token = package.given(package.draw(1, 1, 2))
    states = [package.state(1, 2) for _ in range(2)]
    states[1].copy_(states[0])
    plain = package.module.step(*token, states[0])
    through = torch.compile(lambda *given: package.module.step(*given), fullgraph=True)(*token, states[1])
    demand(torch.equal(plain, through) and torch.equal(*states), "a step differs")
    return "one graph"
