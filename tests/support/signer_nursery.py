"""The process that forks warm signers; `tests.support.warm_signer` starts it and speaks with it. It holds no key."""

from __future__ import annotations

import os
import socket

import eth_account  # noqa: F401 - what it is all about: a second of every signer that unlocks a key

from tui.vault import encoding, keystore, service, signer_child  # noqa: F401 - loaded before, not in each child


def serve(control: socket.socket) -> None:
    """A state directory with a pipe's end starts a signer and is answered with its process id; a process id is answered
    with its exit code. Ends with the other side, and the kernel ends every signer with it.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        if not descriptors:
            _, status = os.waitpid(int(message), 0)
            control.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        nursery = os.getpid()
        pid = os.fork()
        if pid == 0:
            control.close()
            os.setsid()
            os._exit(signer_child.main([str(descriptors[0]), message.decode(), str(nursery), "1"]))
        os.close(descriptors[0])
        control.send(str(pid).encode())
