"""Stands for a server of yours: TLS with the certificate in server.pem, which is
read again for each connection. It writes who came to tls-server.log."""
import itertools, os, socketserver, ssl

os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/..")
count = itertools.count(1)


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("server.pem")
        try:
            with context.wrap_socket(self.request, server_side=True):
                with open("tls-server.log", "a") as log:
                    print("handshake", next(count), "with", self.client_address[0], file=log)
        except OSError:
            pass  # the client went away


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


host, port = "127.0.0.1:8443".split(":")
with Server((host, int(port)), Handler) as server:
    server.serve_forever()
