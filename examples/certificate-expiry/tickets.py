"""Stands for your ticket system: takes a ticket when its signature is right, and
takes none twice. The signature is that of https://www.standardwebhooks.com.
Tickets are written to tickets.log."""
import base64, hashlib, hmac, http.server, json, os, time

os.chdir(os.path.dirname(os.path.abspath(__file__)))
KEY = base64.b64decode(open("ticket-secret").read().strip().removeprefix("whsec_"))
tickets = {}  # by the id of the request, which is the same for every attempt


def signed(headers, body):
    id, at = headers.get("Webhook-Id", ""), headers.get("Webhook-Timestamp", "")
    if not at.isdigit() or abs(time.time() - int(at)) > 300:
        return False  # an old request, sent again
    mac = hmac.new(KEY, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    want = "v1," + base64.b64encode(mac).decode()
    return any(hmac.compare_digest(want, s) for s in headers.get("Webhook-Signature", "").split(" "))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not signed(self.headers, body):
            return self.answer(401, {"error": "the signature is wrong"})
        id = self.headers["Webhook-Id"]
        if id not in tickets:
            tickets[id] = f"NET-{len(tickets) + 1}"
            ticket = json.loads(body)
            with open("tickets.log", "a") as log:
                print(tickets[id], ticket["priority"] + ":", ticket["title"], file=log)
        self.answer(201, {"ticket": tickets[id]})

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


host, port = "127.0.0.1:9080".split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
