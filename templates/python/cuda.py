"""The kernel of this package on PyTorch's CUDA tensors; ``forward`` of the package is this one.

    import gla

    o, final_state = gla.forward(q, k, v, g, output_final_state=True)
    o.sum().backward()          # where the package was built with its gradient
    o = gla.step(q, k, v, g, state)

Inputs are [B, T, heads, size] (parameters [heads, size]) on one card, of the types that the package
was built for; ``help(gla.forward)`` lists them. A call puts kernels on the current stream of that card
and returns; memory comes from PyTorch, so it may be captured into a CUDA graph (after a first one
outside, which loads the kernels). Under ``torch.compile`` it goes through the operator of
``autograd.py``. This text is the same in every package for a card.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

import torch

from ._checks import check_scale
from ._library import kernel as _kernel
from ._tensors import TYPES as _TYPES

__all__ = ["backward", "forward", "step"]

_DEVICE = "cuda"
_NAMES = [entry.name for entry in _kernel.inputs]
_TYPES_OF_INPUTS = [_TYPES[entry.element] for entry in _kernel.inputs]
_QUERY = next(i for i, entry in enumerate(_kernel.inputs) if entry.role == "query")
_message = _kernel.library[f"{_kernel.name}_message"]
_NO_CONTEXT = 19  # the header has the codes
_message.argtypes, _message.restype = [ctypes.c_int32], ctypes.c_char_p

# What compiled PyTorch calls too; what torch.cuda has makes objects, for ten times the time.
_current_device = getattr(torch._C, "_cuda_getDevice", torch.cuda.current_device)
_stream = getattr(
    torch._C, "_cuda_getCurrentRawStream", lambda index: torch.cuda.current_stream(index).cuda_stream
)
# torch.empty goes through PyTorch's dispatcher, for three times the time; this one is for the current card.
_empty_here = getattr(
    getattr(getattr(torch._C, "_dynamo", None), "guards", None), "_empty_strided_cuda", None
)


class _Dense(NamedTuple):
    """A dense tensor to be."""

    shape: Tuple[int, ...]
    strides: Tuple[int, ...]
    dtype: torch.dtype

    def on(self, device: torch.device) -> torch.Tensor:
        """The tensor, of whatever lies in its memory."""
        if _empty_here is not None and _current_device() == device.index:
            return _empty_here(*self)
        return torch.empty(self.shape, dtype=self.dtype, device=device)


def _dense(shape: Sequence[int], dtype: torch.dtype) -> _Dense:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return _Dense(tuple(shape), tuple(reversed(strides)), dtype)


class _Plan(NamedTuple):
    """What the shapes of a call imply, found once for all calls of these shapes on a card."""

    # batch, length, query heads, heads, sequences: as the argument struct has them.
    sizes: Tuple[int, ...]
    output: _Dense
    state: _Dense
    # As the inputs are.
    adjoints: Tuple[_Dense, ...]
    # By entry, found at its first call; None where it needs none.
    workspaces: Dict[str, Optional[_Dense]]


@functools.lru_cache(maxsize=1024)
def _plan_of(device: torch.device, sequences: int, *shapes: torch.Size) -> _Plan:
    """The plan of inputs of these shapes, of so many packed sequences (0: none are packed)."""
    query = shapes[_QUERY]
    if device.type != _DEVICE:
        raise ValueError(f"{_NAMES[_QUERY]} must be a torch.Tensor on a card; it is on {device}.")
    if len(query) != 4:
        raise ValueError(
            f"{_NAMES[_QUERY]} must have four axes, [B, T, heads, size], not {len(query)}."
        )
    batch, length, query_heads = query[:3]
    heads = query_heads
    for entry, shape in zip(_kernel.inputs, shapes):
        if entry.role not in ("query", "parameter") and len(shape) > 2:
            heads = shape[2]
            break
    if heads == 0 or query_heads % heads:
        raise ValueError(
            f"{_NAMES[_QUERY]}'s heads must be a multiple of the others', and they are {query_heads} "
            f"and {heads}."
        )
    for entry, shape in zip(_kernel.inputs, shapes):
        own = query_heads if entry.role == "query" else heads
        leading = (own,) if entry.role == "parameter" else (batch, length, own)
        _check_shape(entry.name, shape, (*leading, *entry.row))
    if sequences and batch != 1:
        raise ValueError(f"cu_seqlens goes with B = 1, not {batch}.")
    return _Plan(
        (batch, length, query_heads, heads, sequences),
        _dense((batch, length, query_heads, _kernel.value), _TYPES_OF_INPUTS[_QUERY]),
        _dense((sequences or batch, heads, _kernel.key, _kernel.state_columns), torch.float32),
        tuple(map(_dense, shapes, _TYPES_OF_INPUTS)),
        {},
    )


class _Entry:
    """An entry of the library on a stream, with a workspace of PyTorch's."""

    def __init__(self, name: str, workspace: str, arguments: Any) -> None:
        self._name = name
        self._enter = _kernel.library[f"{_kernel.name}_{name}_on"]
        self._enter.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._enter.restype = ctypes.c_int32
        self._workspace_size = _kernel.library[f"{_kernel.name}_{workspace}"]
        self._workspace_size.argtypes = [ctypes.c_char_p]
        self._workspace_size.restype = ctypes.c_int64
        # The argument struct as one string of bytes: a struct of ctypes takes as long as the rest of
        # a call to make and to fill.
        letters = {
            ctypes.c_uint32: "I", ctypes.c_int32: "i", ctypes.c_float: "f", ctypes.c_int64: "q",
            ctypes.c_uint64: "Q", ctypes.c_void_p: "Q",
        }
        fields = arguments._fields_
        self._pack = struct.Struct("@" + "".join(letters[kind] for _, kind in fields)).pack
        self._size = ctypes.sizeof(arguments)

    def __call__(
        self, device: torch.device, plan: _Plan, scale: float, offsets: Any, pointers: Sequence[int]
    ) -> None:
        cu_seqlens = 0 if offsets is None else offsets.data_ptr()
        try:
            workspace = plan.workspaces[self._name]
        except KeyError:
            size = self._workspace_size(self._packed(plan, scale, cu_seqlens, 0, 0, pointers))
            if size < 0:
                self._fail(-size)
            workspace = _dense((size,), torch.uint8) if size else None
            plan.workspaces[self._name] = workspace
        if workspace is None:
            given = self._packed(plan, scale, cu_seqlens, 0, 0, pointers)
        else:
            memory = workspace.on(device)
            given = self._packed(
                plan, scale, cu_seqlens, memory.data_ptr(), workspace.shape[0], pointers
            )
        code = self._run(given, device)
        if code == _NO_CONTEXT:
            # A thread of PyTorch's own, as those of autograd, has none before its first kernel.
            torch.zeros(1, device=device)
            code = self._run(given, device)
        if code:
            self._fail(code)

    def _packed(
        self, plan: _Plan, scale: float, cu_seqlens: int, workspace: int, size: int,
        pointers: Sequence[int],
    ) -> bytes:
        return self._pack(
            1, self._size, *plan.sizes, cu_seqlens, 0, 0, scale, 0, workspace, size, *pointers
        )

    def _run(self, given: bytes, device: torch.device) -> int:
        # The driver's calls are for the current card, which may be another one.
        if _current_device() == device.index:
            return self._enter(given, _stream(device.index))
        with torch.cuda.device(device):
            return self._enter(given, _stream(device.index))

    def _fail(self, code: int) -> NoReturn:
        raise RuntimeError(f"{_kernel.name}: {_message(code).decode()}")


_enter_forward = _Entry("forward", "workspace_size", _kernel.Arguments)
_enter_backward = _enter_step = None
if _kernel.has_gradient:
    _enter_backward = _Entry("backward", "backward_workspace_size", _kernel.GradientArguments)
if _kernel.has_step:
    _enter_step = _Entry("step", "step_workspace_size", _kernel.Arguments)


def _ready(
    name: str, tensor: Any, dtype: torch.dtype, device: torch.device
) -> Tuple[torch.Tensor, int]:
    """The tensor, dense and where copies of sixteen bytes may begin, and where that is."""
    if (
        isinstance(tensor, torch.Tensor) and tensor.dtype is dtype and tensor.device == device
        and tensor.is_contiguous()
    ):
        pointer = tensor.data_ptr()
        if pointer % 16 == 0:
            return tensor, pointer
    tensor = _checked(name, tensor, dtype, device)
    return tensor, tensor.data_ptr()


def _checked(name: str, tensor: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The same of one that may have to be copied, or refused."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor on a card, not {type(tensor).__name__}.")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, and {_NAMES[_QUERY]} on {device}.")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be of type {dtype}, not {tensor.dtype}.")
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _check_shape(name: str, shape: torch.Size, wanted: Tuple[int, ...]) -> None:
    if shape != wanted:
        raise ValueError(f"{name} must have shape {wanted}, not {tuple(shape)}.")


def _bound(entry: str, args: Tuple[Any, ...], named: Dict[str, Any]) -> Sequence[Any]:
    """The inputs in their order."""
    if len(args) == len(_NAMES) and not named:
        return args
    given = dict(zip(_NAMES, args))
    missing = [name for name in _NAMES if name not in given and name not in named]
    surplus = [name for name in named if name in given or name not in _NAMES]
    if missing or surplus or len(args) > len(_NAMES):
        problem = (
            f"{missing[0]} is missing" if missing
            else f"{surplus[0]} is unknown, or given twice" if surplus
            else f"{len(args)} tensors were given"
        )
        raise TypeError(f"{entry}({', '.join(_NAMES)}, ...): {problem}.")
    given.update(named)
    return [given[name] for name in _NAMES]


class _Call:
    """The checked tensors of a call, and what follows from their shapes."""

    __slots__ = ("device", "tensors", "pointers", "plan", "scale", "offsets", "initial")

    def __init__(
        self, inputs: Sequence[Any], scale: Any, initial_state: Any, cu_seqlens: Any
    ) -> None:
        query = inputs[_QUERY]
        if not isinstance(query, torch.Tensor):
            raise TypeError(
                f"{_NAMES[_QUERY]} must be a torch.Tensor on a card, not {type(query).__name__}."
            )
        device = self.device = query.device
        tensors, pointers, shapes = [], [], []
        for tensor, dtype, name in zip(inputs, _TYPES_OF_INPUTS, _NAMES):
            tensor, pointer = _ready(name, tensor, dtype, device)
            tensors.append(tensor)
            pointers.append(pointer)
            shapes.append(tensor.shape)
        self.tensors, self.pointers = tensors, pointers
        sequences, self.offsets = 0, None
        if cu_seqlens is not None:
            if cu_seqlens.dim() != 1 or cu_seqlens.numel() < 2:
                raise ValueError("cu_seqlens must have shape (N + 1,), and goes with B = 1.")
            self.offsets = cu_seqlens.to(device=device, dtype=torch.int64).contiguous()
            sequences = self.offsets.numel() - 1
        self.plan = _plan_of(device, sequences, *shapes)
        self.scale = check_scale(scale, _kernel.default_scale)
        self.initial = self.state("initial_state", initial_state)

    def state(self, name: str, tensor: Any) -> Optional[torch.Tensor]:
        if tensor is None:
            return None
        tensor, _ = _ready(name, tensor, torch.float32, self.device)
        _check_shape(name, tensor.shape, self.plan.state.shape)
        return tensor

    def run(self, entry: _Entry, *ends: Optional[torch.Tensor], adjoints: Sequence[Any] = ()) -> None:
        """Puts the entry's kernels on the stream: `ends` are the struct's tensors before the inputs."""
        given = [0 if tensor is None else tensor.data_ptr() for tensor in ends]
        given += self.pointers
        given += [tensor.data_ptr() for tensor in adjoints]
        entry(self.device, self.plan, self.scale, self.offsets, given)


def run_forward(
    inputs: Sequence[Any], scale: Any, initial_state: Any, cu_seqlens: Any, wants_state: bool
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    """o and the final state, without a gradient."""
    call = _Call(inputs, scale, initial_state, cu_seqlens)
    o = call.plan.output.on(call.device)
    final = call.plan.state.on(call.device) if wants_state else None
    call.run(_enter_forward, call.initial, final, o)
    return o, final


def run_backward(
    d_o: Any, d_final_state: Any, inputs: Sequence[Any], scale: Any, initial_state: Any,
    cu_seqlens: Any,
) -> List[torch.Tensor]:
    """The adjoints of the inputs in their order, and that of the initial state."""
    if _enter_backward is None:
        raise RuntimeError(
            f"{_kernel.name} has no gradient: build the package with 'sluice build ... --backward', "
            "or call it under torch.no_grad()."
        )
    call = _Call(inputs, scale, initial_state, cu_seqlens)
    d_o, _ = _ready("d_o", d_o, _TYPES_OF_INPUTS[_QUERY], call.device)
    _check_shape("d_o", d_o.shape, call.plan.output.shape)
    d_final = call.state("d_final_state", d_final_state)
    d_initial = call.plan.state.on(call.device)
    adjoints = [adjoint.on(call.device) for adjoint in call.plan.adjoints]
    call.run(_enter_backward, call.initial, d_final, d_initial, d_o, adjoints=adjoints)
    return [*adjoints, d_initial]


class _Differentiable(torch.autograd.Function):
    """What the operator does, for a fraction of its dispatch."""

    @staticmethod
    def forward(ctx: Any, scale: Any, offsets: Any, wants_state: bool, state: Any, *inputs: Any) -> Any:
        ctx.scale, ctx.offsets, ctx.has_state = scale, offsets, state is not None
        ctx.save_for_backward(*inputs, *([] if state is None else [state]))
        ctx.set_materialize_grads(False)
        return run_forward(inputs, scale, state, offsets, wants_state)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_o: Any, d_final_state: Any) -> Any:
        tensors = ctx.saved_tensors
        inputs, state = tensors[: len(_NAMES)], tensors[-1] if ctx.has_state else None
        if d_o is None:
            call = _Call(inputs, ctx.scale, state, ctx.offsets)
            d_o = call.plan.output.on(call.device).zero_()
        *adjoints, d_state = run_backward(
            d_o, d_final_state, inputs, ctx.scale, state, ctx.offsets
        )
        return None, None, None, d_state if ctx.has_state else None, *adjoints


def forward(
    *args: torch.Tensor,
    scale: Optional[float] = None,
    initial_state: Optional[torch.Tensor] = None,
    output_final_state: bool = False,
    cu_seqlens: Optional[torch.Tensor] = None,
    **named: torch.Tensor,
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    inputs = _bound("forward", args, named)
    wants_gradient = False
    if torch.is_grad_enabled():
        for tensor in (*inputs, initial_state):
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                wants_gradient = True
    if wants_gradient and not _kernel.has_gradient:
        raise ValueError(
            "An input requires a gradient, and this kernel has none: build the package with "
            "'sluice build ... --backward', or call it under torch.no_grad()."
        )
    if torch.compiler.is_compiling():
        scale = check_scale(scale, _kernel.default_scale)
        o, final = _operator(*inputs, scale, initial_state, cu_seqlens, 0)
        return o, final if output_final_state else None
    if wants_gradient:
        return _Differentiable.apply(
            scale, cu_seqlens, output_final_state, initial_state, *inputs
        )
    return run_forward(inputs, scale, initial_state, cu_seqlens, output_final_state)


def backward(
    *args: torch.Tensor,
    d_o: torch.Tensor,
    d_final_state: Optional[torch.Tensor] = None,
    scale: Optional[float] = None,
    initial_state: Optional[torch.Tensor] = None,
    cu_seqlens: Optional[torch.Tensor] = None,
    **named: torch.Tensor,
) -> Dict[str, torch.Tensor]:
    """Computes the adjoints of a forward call's inputs from those of its results.

    Args:
        *args, **named: the inputs of ``forward``, in its order or by name.
        d_o: adjoint of o, of its shape and type.
        d_final_state: adjoint of the final state, of its shape, float32; None is zero.
        scale, initial_state, cu_seqlens: as in the forward call.

    Returns:
        The adjoints by input, each of its input's shape and type; and under ``initial_state`` that of
        the state before the first token, float32. A log decay of -inf has the adjoint 0.
    """
    inputs = _bound("backward", args, named)
    adjoints = run_backward(d_o, d_final_state, inputs, scale, initial_state, cu_seqlens)
    return dict(zip([*_NAMES, "initial_state"], adjoints))


def step(*args: torch.Tensor, scale: Optional[float] = None) -> torch.Tensor:
    """One token of every sequence: o, [B, 1, query heads, V]; the states are moved in place.

    Args:
        *args: the inputs of ``forward`` in its order, with T = 1, and last the states,
            [B, heads, K, V] float32 and dense, before the token; after the call those after it.
        scale: as in the forward call.
    """
    if _enter_step is None:
        raise RuntimeError(f"{_kernel.name} has no step: build the package without --no-step.")
    if len(args) != len(_NAMES) + 1:
        raise TypeError(f"step({', '.join(_NAMES)}, state): {len(args)} tensors were given.")
    if torch.compiler.is_compiling():
        return _step_operator(*args, check_scale(scale, _kernel.default_scale))
    return _run_step(*args, scale)


def _run_step(*args: Any) -> torch.Tensor:
    *inputs, state, scale = args
    call = _Call(inputs, scale, None, None)
    if call.state("state", state) is not state:
        raise ValueError("The state must be dense and begin at sixteen bytes: it is moved in place.")
    o = call.plan.output.on(call.device)
    call.run(_enter_step, None, state, o)
    return o


# What torch.compile sees of a step. (torch.compiler.disable would load all of the compiler, which takes
# seconds, with every package.)
_step_operator = torch.library.custom_op(
    f"sluice::{_kernel.name}_step",
    _run_step,
    mutates_args=("state",),
    device_types="cuda",
    schema=f"({', '.join(f'Tensor {name}' for name in _NAMES)}, Tensor(a!) state, float scale) -> Tensor",
)


@_step_operator.register_fake
def _(*args: Any) -> torch.Tensor:
    query = args[_QUERY]
    return query.new_empty((*query.shape[:3], _kernel.value))


_ROWS = "\n".join(
    f"    {entry.name}: [{', '.join([*entry.leading, *map(str, entry.row)])}] {_TYPES[entry.element]}: "
    f"{entry.summary}."
    for entry in _kernel.inputs
)
forward.__doc__ = f"""Computes {_kernel.summary} on a CUDA card.

Args:
{_ROWS}
    scale: factor on the output; None is {_kernel.default_scale:.6g}.
    initial_state: [B or N, heads, {_kernel.key}, {_kernel.state_columns}] float32; None is zero.
    output_final_state: whether to return the state after the last token.
    cu_seqlens: [N + 1] where each of N sequences packed along T with B = 1 begins, and where the last
        one ends. Its values lie on the card and are not looked at: they must rise from 0 to T.

Returns:
    o, [B, T, query heads, {_kernel.value}], and the final state or None.
"""

from .autograd import _operator  # noqa: E402  (which runs what stands above)
