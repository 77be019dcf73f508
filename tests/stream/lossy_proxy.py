import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class LossyProxy:
    """A proxy before Redis that can drop the answer to one append and cut the connection."""

    def __init__(self, redis_url: str):
        redis = urlsplit(redis_url)
        self._target = (redis.hostname, redis.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = redis_url.replace(f":{redis.port}/", f":{self._listener.getsockname()[1]}/")
        self.lost = 0
        self._lose = False
        self._lost_on: socket.socket | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_next_answer(self) -> None:
        self._lose = True

    def refuse_connections(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept, as close does not
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for pump in (self._pass_requests, self._pass_answers):
                threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while request := client.recv(65536):
                if self._lose and b"EVALSHA" in request:
                    self._lose, self._lost_on = False, client
                server.sendall(request)
        server.close()

    def _pass_answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while answer := server.recv(65536):
                if self._lost_on is client:
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)
