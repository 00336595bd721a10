"""Short problems for the tools that watch memory and races, and the runs of these tools.

    compute-sanitizer --tool racecheck python3 Tests/CardTests/check.py --small FOLDER

Inputs are drawn on the processor, so that what runs under the tool is the package's kernels and few of
PyTorch's own.
"""

import re
import shutil
import subprocess
import sys

import torch

from answers import OFFSETS, Package, card, demand

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")


def _drawn(package, batch, length, heads, group, gates):
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    tokens = batch, length, heads
    tensors = [
        normal(batch, length, heads * group, package.key), normal(*tokens, package.key),
        normal(*tokens, package.value),
    ]
    tensors = [x.to(torch.bfloat16 if package.element == "bf16" else torch.float32) for x in tensors]
    for axis in card.FORMS[package.form].decays:
        shape = {
            "key": (*tokens, package.key), "value": (*tokens, package.value), "token": tokens}[axis]
        g = torch.nn.functional.logsigmoid(normal(*shape)) / 16
        if gates == "strong":
            g = -5 * torch.rand(*shape, generator=generator)
        if gates == "resets":
            g[torch.rand(*shape, generator=generator) < 0.05] = -1e4
        tensors.append(g)
    if card.FORMS[package.form].bonus:
        tensors[3] = (-tensors[3]).log()
        tensors.append(normal(heads, package.key))
    return [x.cuda() for x in tensors]


def small(folder):
    """Every kernel of a package: each form of a chunk, packed sequences, grouped heads, a step."""
    package = Package(folder)
    module = package.module
    packed = torch.tensor(OFFSETS).cuda()
    count = 0
    for gates in ("mild", "strong", "resets"):
        # The first has chunks enough that all places are used again.
        for group, length in ((1, 330), (1, OFFSETS[-1]), (2, 150)):
            if group > 1 and card.FORMS[package.form].bonus:
                continue
            is_packed = length == OFFSETS[-1]
            tensors = _drawn(package, 1, length, 2, group, gates)
            rows = len(OFFSETS) - 1 if is_packed else 1
            initial = torch.randn(rows, 2, package.key, package.value).cuda()
            options = {"initial_state": initial, "cu_seqlens": packed if is_packed else None}
            o, _ = module.forward(*tensors, output_final_state=True, **options)
            if package.has_gradient:
                module.backward(*tensors, d_o=o, d_final_state=initial, **options)
            if module.manifest.get("step") is not None and not is_packed:
                token = [x[:, :1].contiguous() if x.dim() > 2 else x for x in tensors]
                module.step(*token, initial)
            torch.cuda.synchronize()
            count += 1
    return f"{count} problems"


def watched(tool, folder, limit):
    """What a tool finds in these problems: nothing, or its first words and its count."""
    command = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    program = [sys.executable, __file__.replace("small.py", "check.py"), "--small", folder]
    done = subprocess.run(
        [command, "--tool", tool, *program], capture_output=True, text=True, timeout=limit)
    text = done.stdout + done.stderr
    lines = [line.strip("= ") for line in text.splitlines() if line.startswith("=====")]
    said = " / ".join(line for line in lines[1:40] if not line.startswith("Host Frame"))[:700]
    print(text[-20000:])  # for the log
    demand(" problems" in text, f"the problems did not run: {said or text[-400:]}")
    found = re.findall(r"(?:ERROR SUMMARY: (\d+)|RACECHECK SUMMARY: (\d+) hazard)", text)
    demand(bool(found), f"no summary: {text[-300:]}")
    errors = sum(int(number) for pair in found for number in pair if number)
    demand(errors == 0, f"{errors}: {said}")
    return f"{tool}: clean"
