"""The signer process: a pipe in, a pipe out, no screen, no log. It alone holds the key.

Started by `tui.vault.client.spawn_signer`; ends when the pipe ends or its parent does.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tui.vault import protocol
from tui.vault.hardening import harden, measures


def _read_exactly(channel: socket.socket, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = channel.recv(length - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _refusal(reason: str) -> bytes:
    return protocol.encode_frame({"id": 0, "ok": False, "error": "refused", "reason": f"malformed request: {reason}"})


def serve(channel: socket.socket, state_directory: Path) -> None:
    """Answer messages until the other side closes or says shutdown. A frame of impossible length ends it too."""
    from tui.vault.service import Service

    with contextlib.suppress(OSError):  # if it cannot be made, the unlock says why
        state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    service = Service(state_directory, status=measures)
    channel.sendall(protocol.encode_frame({"id": 0, "ok": True, "result": {"version": protocol.VERSION}}))
    while not service.stopped:
        prefix = _read_exactly(channel, protocol.LENGTH.size)
        if prefix is None:
            return
        try:
            length = protocol.frame_length(prefix)
        except protocol.ProtocolError as error:
            # What follows cannot be told apart from the next message.
            channel.sendall(_refusal(str(error)))
            return
        body = _read_exactly(channel, length)
        if body is None:
            return
        try:
            reply = protocol.encode_frame(service.handle(protocol.decode_body(body)))
        except protocol.ProtocolError as error:
            reply = _refusal(str(error))
        del body
        channel.sendall(reply)


def main(arguments: Sequence[str]) -> int:
    """Entry: file descriptor of the channel, state directory, parent's pid, whether to die with its thread."""
    descriptor, state_directory, parent, die_with_parent = arguments
    channel = socket.socket(fileno=int(descriptor))
    try:
        harden(int(parent), die_with_parent=die_with_parent == "1")
        serve(channel, Path(state_directory))
    except OSError:
        return 1
    except Exception as error:  # noqa: BLE001 - the last word goes to the parent, never a traceback to a terminal
        # No key is in a start-up error; while serving, the service answers every error itself.
        text = f"the signer cannot start: {type(error).__name__}: {error}"[:300]
        with contextlib.suppress(OSError):
            channel.sendall(protocol.encode_frame({"id": 0, "ok": False, "error": "fatal", "reason": text}))
        return 1
    finally:
        channel.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
