"""How the kernels of a call go to the driver, without a card: driver.c stands in for it, runs no kernel,
and says what was launched. A gradient in segments has two kernels a query head of a head.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from driver import build, load_driver
from packages import Request

GRADIENT = Request(
    "linear-attention", 40, 72, "bf16", backward=True, target="sm_90a", states="segments:2"
)
WHOLE = Request("linear-attention", 40, 72, "bf16", backward=True, target="sm_90a", states="chunks")
MOST_GRAPHS = 64


def given(place: int = 0, query_heads: int = 2, heads: int = 2) -> bytes:
    """The argument struct of docs/gradients.md with addresses that nothing reads, others for each place."""
    tensors = [4096 * (n + 1 + 100 * place) for n in range(7)]
    fields = (1, 168, 2, 300, query_heads, heads, 0, 0, 0, 0, 0.5, 0, 4096, 1 << 40, 0, 0, 0, *tensors)
    return struct.pack("@IIqqqqqQiifIQQQQQQQQQQQQ", *fields)


class Seen:
    """Launches since the last look: how each went (`alone` or a graph's number), its stream, and the
    kernel with its blocks and parameters."""

    def __init__(self, driver: Any) -> None:
        lines = [line.split(" ", 2) for line in driver.driver_seen().decode().splitlines()]
        self.ways = [line[0] for line in lines]
        self.kernels = [line[2] for line in lines]
        self.by_stream: Dict[int, List[str]] = {}
        for line in lines:
            self.by_stream.setdefault(int(line[1]), []).append(line[2])

    @property
    def are_alone(self) -> bool:
        return set(self.ways) == {"alone"}

    @property
    def is_graph(self) -> bool:
        return len(set(self.ways)) == 1 and self.ways[0].isdigit()


Enter = Callable[..., int]


def entry_of(request: Request, folder: Path) -> Tuple[Enter, Any]:
    """The gradient's entry of a fresh copy of the library, and the driver."""
    driver = load_driver()
    path = shutil.copy(next(build(request).glob("*.so")), folder / "copy.so")
    library = ctypes.CDLL(str(path))
    library.sluice_backward_on.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    driver.driver_seen()
    return library.sluice_backward_on, driver


@pytest.fixture
def entry(tmp_path: Path) -> Tuple[Enter, Any]:
    return entry_of(GRADIENT, tmp_path)


def expected(driver: Any, enter: Enter, *arguments: bytes) -> List[List[str]]:
    """The kernels of calls whose stream is captured, which go one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIVER_CAPTURED", "1")
        found = []
        for argument in arguments:
            assert enter(argument, 7) == 0
            seen = Seen(driver)
            assert seen.are_alone
            found.append(seen.kernels)
    return found


@pytest.mark.parametrize("query_heads", [2, 6])
def test_a_call_is_a_graph(entry: Tuple[Enter, Any], query_heads: int) -> None:
    """From a stream's second call on; of more query heads than heads it is one for each of a head's."""
    enter, driver = entry
    calls = [given(place, query_heads) for place in range(4)]
    right = expected(driver, enter, *calls)
    assert len({kernel for call in right for kernel in call}) == 4 * query_heads
    for number, call in enumerate(calls):
        assert enter(call, 0) == 0
        seen = Seen(driver)
        assert seen.kernels == right[number]
        assert seen.is_graph if number else seen.ways[0] == "alone"


def test_one_kernel_is_no_graph(tmp_path: Path) -> None:
    """The card takes longer for it than for the kernel."""
    enter, driver = entry_of(WHOLE, tmp_path)
    for number in range(3):
        assert enter(given(number), 0) == 0
        seen = Seen(driver)
        assert len(seen.kernels) == 1 and seen.are_alone


@pytest.mark.parametrize("name, value", [("CAPTURED", 1), ("PART", 1), ("CURRENT", 2), ("INSTANTIATE", 2)])
def test_where_a_graph_will_not_do(
    entry: Tuple[Enter, Any], name: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured streams, those of a part of the card or of another context, graphs that cannot be made."""
    enter, driver = entry
    (right,) = expected(driver, enter, given())
    monkeypatch.setenv(f"DRIVER_{name}", str(value))
    for _ in range(4):
        assert enter(given(), 0) == 0
        seen = Seen(driver)
        assert seen.are_alone and seen.kernels == right


def test_a_graph_is_left_alone_by_captures_and_contexts(
    entry: Tuple[Enter, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, driver = entry
    for _ in range(3):
        assert enter(given(), 0) == 0
    assert Seen(driver).ways[-1].isdigit()
    for name, value in (("CAPTURED", "1"), ("CURRENT", "2")):
        with monkeypatch.context() as patch:
            patch.setenv(f"DRIVER_{name}", value)
            assert enter(given(), 0) == 0
            assert Seen(driver).are_alone
        assert enter(given(), 0) == 0
        assert Seen(driver).is_graph


@pytest.mark.parametrize("name", ["SET", "GRAPH"])
def test_a_graph_that_fails(
    entry: Tuple[Enter, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernels go one by one, and what is wrong with these is said; the next call is a graph again."""
    enter, driver = entry
    (right,) = expected(driver, enter, given())
    for _ in range(2):
        assert enter(given(), 0) == 0
    Seen(driver)
    monkeypatch.setenv(f"DRIVER_{name}", "2")
    assert enter(given(), 0) == 0
    seen = Seen(driver)
    assert seen.are_alone and seen.kernels == right
    for code, told in ((2, 20), (700, 21)):
        monkeypatch.setenv("DRIVER_LAUNCH", str(code))
        assert enter(given(), 0) == told
        assert not Seen(driver).ways
    monkeypatch.delenv("DRIVER_LAUNCH")
    monkeypatch.delenv(f"DRIVER_{name}")
    assert enter(given(), 0) == 0
    seen = Seen(driver)
    assert seen.is_graph and seen.kernels == right


@pytest.mark.parametrize("is_shared", [False, True])
def test_threads(
    entry: Tuple[Enter, Any], is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at once, on a stream each or on one of all: every call has its own parameters, and no two
    threads a graph."""
    enter, driver = entry
    count, calls = 8, 25
    right = expected(driver, enter, *[given(place) for place in range(count)])
    monkeypatch.setenv("DRIVER_DELAY", "200")
    codes: List[int] = []

    def work(place: int) -> None:
        codes.extend(enter(given(place), 0 if is_shared else place + 1) for _ in range(calls))

    workers = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert codes == [0] * count * calls
    text = driver.driver_seen().decode()
    assert "two" not in text.replace("linear", "")
    lines = [line.split(" ", 2) for line in text.splitlines()]
    assert any(line[0] != "alone" for line in lines)
    for place in range(count):
        own = [kernel for way, stream, kernel in lines if kernel in right[place]]
        assert own == right[place] * calls
        if not is_shared:
            assert all(stream == str(place + 1) for _, stream, kernel in lines if kernel in right[place])


def test_streams_without_end(entry: Tuple[Enter, Any]) -> None:
    """Graphs are as many as there is room for; further streams do without, the first ones keep theirs."""
    enter, driver = entry
    (right,) = expected(driver, enter, given())
    graphs = set()
    for stream in range(1, 3 * MOST_GRAPHS):
        for _ in range(3):
            assert enter(given(), stream) == 0
        seen = Seen(driver)
        assert seen.kernels == right * 3
        graphs |= set(seen.ways) - {"alone"}
    assert len(graphs) == MOST_GRAPHS
    assert enter(given(), 1) == 0
    assert Seen(driver).is_graph


def test_a_wrong_size_launches_nothing(entry: Tuple[Enter, Any]) -> None:
    enter, driver = entry
    assert enter(given(heads=0), 0) == 3
    assert not Seen(driver).ways


def test_one_call_a_stream(entry: Tuple[Enter, Any]) -> None:
    """Streams of one call each make no graphs."""
    enter, driver = entry
    for stream in range(1, 20):
        assert enter(given(), stream) == 0
    assert Seen(driver).are_alone


def test_a_driver_without_graphs(tmp_path: Path) -> None:
    """In a process of its own, which has such a one."""
    path = shutil.copy(next(build(GRADIENT).glob("*.so")), tmp_path / "copy.so")
    load_driver()
    program = (
        "import ctypes, sys\n"
        "from driver import load_driver\n"
        "driver = load_driver('-DNO_GRAPHS')\n"
        "library = ctypes.CDLL(sys.argv[1])\n"
        "codes = [library.sluice_backward(bytes.fromhex(sys.argv[2])) for _ in range(4)]\n"
        "print(codes, {line.split()[0] for line in driver.driver_seen().decode().splitlines()})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), given().hex()],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )
    assert done.stdout == "[0, 0, 0, 0] {'alone'}\n"
