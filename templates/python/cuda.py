"""The kernel of this package on PyTorch's CUDA tensors; ``forward`` of the package is this one.

    import gla

    o, final_state = gla.forward(q, k, v, g, output_final_state=True)

Inputs are [B, T, heads, size] (parameters [heads, size]) on one card, of the types that the package
was built for; ``help(gla.forward)`` lists them. The call puts the kernel on the current stream of
that card and returns; memory comes from PyTorch, so a call may be captured into a CUDA graph (after a
first one outside, which loads the kernel). This text is the same in every package for a card.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Optional, Tuple

import torch

from ._checks import check_scale
from ._library import kernel as _kernel
from ._tensors import TYPES as _TYPES

__all__ = ["forward"]

_NAMES = [entry.name for entry in _kernel.inputs]
_QUERY = next(entry.name for entry in _kernel.inputs if entry.role == "query")
_enter = _kernel.library[f"{_kernel.name}_forward_on"]
_enter.argtypes, _enter.restype = [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_int32
_message = _kernel.library[f"{_kernel.name}_message"]
_message.argtypes, _message.restype = [ctypes.c_int32], ctypes.c_char_p
_workspace_size = _kernel.library[f"{_kernel.name}_workspace_size"]
_workspace_size.argtypes, _workspace_size.restype = [ctypes.c_void_p], ctypes.c_int64


def _checked(name: str, tensor: Any, element: str, device: torch.device) -> torch.Tensor:
    """The tensor, dense and where copies of sixteen bytes may begin."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor on a card, not {type(tensor).__name__}.")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, and {_QUERY} on {device}.")
    if tensor.dtype != _TYPES[element]:
        raise TypeError(f"{name} must be of type {_TYPES[element]}, not {tensor.dtype}.")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} requires a gradient, and this kernel has none: call it under torch.no_grad()."
        )
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _check_shape(name: str, tensor: torch.Tensor, wanted: Tuple[int, ...]) -> None:
    if tuple(tensor.shape) != wanted:
        raise ValueError(f"{name} must have shape {wanted}, not {tuple(tensor.shape)}.")


def _bound(args: Tuple[Any, ...], named: Dict[str, Any]) -> Dict[str, Any]:
    given = dict(zip(_NAMES, args))
    missing = [name for name in _NAMES if name not in given and name not in named]
    surplus = [name for name in named if name in given or name not in _NAMES]
    if missing or surplus or len(args) > len(_NAMES):
        problem = (
            f"{missing[0]} is missing" if missing
            else f"{surplus[0]} is unknown, or given twice" if surplus
            else f"{len(args)} tensors were given"
        )
        raise TypeError(f"forward({', '.join(_NAMES)}, *, scale, ...): {problem}.")
    given.update(named)
    return given


@torch.compiler.disable
def forward(
    *args: torch.Tensor,
    scale: Optional[float] = None,
    initial_state: Optional[torch.Tensor] = None,
    output_final_state: bool = False,
    cu_seqlens: Optional[torch.Tensor] = None,
    **named: torch.Tensor,
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    given = _bound(args, named)
    if not isinstance(given[_QUERY], torch.Tensor) or given[_QUERY].device.type != "cuda":
        where = getattr(given[_QUERY], "device", type(given[_QUERY]).__name__)
        raise ValueError(f"{_QUERY} must be a torch.Tensor on a card; it is on {where}.")
    device = given[_QUERY].device
    tensors = {
        entry.name: _checked(entry.name, given[entry.name], entry.element, device)
        for entry in _kernel.inputs
    }
    query = tensors[_QUERY]
    if query.dim() != 4:
        raise ValueError(f"{_QUERY} must have four axes, [B, T, heads, size], not {query.dim()}.")
    batch, length, query_heads = query.shape[:3]
    heads = query_heads
    for entry in _kernel.inputs:
        tensor = tensors[entry.name]
        if entry.role not in ("query", "parameter") and tensor.dim() > 2:
            heads = tensor.shape[2]
            break
    if heads == 0 or query_heads % heads:
        raise ValueError(
            f"{_QUERY}'s heads must be a multiple of the others', and they are {query_heads} and {heads}."
        )
    for entry in _kernel.inputs:
        own = query_heads if entry.role == "query" else heads
        leading = (own,) if entry.role == "parameter" else (batch, length, own)
        _check_shape(entry.name, tensors[entry.name], (*leading, *entry.row))
    rows = batch
    if cu_seqlens is not None:
        if batch != 1 or cu_seqlens.dim() != 1 or cu_seqlens.numel() < 2:
            raise ValueError("cu_seqlens must have shape (N + 1,), and goes with B = 1.")
        cu_seqlens = cu_seqlens.to(device=device, dtype=torch.int64).contiguous()
        rows = cu_seqlens.numel() - 1
    state_shape = (rows, heads, _kernel.key, _kernel.state_columns)
    if initial_state is not None:
        initial_state = _checked("initial_state", initial_state, "f32", device)
        _check_shape("initial_state", initial_state, state_shape)
    o = torch.empty((batch, length, query_heads, _kernel.value), dtype=query.dtype, device=device)
    final = None
    if output_final_state:
        final = torch.empty(state_shape, dtype=torch.float32, device=device)
    arguments = _kernel.Arguments(
        abi=1,
        size=ctypes.sizeof(_kernel.Arguments),
        batch=batch,
        length=length,
        query_heads=query_heads,
        heads=heads,
        sequences=0 if cu_seqlens is None else rows,
        cu_seqlens=None if cu_seqlens is None else cu_seqlens.data_ptr(),
        scale=check_scale(scale, _kernel.default_scale),
        initial_state=None if initial_state is None else initial_state.data_ptr(),
        final_state=None if final is None else final.data_ptr(),
        o=o.data_ptr(),
    )
    for name in _NAMES:
        setattr(arguments, f"input_{name}", tensors[name].data_ptr())
    address = ctypes.addressof(arguments)
    size = _workspace_size(address)
    if size > 0:
        workspace = torch.empty(size, dtype=torch.uint8, device=device)
        arguments.workspace, arguments.workspace_size = workspace.data_ptr(), size
    # The driver's calls are for the current card, which may be another one.
    if torch.cuda.current_device() == device.index:
        code = _enter(address, torch.cuda.current_stream(device).cuda_stream) if size >= 0 else -size
    else:
        with torch.cuda.device(device):
            code = _enter(address, torch.cuda.current_stream().cuda_stream) if size >= 0 else -size
    if code:
        raise RuntimeError(f"{_kernel.name}: {_message(code).decode()}")
    return o, final


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
