"""Calls on a card's tensors: what they are given is checked, and handed to the library on the current stream.

Checks cost the processor as much as a kernel's launch. So of calls that were right something is kept
(`_Known`), and one that PyTorch's guard finds alike goes to the library at once. Whatever differs takes the
whole way, which copies or refuses it. This text is the same in every package for a card.
"""

from __future__ import annotations

import ctypes
import operator
import struct
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

import torch

from ._card import (
    NAMES, QUERY, TYPES_OF_INPUTS, Plan, allocate, check_shape, current_device, empty_here,
    free, guard_of, plan_of, ready, stream_of,
)
from ._checks import check_scale
from ._library import kernel as _kernel

_message = _kernel.library[f"{_kernel.name}_message"]
_NO_CONTEXT = 19  # the header has the codes
_message.argtypes, _message.restype = [ctypes.c_int32], ctypes.c_char_p
_DEFAULT_SCALE = _kernel.default_scale
_place_of = torch.Tensor.data_ptr

# What a call may bring beside its inputs; their sum says which calls may be alike.
_INITIAL, _OFFSETS, _FINAL = 1, 2, 4


class _Known:
    """What holds for all calls of an entry on tensors that are alike: on their card, of a plan."""

    __slots__ = (
        "adjoints", "check", "device", "head", "index", "output", "requires_grad", "state", "workspace"
    )

    def __init__(self, device: torch.device, plan: Plan, head: bytes, workspace: int) -> None:
        self.device, self.index = device, device.index
        # What results are made of: see `Dense.words`.
        self.output, self.state = plan.output.words, plan.state.words
        self.adjoints = [adjoint.words for adjoint in plan.adjoints]
        # The argument struct as far as sizes go.
        self.head = head
        self.workspace = workspace
        # Whether tensors are alike, and whether one of them required a gradient.
        self.check: Callable[..., bool] = lambda *tensors: False
        self.requires_grad = False


def _likeness(query: torch.Tensor) -> Tuple[Any, ...]:
    """What calls differ in that come in turns."""
    return query.shape, query.get_device(), query.requires_grad


class Entry:
    """An entry of the library on a stream, with a workspace of PyTorch's."""

    # Calls of a kind that are remembered.
    _MOST = 256

    def __init__(self, name: str, workspace: str, arguments: Any) -> None:
        self._name = name
        self._enter = _kernel.library[f"{_kernel.name}_{name}_on"]
        self._enter.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._enter.restype = ctypes.c_int32
        self._workspace_size = _kernel.library[f"{_kernel.name}_{workspace}"]
        self._workspace_size.argtypes = [ctypes.c_char_p]
        self._workspace_size.restype = ctypes.c_int64
        # The argument struct as strings of bytes: a struct of ctypes takes as long as the rest of
        # a call to make and to fill.
        letters = {
            ctypes.c_uint32: "I", ctypes.c_int32: "i", ctypes.c_float: "f", ctypes.c_int64: "q",
            ctypes.c_uint64: "Q", ctypes.c_void_p: "Q",
        }
        fields = "".join(letters[kind] for _, kind in arguments._fields_)
        # abi, size and what a plan has as `sizes`; all else follows.
        self._pack_head = struct.Struct("@" + fields[:7]).pack
        self._pack = struct.Struct("@" + fields[7:]).pack
        self._size = ctypes.sizeof(arguments)
        # By what calls bring: the last that was known, and all by what their query is like.
        self._last: List[Optional[_Known]] = [None] * 8
        self._known: List[Dict[Tuple[Any, ...], _Known]] = [{} for _ in range(8)]

    def has_run(self, plan: Plan) -> bool:
        return self._name in plan.workspaces

    def known_of(
        self, device: torch.device, plan: Plan, offsets: int, pointers: Sequence[int]
    ) -> _Known:
        """What holds for calls of this plan."""
        head = self._pack_head(1, self._size, *plan.sizes)
        size = plan.workspaces.get(self._name)
        if size is None:
            size = self._workspace_size(head + self._pack(offsets, 0, 0, 0, 0, 0, 0, *pointers))
            if size < 0:
                self._fail(-size)
            plan.workspaces[self._name] = size
        return _Known(device, plan, head, size)

    def run(self, known: _Known, scale: float, offsets: int, pointers: Sequence[int]) -> None:
        """Puts the entry's kernels on the current stream of the card."""
        # The driver's calls are for the current card, which may be another one.
        if current_device() == known.index:
            self.run_here(known, scale, offsets, pointers)
        else:
            with torch.cuda.device(known.device):
                self.run_here(known, scale, offsets, pointers)

    def run_here(self, known: _Known, scale: float, offsets: int, pointers: Sequence[int]) -> None:
        """The same on the current card."""
        stream, size, place = stream_of(known.index), known.workspace, 0
        if size:
            # Freed as soon as the kernels are queued: who gets it next on this stream is queued after them.
            place = allocate(size, stream)
        try:
            given = known.head + self._pack(offsets, 0, 0, scale, 0, place, size, *pointers)
            code = self._enter(given, stream)
            if code == _NO_CONTEXT:
                # A thread of PyTorch's own, as those of autograd, has none before its first kernel.
                torch.zeros(1, device=known.device)
                code = self._enter(given, stream)
            if code:
                self._fail(code)
        finally:
            if place:
                free(place)

    def _fail(self, code: int) -> NoReturn:
        raise RuntimeError(f"{_kernel.name}: {_message(code).decode()}")

    def remember(self, kind: int, tensors: Sequence[Any], known: _Known) -> None:
        """Keeps what is known of calls on tensors like these, which were right as they are."""
        check = guard_of(tensors)
        if check is None:
            return
        known.check = check
        known.requires_grad = any(tensor.requires_grad for tensor in tensors)
        if len(self._known[kind]) == Entry._MOST:
            self._known[kind] = {}
        self._known[kind][_likeness(tensors[QUERY])] = self._last[kind] = known

    def again(
        self, kind: int, tensors: Sequence[Any], sees_to_gradients: bool
    ) -> Optional[Tuple[_Known, List[int]]]:
        """What is known of calls on such tensors, and where these lie; None: they must be looked at.

        Args:
            sees_to_gradients: whether the caller sees to gradients that tensors require.
        """
        known = self._last[kind]
        if known is None:
            return None
        if not known.check(*tensors):
            query = tensors[QUERY]
            if not isinstance(query, torch.Tensor):
                return None
            known = self._known[kind].get(_likeness(query))
            if known is None or not known.check(*tensors):
                return None
            self._last[kind] = known
        if known.requires_grad and not sees_to_gradients and torch.is_grad_enabled():
            return None
        if current_device() != known.index:
            return None
        pointers, bits = [], 0
        for pointer in map(_place_of, tensors):
            bits |= pointer
            pointers.append(pointer)
        return None if bits % 16 else (known, pointers)


_forward = Entry("forward", "workspace_size", _kernel.Arguments)
_backward = _step = None
if _kernel.has_gradient:
    _backward = Entry("backward", "backward_workspace_size", _kernel.GradientArguments)
if _kernel.has_step:
    _step = Entry("step", "step_workspace_size", _kernel.Arguments)


class _Call:
    """The checked tensors of a call, and what follows from their shapes."""

    def __init__(
        self, inputs: Sequence[Any], scale: Any, initial_state: Any, cu_seqlens: Any
    ) -> None:
        query = inputs[QUERY]
        if not isinstance(query, torch.Tensor):
            raise TypeError(
                f"{NAMES[QUERY]} must be a torch.Tensor on a card, not {type(query).__name__}."
            )
        device = self.device = query.device
        tensors, pointers, shapes = [], [], []
        for tensor, dtype, name in zip(inputs, TYPES_OF_INPUTS, NAMES):
            tensor, pointer = ready(name, tensor, dtype, device)
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
        self.plan = plan_of(device, sequences, *shapes)
        self.scale = check_scale(scale, _DEFAULT_SCALE)
        self.initial = self.state("initial_state", initial_state)

    def state(self, name: str, tensor: Any) -> Optional[torch.Tensor]:
        if tensor is None:
            return None
        tensor, _ = ready(name, tensor, torch.float32, self.device)
        check_shape(name, tensor.shape, self.plan.state.shape)
        return tensor

    def run(
        self, entry: Entry, given: Tuple[int, Sequence[Any]], *ends: Optional[torch.Tensor],
        taken: Sequence[Any] = (), adjoints: Sequence[torch.Tensor] = (),
    ) -> None:
        """Puts the entry's kernels on the stream, and remembers the call where it is worth it.

        Args:
            given: the call's kind and tensors.
            ends: the struct's tensors before the inputs.
            taken: what the kernels read in place of the tensors beside the inputs, in their order.
        """
        kind, tensors = given
        is_repeated = entry.has_run(self.plan)
        pointers = [0 if tensor is None else tensor.data_ptr() for tensor in ends]
        pointers += self.pointers
        pointers += [tensor.data_ptr() for tensor in adjoints]
        offsets = 0 if self.offsets is None else self.offsets.data_ptr()
        known = entry.known_of(self.device, self.plan, offsets, pointers)
        entry.run(known, self.scale, offsets, pointers)
        if is_repeated:
            # One whose tensors were copied would have to be looked at again.
            used = (*self.tensors, *(tensor for tensor in taken if tensor is not None))
            if all(map(operator.is_, used, tensors)):
                entry.remember(kind, tensors, known)


def _kind_of(
    tensors: Sequence[Any], initial_state: Any, cu_seqlens: Any, kind: int = 0
) -> Tuple[int, Sequence[Any]]:
    """The kind of a call, and its tensors in one row."""
    if initial_state is not None:
        kind, tensors = kind | _INITIAL, (*tensors, initial_state)
    if cu_seqlens is not None:
        kind, tensors = kind | _OFFSETS, (*tensors, cu_seqlens)
    return kind, tensors


def _scale_of(scale: Any) -> float:
    # What is no plain number is looked at more closely.
    if type(scale) is float and -1e30 < scale < 1e30:
        return scale
    return check_scale(scale, _DEFAULT_SCALE)


def forward_again(
    inputs: Sequence[Any], scale: Any, initial_state: Any, cu_seqlens: Any, wants_state: bool,
    sees_to_gradients: bool,
) -> Optional[Tuple[torch.Tensor, Optional[torch.Tensor]]]:
    """o and the final state of a call like earlier ones; None where it is not."""
    kind, tensors = _kind_of(inputs, initial_state, cu_seqlens)
    found = _forward.again(kind, tensors, sees_to_gradients)
    if found is None:
        return None
    known, pointers = found
    offsets = pointers.pop() if kind & _OFFSETS else 0
    initial = pointers.pop() if kind & _INITIAL else 0
    scale = _scale_of(scale)
    o = empty_here(*known.output)
    final = empty_here(*known.state) if wants_state else None
    place = final.data_ptr() if wants_state else 0
    _forward.run_here(known, scale, offsets, (initial, place, o.data_ptr(), *pointers))
    return o, final


def run_forward(
    inputs: Sequence[Any], scale: Any, initial_state: Any, cu_seqlens: Any, wants_state: bool
) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    """o and the final state, without a gradient."""
    found = forward_again(inputs, scale, initial_state, cu_seqlens, wants_state, True)
    if found is not None:
        return found
    call = _Call(inputs, scale, initial_state, cu_seqlens)
    o = call.plan.output.on(call.device)
    final = call.plan.state.on(call.device) if wants_state else None
    given = _kind_of(inputs, initial_state, cu_seqlens)
    call.run(_forward, given, call.initial, final, o, taken=(call.initial, call.offsets))
    return o, final


def _backward_kind(
    d_o: Any, d_final_state: Any, inputs: Sequence[Any], initial_state: Any, cu_seqlens: Any
) -> Tuple[int, Sequence[Any]]:
    if d_final_state is None:
        return _kind_of((*inputs, d_o), initial_state, cu_seqlens)
    return _kind_of((*inputs, d_o, d_final_state), initial_state, cu_seqlens, _FINAL)


def run_backward(
    d_o: Any, d_final_state: Any, inputs: Sequence[Any], scale: Any, initial_state: Any,
    cu_seqlens: Any, wants_initial: bool = True,
) -> Tuple[List[torch.Tensor], Optional[torch.Tensor]]:
    """The adjoints of the inputs in their order, and that of the initial state where it is wanted."""
    if _backward is None:
        raise RuntimeError(
            f"{_kernel.name} has no gradient: build the package with 'sluice build ... --backward', "
            "or call it under torch.no_grad()."
        )
    kind, tensors = _backward_kind(d_o, d_final_state, inputs, initial_state, cu_seqlens)
    found = _backward.again(kind, tensors, True)
    if found is not None:
        known, pointers = found
        offsets = pointers.pop() if kind & _OFFSETS else 0
        initial = pointers.pop() if kind & _INITIAL else 0
        final = pointers.pop() if kind & _FINAL else 0
        d_out = pointers.pop()
        adjoints = [empty_here(*adjoint) for adjoint in known.adjoints]
        d_initial = empty_here(*known.state) if wants_initial else None
        place = d_initial.data_ptr() if wants_initial else 0
        places = initial, final, place, d_out, *pointers, *map(_place_of, adjoints)
        _backward.run_here(known, _scale_of(scale), offsets, places)
        return adjoints, d_initial
    call = _Call(inputs, scale, initial_state, cu_seqlens)
    d_o, _ = ready("d_o", d_o, TYPES_OF_INPUTS[QUERY], call.device)
    check_shape("d_o", d_o.shape, call.plan.output.shape)
    d_final = call.state("d_final_state", d_final_state)
    d_initial = call.plan.state.on(call.device) if wants_initial else None
    adjoints = [adjoint.on(call.device) for adjoint in call.plan.adjoints]
    call.run(
        _backward, (kind, tensors), call.initial, d_final, d_initial, d_o,
        taken=(d_o, d_final, call.initial, call.offsets), adjoints=adjoints,
    )
    return adjoints, d_initial


def zero_output(
    inputs: Sequence[Any], scale: Any, initial_state: Any, cu_seqlens: Any
) -> torch.Tensor:
    """The adjoint of an o that nothing depends on."""
    call = _Call(inputs, scale, initial_state, cu_seqlens)
    return call.plan.output.on(call.device).zero_()


def run_step(*args: Any) -> torch.Tensor:
    """o; the state is moved in place."""
    *inputs, state, scale = args
    tensors = args[:-1]
    found = _step.again(0, tensors, True)
    if found is not None:
        known, pointers = found
        place = pointers.pop()
        o = empty_here(*known.output)
        _step.run_here(known, _scale_of(scale), 0, (0, place, o.data_ptr(), *pointers))
        return o
    call = _Call(inputs, scale, None, None)
    if call.state("state", state) is not state:
        raise ValueError("The state must be dense and begin at sixteen bytes: it is moved in place.")
    o = call.plan.output.on(call.device)
    call.run(_step, (0, tensors), None, state, o, taken=(state,))
    return o
