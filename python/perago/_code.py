"""Digits that stand for the code of a task: a result is taken over only where the same code would make it."""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where a check has found the code, and what it has to say about it, is not what the code does.
_BESIDE_THE_CODE = ("source", "warnings")


def code_hash(module_target: str, description: dict[str, Any]) -> str:
    """Return 64 hexadecimal digits that change with the code of an imported module.

    They stand for what the task declares, the version of Python, the installed distributions with their
    versions, and the contents of the source files that are not installed: those of the modules that the
    import has loaded, those of the package that the module is in, and those beside a module that is in none.
    Files that a body reads, variables and other programs have no part in it.

    Args:
        module_target: The module as Python imports it.
        description: The description of its task.

    """
    installed = _installed_places()
    declared = {key: value for key, value in description.items() if key not in _BESIDE_THE_CODE}
    digest = hashlib.sha256()
    for part in (
        json.dumps(declared, sort_keys=True),
        f"{sys.implementation.name} {sys.version_info[:3]}",
        *sorted(_distributions(installed)),
    ):
        _add(digest, part.encode())
    files = dict(_loaded_files(installed))
    files.update(_files_of_target(module_target))
    for name, path in sorted(files.items()):
        _add(digest, name.encode())
        _add(digest, _content(path))
    return digest.hexdigest()


def _add(digest: hashlib._Hash, part: bytes) -> None:
    # Lengths keep neighbours apart.
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _installed_places() -> set[Path]:
    """Return the directories of the standard library and of installed distributions."""
    paths = sysconfig.get_paths()
    places = {Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for entry in sys.path:
        folder = Path(entry)
        if folder.name in ("site-packages", "dist-packages"):
            places.add(folder.resolve())
    return places


def _distributions(places: set[Path]) -> Iterator[str]:
    """Names and versions, as the names of their metadata have them."""
    for place in places:
        for metadata in (*place.glob("*.dist-info"), *place.glob("*.egg-info")):
            yield metadata.name


def _loaded_files(installed: set[Path]) -> Iterator[tuple[str, Path]]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        # Of our own package the version counts, with those of the other distributions.
        if not isinstance(file, str) or not file.endswith(".py") or name.partition(".")[0] == "perago":
            continue
        path = Path(file).resolve()
        if not any(place in path.parents for place in installed):
            yield name, path


def _files_of_target(module_target: str) -> Iterator[tuple[str, Path]]:
    """Source files that a body may import later: of the module's package, or beside it."""
    top = module_target.partition(".")[0]
    module = sys.modules.get(top)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    if folders:
        for folder in folders:
            yield from _files_of_package(top, folder)
    elif isinstance(file := getattr(module, "__file__", None), str):
        yield from ((path.stem, path) for path in Path(file).parent.glob("*.py"))


def _files_of_package(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.glob("*.py"):
        yield f"{name}.{path.stem}", path
    for initial in folder.glob("*/__init__.py"):
        yield from _files_of_package(f"{name}.{initial.parent.name}", initial.parent)
