"""A client process: asks one thing again and again, a connection a request, and prints how often it was answered.

    python -m tests.benchmarks.reader SOCKET LINE BEGIN SECONDS

Begins at the monotonic time BEGIN, so that several processes begin together.
"""

import socket
import sys
import time


def main() -> None:
    """Ask until the time is over."""
    path, line, begin, seconds = sys.argv[1], sys.argv[2].encode() + b"\n", float(sys.argv[3]), float(sys.argv[4])
    time.sleep(max(0.0, begin - time.monotonic()))
    end = begin + seconds
    answers = 0
    while time.monotonic() < end:
        answers += _ask(path, line)
    sys.stdout.write(f"{answers}\n")


def _ask(path: str, line: bytes) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(line)
        answer = connection.recv(1 << 20)
        while not answer.endswith(b"\n"):
            answer = connection.recv(1 << 20)
    return 1


if __name__ == "__main__":
    main()
