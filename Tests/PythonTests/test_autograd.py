"""The PyTorch operator: gradients where there are some, and a sentence where there are none."""

from __future__ import annotations

import importlib
import os
import threading
from types import ModuleType
from typing import Any, Dict, Tuple

import numpy as np
import pytest
from draw import Shape, draw
from packages import Request, build, command, import_package, load
from recurrences import relative_error

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(command() is None, reason="stand-ins have no gradient")

SHAPE = Shape(2, 21, 2, 4)


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """GLA with its gradient."""
    return import_package(build(Request("gla", backward=True)))


def _operator(package: ModuleType) -> Any:
    return importlib.import_module(f"{package.__name__}.autograd").forward


def _tensors(package: ModuleType, shape: Shape = SHAPE) -> Dict[str, Any]:
    return {name: torch.from_numpy(a) for name, a in draw(package, shape).items()}


def _backward_operator(package: ModuleType) -> Any:
    _operator(package)
    return getattr(torch.ops.sluice, f"{package.manifest['name']}_backward")


def test_gradients_are_the_packages(package: ModuleType) -> None:
    x = draw(package, SHAPE)
    tensors = {n: torch.from_numpy(a).requires_grad_() for n, a in x.items()}
    o, _ = _operator(package)(**tensors)
    d_o = torch.randn(o.shape)
    o.backward(d_o)
    every = package.states_every
    assert every is not None
    *_, states = package.forward(**x, snapshot_every=every)
    wanted = package.backward(**x, d_o=d_o.numpy(), states=states)
    for name, tensor in tensors.items():
        assert np.array_equal(tensor.grad.numpy(), wanted[name])
    again = package.backward(**x, d_o=d_o.numpy())
    for name, array in wanted.items():
        assert relative_error(again[name], array.astype(np.float64)) < 1e-5


def test_states_that_are_not_the_gradients(package: ModuleType, gla: ModuleType) -> None:
    x, d_o = draw(package, SHAPE), np.zeros((2, 21, 4, 12), np.float32)
    shape = r"\(2, 0, 2, 8, 12\), not \(2, 21, 2, 8, 12\)"
    with pytest.raises(ValueError, match=f"states must have shape {shape}"):
        package.backward(**x, d_o=d_o, states=np.zeros((2, 21, 2, 8, 12), np.float32))
    with pytest.raises(TypeError, match="states must be of type float32, not float64"):
        package.backward(**x, d_o=d_o, states=np.zeros((2, 0, 2, 8, 12)))
    other = import_package(build(Request("gla", backward=True, states="chunks")))
    assert other.states_every is None
    with pytest.raises(ValueError, match="takes no states: build the package with"):
        other.backward(**x, d_o=d_o, states=np.zeros((2, 0, 2, 8, 12), np.float32))


def test_only_the_final_state_is_differentiated(package: ModuleType) -> None:
    tensors = {n: t.requires_grad_() for n, t in _tensors(package, Shape(1, 70, 2, 2)).items()}
    _, state = _operator(package)(**tensors, output_final_state=True)
    state.sum().backward()
    assert torch.count_nonzero(tensors["q"].grad) == 0
    assert torch.count_nonzero(tensors["k"].grad) > 0


def test_the_operator_keeps_its_promises(package: ModuleType) -> None:
    """PyTorch's own check: schema, fake tensors, autograd registration, compilation."""
    _operator(package)
    operator = getattr(torch.ops.sluice, package.manifest["name"]).default
    tensors = [t.requires_grad_() for t in _tensors(package, Shape(2, 70, 2, 4)).values()]
    for keeps in (True, False):
        torch.library.opcheck(operator, (*tensors, 1.0, None, None, 0, keeps))


@pytest.mark.skipif(
    bool(os.environ.get("OMP_WAIT_POLICY") or os.environ.get("KMP_BLOCKTIME")),
    reason="the environment says how OpenMP's workers wait",
)
def test_workers_sleep_beside_pytorchs(package: ModuleType) -> None:
    library = package._kernel.library
    times = []

    def call(function: Any, tensors: Dict[str, Any]) -> None:
        function(**tensors)
        times.append(library.kmp_get_blocktime())

    # Each thread has workers of its own, which spin by default.
    for function, x in ((package.forward, draw), (_operator(package), _tensors)):
        thread = threading.Thread(target=call, args=(function, x(package, SHAPE)))
        thread.start()
        thread.join()
    assert times[0] > 0 and times[1] == 0


def test_tensors_are_shown_where_to_go(package: ModuleType) -> None:
    with pytest.raises(TypeError, match=r"not Tensor\. PyTorch's tensors go to \w+\.autograd"):
        package.forward(**_tensors(package))


def test_strides_of_any_kind(package: ModuleType) -> None:
    dense = _tensors(package)
    wanted, _ = _operator(package)(**dense)
    heads_first = {n: t.transpose(1, 2).contiguous().transpose(1, 2) for n, t in dense.items()}
    assert torch.equal(_operator(package)(**heads_first)[0], wanted)


def test_a_gradient_that_the_package_does_not_have(gla: ModuleType) -> None:
    tensors = _tensors(gla)
    forward = _operator(gla)
    wanted, _ = forward(**tensors)
    tensors["k"].requires_grad_()
    for function in (forward, gla.chunk_gla):
        with pytest.raises(ValueError, match="k asks for a gradient, and this package has none: build"):
            function(**tensors)
    with torch.no_grad():
        assert torch.equal(forward(**tensors)[0], wanted)
    with pytest.raises(RuntimeError, match="has no gradient: build the package with"):
        gla.backward(**draw(gla, SHAPE), d_o=np.zeros((2, 21, 4, 12), np.float32))


def _wrong(package: ModuleType) -> Dict[str, Tuple[type, str, Dict[str, Any]]]:
    state = torch.zeros(2, 2, 8, 12)
    return {
        "integers": (TypeError, "k must be of type torch.float32, not torch.int64", {
            "k": torch.zeros(2, 21, 2, 8, dtype=torch.int64)}),
        "doubles": (TypeError, "q must be of type torch.float32, not torch.float64", {
            "q": torch.zeros(2, 21, 4, 8, dtype=torch.float64)}),
        "an array": (TypeError, "v must be a torch.Tensor, not ndarray", {
            "v": np.zeros((2, 21, 2, 12), np.float32)}),
        "another device": (ValueError, "g must be on the CPU, and is on meta", {
            "g": torch.zeros(2, 21, 2, 8, device="meta")}),
        "a state elsewhere": (ValueError, "initial_state must be on the CPU", {
            "initial_state": state.to("meta")}),
        "a state of halves": (TypeError, "initial_state must be of type", {
            "initial_state": state.half()}),
        "offsets with a gradient": (TypeError, "cu_seqlens must be of type int32 or int64", {
            "cu_seqlens": torch.tensor([0.0, 21.0], requires_grad=True)}),
    }


CASES = [
    "integers", "doubles", "an array", "another device", "a state elsewhere", "a state of halves",
    "offsets with a gradient",
]


@pytest.mark.parametrize("case", CASES)
def test_wrong_tensors(package: ModuleType, case: str) -> None:
    kind, text, change = _wrong(package)[case]
    with pytest.raises(kind, match=text):
        _operator(package)(**{**_tensors(package), **change})


def test_an_integer_tensor_has_no_gradient_to_ask_for(package: ModuleType) -> None:
    """PyTorch refuses first; what is left for the operator is the integer tensor itself."""
    with pytest.raises(RuntimeError, match="floating point"):
        torch.zeros(2, 21, 2, 8, dtype=torch.int64).requires_grad_()


def test_saved_tensors_of_another_kernel(package: ModuleType) -> None:
    """The backward operator of one kernel on what a forward call of another one kept."""
    other = load("gla", 16, 12)
    tensors = list(_tensors(other).values())
    d_o, d_state = torch.zeros(2, 21, 4, 12), torch.zeros(2, 2, 8, 12)
    with pytest.raises(ValueError, match=r"q must have shape \(B, T, query heads, 8\), not"):
        _backward_operator(package)(d_o, d_state, *tensors, 1.0, None, None, 0, None)
    own = list(_tensors(package).values())
    with pytest.raises(ValueError, match=r"d_o must have shape \(2, 21, 4, 12\), not"):
        _backward_operator(package)(d_o[:, :-1], d_state, *own, 1.0, None, None, 0, None)
    with pytest.raises(ValueError, match=r"d_final_state must have shape \(2, 2, 8, 12\), not"):
        _backward_operator(package)(d_o, torch.zeros(2, 2, 16, 12), *own, 1.0, None, None, 0, None)


def test_a_workspace_that_is_too_small(package: ModuleType, monkeypatch: Any) -> None:
    kernel = package._kernel
    monkeypatch.setattr(kernel, "_sized", lambda entry, address: 64)
    x = draw(package, SHAPE)
    for call in (
        lambda: package.forward(**x),
        lambda: package.backward(**x, d_o=np.zeros((2, 21, 4, 12), np.float32)),
    ):
        with pytest.raises(RuntimeError, match="code 5: the workspace is too small"):
            call()
