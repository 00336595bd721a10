"""What calls on a card's tensors take from PyTorch: memory, the card and stream that are current, and a
guard that knows tensors alike; and what follows from the tensors' shapes.

PyTorch has these in C for its own compiler's calls. Where a version has not, its public ones serve, for
more of the processor's time. This text is the same in every package for a card.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch

from ._library import kernel as _kernel
from ._tensors import TYPES as _TYPES

DEVICE = "cuda"
NAMES = [entry.name for entry in _kernel.inputs]
TYPES_OF_INPUTS = [_TYPES[entry.element] for entry in _kernel.inputs]
QUERY = next(i for i, entry in enumerate(_kernel.inputs) if entry.role == "query")

# What torch.cuda has makes objects, for ten times the time.
current_device = getattr(torch._C, "_cuda_getDevice", torch.cuda.current_device)
stream_of = getattr(
    torch._C, "_cuda_getCurrentRawStream", lambda index: torch.cuda.current_stream(index).cuda_stream
)
_guards = getattr(getattr(torch._C, "_dynamo", None), "guards", None)
# torch.empty goes through PyTorch's dispatcher, for three times the time; this one is for the current card.
empty_here = getattr(_guards, "_empty_strided_cuda", None)
_Guards = getattr(_guards, "TensorGuards", None)
# PyTorch's memory without a tensor around it, in the order of a stream as a tensor's own.
allocate = getattr(
    torch._C, "_cuda_cudaCachingAllocator_raw_alloc",
    lambda size, stream: torch.cuda.caching_allocator_alloc(size, stream=stream),
)
free = getattr(
    torch._C, "_cuda_cudaCachingAllocator_raw_delete", torch.cuda.caching_allocator_delete
)


def _guard_of(tensors: Sequence[torch.Tensor]) -> Callable[..., bool]:
    return _Guards(
        *tensors,
        dynamic_dims_sizes=[list(tensor.shape) for tensor in tensors],
        dynamic_dims_strides=[list(tensor.stride()) for tensor in tensors],
    ).check


def _guards_tell() -> bool:
    """Whether this version's guards tell apart what calls must."""
    if _Guards is None or empty_here is None:
        return False
    one = torch.zeros(2, 3, dtype=torch.float32, device="cpu")
    others = (
        one[:, :2], one[:1], one.t().contiguous().t(), one.double(), one.to("meta"),
        one.clone().requires_grad_(), torch.nn.Parameter(one, requires_grad=False), None,
    )
    try:
        check = _guard_of([one, one])
        return check(one, one.clone()) is True and not any(check(one, other) for other in others)
    except (TypeError, RuntimeError, SystemError):
        return False


_has_guards = _guards_tell()


def guard_of(tensors: Sequence[torch.Tensor]) -> Optional[Callable[..., bool]]:
    """Whether so many tensors are as these: of their types, devices, shapes, strides, and whether each
    requires a gradient. None where this PyTorch cannot tell."""
    return _guard_of(tensors) if _has_guards else None


class Dense(NamedTuple):
    """A dense tensor to be."""

    shape: Tuple[int, ...]
    strides: Tuple[int, ...]
    dtype: torch.dtype

    @property
    def words(self) -> Tuple[Any, ...]:
        """What `empty_here` is called with; of this type itself Python would make a copy first."""
        return tuple(self)

    def on(self, device: torch.device) -> torch.Tensor:
        """The tensor, of whatever lies in its memory."""
        if empty_here is not None and current_device() == device.index:
            return empty_here(*self)
        return torch.empty(self.shape, dtype=self.dtype, device=device)


def dense(shape: Sequence[int], dtype: torch.dtype) -> Dense:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return Dense(tuple(shape), tuple(reversed(strides)), dtype)


class Plan(NamedTuple):
    """What the shapes of a call imply, found once for all calls of these shapes on a card."""

    # batch, length, query heads, heads, sequences: as the argument struct has them.
    sizes: Tuple[int, ...]
    output: Dense
    state: Dense
    # As the inputs are.
    adjoints: Tuple[Dense, ...]
    # By entry, found at its first call: bytes.
    workspaces: Dict[str, int]


@functools.lru_cache(maxsize=1024)
def plan_of(device: torch.device, sequences: int, *shapes: torch.Size) -> Plan:
    """The plan of inputs of these shapes, of so many packed sequences (0: none are packed)."""
    query = shapes[QUERY]
    if device.type != DEVICE:
        raise ValueError(f"{NAMES[QUERY]} must be a torch.Tensor on a card; it is on {device}.")
    if len(query) != 4:
        raise ValueError(
            f"{NAMES[QUERY]} must have four axes, [B, T, heads, size], not {len(query)}."
        )
    batch, length, query_heads = query[:3]
    heads = query_heads
    for entry, shape in zip(_kernel.inputs, shapes):
        if entry.role not in ("query", "parameter") and len(shape) > 2:
            heads = shape[2]
            break
    if heads == 0 or query_heads % heads:
        raise ValueError(
            f"{NAMES[QUERY]}'s heads must be a multiple of the others', and they are {query_heads} "
            f"and {heads}."
        )
    for entry, shape in zip(_kernel.inputs, shapes):
        own = query_heads if entry.role == "query" else heads
        leading = (own,) if entry.role == "parameter" else (batch, length, own)
        check_shape(entry.name, shape, (*leading, *entry.row))
    if sequences and batch != 1:
        raise ValueError(f"cu_seqlens goes with B = 1, not {batch}.")
    return Plan(
        (batch, length, query_heads, heads, sequences),
        dense((batch, length, query_heads, _kernel.value), TYPES_OF_INPUTS[QUERY]),
        dense((sequences or batch, heads, _kernel.key, _kernel.state_columns), torch.float32),
        tuple(map(dense, shapes, TYPES_OF_INPUTS)),
        {},
    )


def ready(
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
        raise ValueError(f"{name} is on {tensor.device}, and {NAMES[QUERY]} on {device}.")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be of type {dtype}, not {tensor.dtype}.")
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def check_shape(name: str, shape: torch.Size, wanted: Tuple[int, ...]) -> None:
    if shape != wanted:
        raise ValueError(f"{name} must have shape {wanted}, not {tuple(shape)}.")
