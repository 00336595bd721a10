"""Calls that go to the card as graphs of their kernels, which are set anew for each call: each must have what
it was given, whatever other calls, threads, streams, captures and contexts do meanwhile.
"""

import ctypes
import json
import pathlib
import struct
import threading
import traceback

import torch

from answers import Package, demand, same_bits


def _problems(package, count, length=200):
    """Calls of a gradient and what they give."""
    found = []
    for n in range(count):
        given = package.given(package.draw(1, length + 8 * (n % 3), 2, seed=n))
        d_o = torch.randn(*given[0].shape[:3], package.value, device="cuda").to(given[0].dtype)
        found.append((given, d_o))
    return found


def _backward(package, problem):
    given, d_o = problem
    return list(package.module.backward(*given, d_o=d_o).values())


def queued(folder):
    """Behind a busy stream, forty calls on tensors of their own: what is set for one is not the next one's."""
    package = Package(folder)
    problems = _problems(package, 40)
    right = [_backward(package, problem) for problem in problems]
    torch.cuda.synchronize()
    torch.cuda._sleep(100_000_000)
    found = [_backward(package, problem) for problem in problems]
    demand(not torch.cuda.current_stream().query(), "the stream was waited for")
    torch.cuda.synchronize()
    demand(all(map(same_bits, found, right)), "calls that were queued have other bits")
    return "40 calls queued, the bits of before"


def beside(folder):
    """A call on a stream is not behind another stream's of the same kernels."""
    package = Package(folder)
    problem = _problems(package, 1)[0]
    right = _backward(package, problem)
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    for stream in streams * 3:
        with torch.cuda.stream(stream):
            _backward(package, problem)
    torch.cuda.synchronize()
    with torch.cuda.stream(streams[0]):
        torch.cuda._sleep(400_000_000)
        late = _backward(package, problem)
    with torch.cuda.stream(streams[1]):
        found = _backward(package, problem)
    streams[1].synchronize()
    demand(not streams[0].query(), "a stream's call waited for another stream's")
    torch.cuda.synchronize()
    demand(same_bits(found, right) and same_bits(late, right), "other bits")
    return "done while the other stream was busy"


def shared(folder):
    """Eight threads: on one stream, then each on its own."""
    package = Package(folder)
    problems = _problems(package, 8)
    right = [_backward(package, problem) for problem in problems]
    for streams in ([torch.cuda.Stream()] * 8, [torch.cuda.Stream() for _ in range(8)]):
        torch.cuda.synchronize()
        wrong = []

        def work(n, streams=streams, wrong=wrong):
            try:
                with torch.cuda.stream(streams[n]):
                    found = [_backward(package, problems[n]) for _ in range(100)]
                    streams[n].synchronize()
                    if not all(same_bits(each, right[n]) for each in found):
                        wrong.append(f"thread {n} has other bits")
            except Exception as error:  # shown below
                wrong.append(f"{type(error).__name__}: {error}")

        workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        demand(not wrong, "; ".join(wrong[:2]))
    return "8 threads, 100 calls each, the bits of before"


def capture_beside(folder):
    """While a stream is captured another thread makes its first graphs: the capture stays whole.

    It is of the capturing thread alone, as it must be where others allocate: PyTorch's own allocator ends
    one of all threads when it asks the card for memory."""
    package = Package(folder)
    problem = _problems(package, 1)[0]
    right, side, found, refusals = _backward(package, problem), torch.cuda.Stream(), [], []
    with torch.cuda.stream(side):
        _backward(package, problem)
    x = torch.zeros(1000, device="cuda")
    torch.cuda.synchronize()

    def work():
        try:
            with torch.cuda.stream(side):
                found.extend(_backward(package, problem) for _ in range(3))
        except Exception as error:  # shown below
            where = traceback.extract_tb(error.__traceback__)[-1]
            refusals.append(f"{type(error).__name__} in {where.name}, {where.line}: {error}")

    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured, capture_error_mode="thread_local"):
        x += 1
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        demand(not refusals, "; ".join(refusals))
        inside = _backward(package, problem)
        x += 1
    for _ in range(3):
        captured.replay()
    torch.cuda.synchronize()
    demand(all(same_bits(each, right) for each in found), "the thread has other bits")
    demand(bool((x == 6).all()) and same_bits(inside, right), "the captured graph is not whole")
    return "captured, and replayed"


def many_streams(folder):
    """Sixty-four streams: the bits of one, and what their graphs take of the card's memory."""
    package = Package(folder)
    problem = _problems(package, 1)[0]
    right = _backward(package, problem)
    streams = {}
    for priority in (0, -1):
        for _ in range(32):
            stream = torch.cuda.Stream(priority=priority)
            streams[stream.cuda_stream] = stream
    for stream in streams.values():  # memory of PyTorch's for each
        with torch.cuda.stream(stream):
            _backward(package, problem)
    torch.cuda.synchronize()
    # What PyTorch takes for tensors meanwhile is not counted.
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    for stream in streams.values():
        with torch.cuda.stream(stream):
            for _ in range(3):
                found = _backward(package, problem)
            stream.synchronize()
            demand(same_bits(found, right), "a stream has other bits")
    left = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    taken = (free - left) / len(streams) / 1024
    demand(taken < 512, f"a stream's graph takes {taken:.0f} KiB of the card")
    return f"{len(streams)} streams, {taken:.0f} KiB of the card for each"


def contexts(folder):
    """Through C: the primary context before and after a reset, then others one after the other. No graph
    of a context that is gone is used: all give the same bits."""
    folder = pathlib.Path(folder)
    driver, library = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(str(next(folder.glob("*.so"))))
    count = len(json.loads((folder / "manifest.json").read_text())["inputs"])
    room = 4 << 20

    def call(name, *arguments):
        code = getattr(driver, name)(*arguments)
        demand(code == 0, f"{name} answers {code}")

    def struct_of(base, workspace, size):
        tensors = [base + room * n for n in range(4 + 2 * count)]
        tensors[:2] = [0, 0]  # no states to begin from
        own = 88 + 8 * len(tensors)
        head = (1, own, 1, 192, 2, 2, 0, 0, 0, 0, 0.5, 0, workspace, size)
        return struct.pack(f"@IIqqqqqQiifIQQ{len(tensors)}Q", *head, *tensors)

    library.sluice_backward_on.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.sluice_backward_workspace_size.restype = ctypes.c_int64

    def bits():
        """Of the first adjoint, after four calls."""
        size = library.sluice_backward_workspace_size(struct_of(0, 0, 0))
        demand(size >= 0, f"the workspace's size is refused with {-size}")
        number = ctypes.c_uint64()
        call("cuCtxGetId", None, ctypes.byref(number))
        place, total = ctypes.c_uint64(), room * (4 + 2 * count) + size
        call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(total))
        call("cuMemsetD8_v2", place, ctypes.c_ubyte(0x3C), ctypes.c_size_t(total))
        given = struct_of(place.value, place.value + room * (4 + 2 * count), size)
        for _ in range(4):
            code = library.sluice_backward_on(given, None)
            demand(code == 0, f"a call in context {number.value} answers {code}")
        call("cuCtxSynchronize")
        found = ctypes.create_string_buffer(192 * 2 * 64)
        first = ctypes.c_uint64(place.value + room * (4 + count))
        call("cuMemcpyDtoH_v2", found, first, ctypes.c_size_t(len(found)))
        return number.value, found.raw

    call("cuInit", 0)
    device, context = ctypes.c_int(), ctypes.c_void_p()
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    found = [bits()]
    call("cuDevicePrimaryCtxReset_v2", device)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    found.append(bits())
    for _ in range(3):
        call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
        found.append(bits())
        call("cuCtxDestroy_v2", context)
    numbers, texts = zip(*found)
    demand(len(set(texts)) == 1 and any(texts[0]), f"contexts {numbers} have other bits")
    return f"contexts {', '.join(map(str, numbers))} one after the other, the same bits"
