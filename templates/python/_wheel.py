"""Packs this folder into a wheel: what `pip install FOLDER` and `pip wheel FOLDER` call (PEP 517).

The library is in the folder, compiled for one kind of processor, so nothing is built and no compiler
is needed. The module is named after the folder, the distribution `sluice-` and that; its version ends
in the library's digest, so that another kernel is another version. The wheel has the same bytes
whenever it is made. This text is the same in every package.
"""

from __future__ import annotations

import base64
import hashlib
import json
import keyword
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

_FOLDER = Path(__file__).resolve().parent

# What ELF calls the processors that a library can be for.
_MACHINES = {62: "x86_64", 183: "aarch64"}


def build_wheel(
    wheel_directory: str,
    config_settings: Optional[Dict[str, Any]] = None,
    metadata_directory: Optional[str] = None,
) -> str:
    """Writes the wheel into `wheel_directory`; returns its file's name."""
    module = _FOLDER.name
    if not (module.isascii() and module.isidentifier()) or keyword.iskeyword(module):
        raise ValueError(
            f"The folder's name is the module's, and {module!r} is no Python identifier: rename it, "
            f"for example to {''.join(c if c.isalnum() and c.isascii() else '_' for c in module)!r}."
        )
    manifest = json.loads((_FOLDER / "manifest.json").read_text())
    library = (_FOLDER / f"{manifest['name']}.so").read_bytes()
    machine = _MACHINES.get(int.from_bytes(library[18:20], "little"), "unknown")
    version = f"{manifest['sluice']}+{manifest['libraryDigest'][:12]}"
    tag = f"py3-none-linux_{machine}"
    distribution = f"sluice_{module.lower()}"
    metadata = (
        "Metadata-Version: 2.1\n"
        f"Name: {distribution}\n"
        f"Version: {version}\n"
        f"Summary: {manifest['recurrence']['summary']}\n"
        "Requires-Python: >=3.9\n"
        "Requires-Dist: numpy\n"
    )
    wheel = f"Wheel-Version: 1.0\nGenerator: sluice\nRoot-Is-Purelib: false\nTag: {tag}\n"
    info = f"{distribution}-{version}.dist-info"
    files = [(f"{module}/{path.name}", path.read_bytes()) for path in _content()]
    files += [(f"{info}/METADATA", metadata.encode()), (f"{info}/WHEEL", wheel.encode())]
    name = f"{distribution}-{version}-{tag}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in [*files, (f"{info}/RECORD", _record(files, info))]:
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o755 if ".so" in path else 0o644) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return name


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> str:
    """There is none: a package is the compiled kernel, not what it was made from."""
    raise NotImplementedError("A Sluice package has no source distribution: ask for the wheel.")


def _content() -> List[Path]:
    """The package's own files, by name; not this one, and nothing that somebody left here."""
    suffixes = (".py", ".h", ".c", ".cu", ".so", ".json", ".typed")
    return sorted(
        path
        for path in _FOLDER.iterdir()
        if path.is_file()
        and path.name != Path(__file__).name
        and (path.suffix in suffixes or path.name.startswith("libomp.so"))
    )


def _record(files: List[Tuple[str, bytes]], info: str) -> bytes:
    """The list of files with digests that an installer checks."""
    lines = []
    for path, data in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{info}/RECORD,,\n"]).encode()
