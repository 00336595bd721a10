"""Packages that `sluice build` makes for a benchmark."""

from __future__ import annotations

import argparse
import subprocess


def build(options: argparse.Namespace, name: str, *words: str) -> None:
    """Builds `build/packages/NAME` for this machine, or ends with what the command said."""
    folder = options.build / "packages" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [str(options.sluice), "build", *words, "--target", "native"]
    command += ["--threads", str(options.threads), "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed:\n{done.stderr}")
