"""PyTorch's tensors as the kernel's arrays: types, memory, and what is refused with a sentence.

This text is the same in every package.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np
import torch

__all__ = ["TYPES", "array_of", "check_tensor", "tensor_of"]

TYPES = {
    "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f64": torch.float64,
}


_PLACES = {"cpu": "the CPU", "cuda": "a card"}


def check_tensor(
    name: str, tensor: Any, element: Optional[str] = None, device: str = "cpu"
) -> None:
    """Refuses what is no tensor on the device, ``cpu`` or ``cuda``, or is not of the element type."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(tensor).__name__}.")
    if tensor.device.type != device:
        raise ValueError(f"{name} must be on {_PLACES[device]}, and is on {tensor.device}.")
    if element is not None and tensor.dtype != TYPES[element]:
        raise TypeError(f"{name} must be of type {TYPES[element]}, not {tensor.dtype}.")


def array_of(tensor: Optional[torch.Tensor]) -> Any:
    """The tensor's memory as an array, dense; bfloat16 as its bits, which NumPy has no type for."""
    if tensor is None:
        return None
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def tensor_of(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """The array's memory as a tensor; bits of bfloat16 as such."""
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(dtype)
    return torch.from_numpy(array)
