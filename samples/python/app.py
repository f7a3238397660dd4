"""A WSGI app that greets by the hour, or with what the variable GREETING says."""

import datetime
import os
import platform
import signal
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from greeting import greeting


def app(environ, start_response):
    now = datetime.datetime.now(datetime.timezone.utc)
    words = os.environ.get("GREETING") or greeting(now.hour)
    body = f"{words}, hello from Python {platform.python_version()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "8080"))
    print(f"listening on {port}", flush=True)
    make_server("", port, app, server_class=Server).serve_forever()
