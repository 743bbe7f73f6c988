"""A service that is ready, and then sends each datagram it is given to its notify socket, descriptors and all."""

import os
import socket
import sys

heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind(sys.argv[1])
speak = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
speak.connect(os.environ["NOTIFY_SOCKET"])
speak.send(b"READY=1")
while True:
    data, fds, _, sender = socket.recv_fds(heard, 1 << 17, 253)
    try:
        if fds:
            socket.send_fds(speak, [data], fds)
        else:
            speak.send(data)
    except OSError:
        pass  # too long for a datagram
    for fd in fds:
        os.close(fd)
    if sender:
        heard.sendto(b"", sender)
