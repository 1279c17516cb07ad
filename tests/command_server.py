"""Runs ``ragicl …`` and ``python -c …`` as forks of one process, which has loaded the models.

A client, installed by :func:`install` under both names, hands over its arguments, its folder and
its files; what runs is what the real commands run, without some seconds of loading for each.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ragicl.backends import open_encoder, open_lm
from ragicl.protocols import LM, Encoder

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as own:
    own.connect({address!r})
    asked = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]
    own.send((json.dumps(asked) + chr(10)).encode())
    socket.send_fds(own, [b"f"], [0, 1, 2])
    sys.exit(int(own.recv(8) or b"1"))
"""


def install(folder: Path) -> None:
    """Put the clients ``ragicl`` and ``python`` into a folder, for a PATH."""
    for name in ("ragicl", "python"):
        client = folder / name
        client.write_text(CLIENT.format(python=sys.executable, address=str(folder / "socket")))
        client.chmod(0o755)


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Serve the clients in a folder."""
    command = [sys.executable, __file__, str(folder / "socket")]
    # A process that has used several threads cannot be forked.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.terminate()


def serve(address: str) -> None:
    """Answer clients until the process ends."""
    import faiss  # noqa: F401

    import ragicl.cli.main  # noqa: F401
    from ragicl.backends.registry import ENCODERS, LMS

    shared_encoder().encode(["a text"])
    shared_lm(dtype="auto").load()
    ENCODERS["minilm"], LMS["smollm2"] = "__main__:shared_encoder", "__main__:shared_lm"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(client)
            client.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass


@cache
def shared_encoder() -> Encoder:
    """Return the default encoder, the same for every command."""
    return open_encoder("minilm")


@cache
def shared_lm(dtype: str = "auto") -> LM:
    """Return the default language model, the same for every command."""
    return open_lm("smollm2", dtype=dtype)


def _answer(client: socket.socket) -> None:
    """Run what a client asks for in a child, send its exit status, and end this process."""
    with client.makefile("rb", buffering=0) as lines:
        name, arguments, folder, environment = json.loads(lines.readline())
        _, files, _, _ = socket.recv_fds(client, 1, 3)
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
        client.close()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = ["", *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        _run(name, arguments)
    _, status = os.waitpid(child, 0)
    client.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(name: str, arguments: list[str]) -> None:
    from ragicl.cli.main import main

    status = 0
    try:
        sys.argv = [name, *arguments]
        if name == "ragicl":
            main(prog_name="ragicl")
        else:
            exec(compile(arguments[1], "<block>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
