"""A gated-linear-attention kernel: arrays in, arrays out.

This text is the same in every package. What differs (the recurrence, its inputs, key and value
sizes, element types) is read from ``manifest.json`` beside it, and the library is loaded only if it
is the one that the manifest describes. ``help(forward)`` lists the inputs with their shapes.

    import sys
    sys.path.insert(0, "the folder that holds this one")    # or: pip install "this folder"
    import gla

    o, final_state = gla.forward(q, k, v, g, output_final_state=True)

Where flash-linear-attention has a function for the recurrence, the package has it too, under its
name and with its arguments, for NumPy's arrays and PyTorch's tensors (``_field.py`` lists them):

    from gla import chunk_gla

    o, final_state = chunk_gla(q, k, v, g, output_final_state=True)

``step`` decodes: one token, the states moved in place. ``Stepper`` is the same with its arrays bound
once:

    state = gla.new_state(batch, heads)
    o = gla.step(q, k, v, g, state)

``Runner`` is ``forward`` with its arrays bound once:

    runner = gla.Runner(q, k, v, g)
    o, final_state = runner()

All of them may be called from several threads at once: a call holds no lock, and Python's is released.

A package that was built with its gradient has ``backward`` too, and ``autograd.py`` beside this file
makes both a PyTorch operator:

    d = gla.backward(q, k, v, g, d_o=d_o)
    d["q"], d["k"], d["v"], d["g"], d["initial_state"]

A package for a CUDA card takes PyTorch's tensors instead: ``cuda.py`` beside this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

from ._backward import backward, states_every
from ._field import function_of
from ._forward import forward
from ._library import kernel as _kernel
from ._manifest import FOLDER
from ._runner import Runner
from ._step import Stepper, new_state, step

__all__ = [
    "Runner", "Stepper", "backward", "forward", "manifest", "new_state", "states_every", "step",
]

manifest: Dict[str, Any] = _kernel.manifest
"""What is known of this kernel: recurrence, plan, target, compiler, digests."""

__version__: str = _kernel.version

if TYPE_CHECKING:
    # At run time there is the one that computes the package's recurrence.
    from ._field import chunk_gla as chunk_gla
    from ._field import chunk_lightning_attn as chunk_lightning_attn
    from ._field import chunk_linear_attn as chunk_linear_attn
    from ._field import chunk_retention as chunk_retention
    from ._field import chunk_rwkv6 as chunk_rwkv6
    from ._field import chunk_simple_gla as chunk_simple_gla
    from ._field import fused_recurrent_gla as fused_recurrent_gla

_function = function_of(_kernel)
if _function is not None:
    globals()[_function.__name__] = _function
    __all__.append(_function.__name__)

if _kernel.is_for_card:
    try:
        from .cuda import backward, forward, step
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{FOLDER} computes on a CUDA card, on PyTorch's tensors: {error.name} is missing."
        ) from None
