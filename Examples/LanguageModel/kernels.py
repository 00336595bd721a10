"""Our kernels: each recurrence built by the command into a package, and its PyTorch operator."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, Tuple

from torch import Tensor

from recurrences import PLAIN

Core = Callable[..., Tensor]


class Kernels:
    """Builds packages on demand, into one folder.

    `command` is the program that knows the layers' recurrences (`Package.swift` here makes it).
    """

    def __init__(self, command: Path, folder: Path, batch: int, length: int, threads: int) -> None:
        self.command, self.folder, self.threads = command, folder, threads
        self.problem = ["--batch", str(batch), "--length", str(length), "--threads", str(threads)]
        self.built: Dict[Tuple[str, int, int], Core] = {}

    def core(self, recurrence: str, heads: int, key: int, value: int) -> Core:
        """The recurrence as a differentiable function of tensors."""
        name = f"{recurrence.replace('-', '_')}_k{key}_v{value}_t{self.threads}"
        if (recurrence, key, value) not in self.built:
            arguments = [str(self.command), "build", recurrence, "--backward", *self.problem]
            arguments += ["--key-dim", str(key), "--value-dim", str(value), "--heads", str(heads)]
            arguments += ["-o", str(self.folder / name)]
            done = subprocess.run(arguments, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"`{' '.join(arguments)}` failed:\n{done.stderr}")
            sys.path.insert(0, str(self.folder))
            forward = importlib.import_module(f"{name}.autograd").forward
            sys.path.remove(str(self.folder))
            self.built[recurrence, key, value] = lambda **inputs: forward(
                **inputs, threads=self.threads
            )[0]
        return self.built[recurrence, key, value]


class Plain:
    """The same interface on the recurrences in plain PyTorch."""

    def core(self, recurrence: str, heads: int, key: int, value: int) -> Core:
        return PLAIN[recurrence]
