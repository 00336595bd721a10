"""ONNX Runtime's com.microsoft LinearAttention: the form of opset 27 is a slow function body."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from problem import Inputs, Problem, aligned
from timing import Call

from . import NotMeasured

NAME = "onnxruntime"


def prepare(problem: Problem, x: Inputs, threads: int, build: Path) -> Call:
    """A session of one node; inputs and outputs are bound, so that a call copies nothing."""
    try:
        import onnxruntime
        from onnx import TensorProto, helper
    except ImportError as error:
        raise NotMeasured(f"onnxruntime or onnx is missing: {error}.") from None
    if problem.element != "f32":
        raise NotMeasured("its operator has no bf16 on CPU.")
    batch, length, heads, key = x.q.shape
    value = problem.value
    packed = {name: array.reshape(batch, length, -1) for name, array in x._asdict().items()}
    node = helper.make_node(
        "LinearAttention",
        ["q", "k", "v", "", "g"],
        ["o", "state"],
        domain="com.microsoft",
        update_rule="gated",
        q_num_heads=heads,
        kv_num_heads=heads,
    )
    o = aligned(np.zeros((batch, length, heads * value), np.float32))
    state = aligned(np.zeros((batch, heads, key, value), np.float32))
    outputs = {"o": o, "state": state}

    def describe(arrays):
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in arrays.items()
        ]

    graph = helper.make_graph([node], "linear_attention", describe(packed), describe(outputs))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # The runtime's exceptions have no common type.
        raise NotMeasured(f"it refuses the operator: {str(error).splitlines()[0]}") from None
    binding = session.io_binding()
    for name, array in packed.items():
        binding.bind_cpu_input(name, array)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def call():
        session.run_with_iobinding(binding)
        return o.reshape(batch, length, heads, value), state

    return call
