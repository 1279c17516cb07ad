"""FAISS, whose only home this is: checked, since its builds overwrite each other's files."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ragicl.errors import BackendError, first_line

BUILDS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")  # all of them install the folder `faiss`


def open_faiss() -> Any:
    """Import FAISS; Any, for its stubs are not whole.

    :raises BackendError: where builds lie over each other, or one was removed from under another
    """
    installed = [build for build in BUILDS if _installed(build)]
    if len(installed) > 1:
        raise BackendError(
            f"{' and '.join(installed)} are installed over each other; {_mend(installed[-1])}"
        )
    try:
        import faiss as module

        module.read_index  # noqa: B018 - an empty folder can be imported too
    except (ImportError, AttributeError) as error:
        raise BackendError(
            f"FAISS is not whole ({first_line(error)}): it is missing, or another build of it was "
            f"removed; {_mend((installed or BUILDS)[0])}"
        ) from error
    return module


def _installed(build: str) -> bool:
    try:
        return bool(version(build))
    except PackageNotFoundError:
        return False


def _mend(build: str) -> str:
    return f"run `pip uninstall -y {' '.join(BUILDS)}`, then `pip install {build}`"


faiss = open_faiss()
