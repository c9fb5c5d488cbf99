"""Starts the signer process. Nothing else is in here, and nothing heavy is imported: it runs before the first frame.

`tui.vault.client` speaks with what is started here.
"""

from __future__ import annotations

import os
import site
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tui.vault.signer_child import main; sys.exit(main(sys.argv[2:]))"
)


class SignerProcess:
    """A signer that runs, and our end of the pipe to it. Without a client nobody speaks to it.

    `again` starts another like it, None where nobody said how.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        again: Callable[[], SignerProcess] | None = None,
    ) -> None:
        self.process = process
        self.channel = channel
        self.again = again

    def close(self) -> None:
        """End the process, with the key in it. Never raises; may be called again."""
        self.channel.close()
        try:
            # The end of the pipe ends it at once, unless it derives a key just now.
            self.process.wait(timeout=0.25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_signer(state_directory: Path) -> SignerProcess:
    """Start the signer process and return at once; call it before the app takes the terminal, from the main thread.

    The process dies with this one, also by SIGKILL. (Started from another thread it ends with the pipe only, since
    the kernel would otherwise kill it when that thread ends.) Raises OSError if it cannot be started.
    """
    mine, theirs = socket.socketpair()
    from_main = threading.current_thread() is threading.main_thread()
    root = str(Path(__file__).resolve().parents[2])
    command = [*_interpreter(), "-c", _BOOTSTRAP, root, str(theirs.fileno()), str(state_directory.absolute())]
    try:
        process = subprocess.Popen(
            [*command, str(os.getpid()), "1" if from_main else "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        mine.close()
        raise
    finally:
        theirs.close()
    mine.setblocking(False)
    return SignerProcess(process, mine, lambda: start_signer(state_directory))


def _environment() -> dict[str, str]:
    """Nothing of ours is inherited: no secret, no proxy, no loader or Python setting can reach the signer."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


def _interpreter() -> list[str]:
    """Isolated from environment and working directory; the user's own packages only where this program is one."""
    package = Path(__file__).resolve()
    own = site.getusersitepackages()
    lone = [] if package.is_relative_to(Path(own).resolve()) else ["-s"]
    return [sys.executable, "-E", "-P", "-B", *lone]
