#!/usr/bin/python3
"""A pointsman plugin in Python: keeps a journal, one line for each delivery.

It needs Debian's python3-grpcio and nothing else. It serves Describe, Configure and Run, without mutual TLS, so
its action says mtls: false. A plugin runs from a copy in memory, so the program has to be one file.
"""

import base64, json, os, signal, sys, threading, zlib
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, message_factory

# The messages of actions/proto, made in that folder with
#   buf build --exclude-source-info -o - | python3 -c 'import sys, zlib, base64; print(base64.b64encode(zlib.compress(sys.stdin.buffer.read(), 9)))'
WIRE = """
eNqlVs1yGkcQ1oIEqBFiNXKcFSnLyjqOXT4skXRJKScESKEkY2pB5VgXallGaMuwS2ZmSXHJxbfkLXLMMY+SZ0gqb5DKMfO3gDC2Dr5Nf/N19/bXPTML71KwP4iiwRCXxy
RiUS++Kfdj4rEgCh2JoKLad5J9+wRyNU1BFmQp9qOwTy3jwHiedhMTPYCN0AsjaqU4vuEq4/SdAbt+NHKWYp4WkogtgbSM60PNGERDLxw4ERnMP5BNx5iW34bRT+HsY8e9
/wzjt1T6vHX6e2r/XDm3tIfzGg+HF4LfEa69jAx1/Oe/6fWcYa3BX0U4GEdByOjIC8ueLwKWJ4d6pXXYnTEcjU8OS/eIZ+9AsYapT4IedvGPMabM/iUF5hyj4yikGCFYD7
0RliJuunIttJ1gQnkwqeGmm5hS9Xg08sjUSqsdbaJnUKSYsSAc0C71b/HIs9Y5Y8vdTuC2RNETKIw94o1mtA1J21KgJp1DPujj0ThiOPSnVoZTto+eOiuEcBpzXnXoUeou
eqLPIdsn0y6JQyvLg+TcDDfdOLR/ALMahTfBICaJQOghZFRcrYa2UAlySRFSkC13ZiMT0v2AaDXE0t6FnYXISmb7jxQAT5tkegz5Ph4GXNZpN+jrdJBAjb4Q2mOM18Fkxo
KbmGK88Tjyb2XKdVcZoo0kHmKpOW+jWC+Us3GnnD3I4QkOmcicUV2UNk8rgoulFGvLVYYIpLpj5SSsLVH7Wzy1NlXtfImOIcuCEY5iZgFH80d7ywfOSc6bmzAXe5S/06N/
DMhL0fSsfoJqx5ChzGMxlbJtH32xcpbakuJqqlSDkIhoVZWBTiBPMOOf4N0wTKS2H60TJLsiyEJJXvGYy6OE15b9MxTajGBvlAzIsehnKO62NI/+eOXXzufJlWT0LWR9L/
TxUIyp8Ntf6VeVHOGd0O0z2JyhnyCzfQPbSR26ZyeQJZjGQ5bUcvDhWpSLmziIPD7B/YDRJI82X/xqgLl88NGX8KhRq79sverUm9U33eplpd3uXjXbrXq1cdao18w1fpIf
vk9pvmrWTYMfi8/e37uovzFT6BHsrXCrdK7cyqWZfnENGTU5vL+o3eH4ct4i5DVeU8l2eMMVcFZpXHJOik+bqaFW3X1ZadabHTN99HcKChUpUxuTSeBj9Jq/gvoWR1+tFH
Pp4i89vYelW3XNhyC5uNBqn+Urs/T1fTQd+3tIy9G6Z5BL904HuhJiixFD9gfO8MI5Kj35KEeFfG58Y5xeXDcGAbuNew7/SyjP3+Tl15mqF7e84tX+Tq0mh3ee+TVr7X96
SMkt
"""
FILES = descriptor_pb2.FileDescriptorSet.FromString(zlib.decompress(base64.b64decode(WIRE)))
MESSAGES = {name.rsplit(".", 1)[1]: cls for name, cls in message_factory.GetMessages(FILES.file).items()}
KEY = 2  # IdempotencyClass: this plugin knows a delivery by its id
DONE, FAILED, PERMANENT = 1, 2, 3  # Status
LIMIT = 16 << 20  # bytes of a message; gRPC's own limit of 4 MiB is too small for a large event


class Journal:
    def __init__(self):
        self.file, self.lock = None, threading.Lock()

    def Describe(self, request, context):
        schema = {"type": "object", "additionalProperties": False}
        return MESSAGES["DescribeResponse"](
            name="journal", version="1.0.0", summary="Write one line for each delivery to a file.",
            settings_schema=json.dumps({**schema, "required": ["file"], "properties": {"file": {"type": "string"}}}).encode(),
            params_schema=json.dumps({**schema, "required": ["text"], "properties": {"text": {"type": "string"}}}).encode(),
            idempotency=KEY, dry_run=True)

    def Configure(self, request, context):
        settings = json.loads(request.settings)
        if list(settings) != ["file"]:  # name settings and never their values: they may be secrets
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the settings are: file")
        self.file = os.path.join(request.dir, settings["file"])
        return MESSAGES["ConfigureResponse"]()

    def Run(self, request, context):
        """Is called by many threads at a time. Longer work has to stop after request.timeout.ToSeconds()."""
        def answer(status, **more):
            return MESSAGES["RunResponse"](delivery_id=request.delivery_id, attempt=request.attempt, status=status, **more)

        params = json.loads(request.params)
        if not isinstance(params, dict) or list(params) != ["text"] or not isinstance(params["text"], str):
            return answer(PERMANENT, error="the parameters are: text, a string")  # trying again cannot help
        line = f"{request.delivery_id} {request.event_id} {params['text']!r}\n"
        if request.dry_run:
            return answer(DONE, output="would write: " + line)
        try:
            with self.lock, open(self.file, "a+", encoding="utf-8") as f:
                f.seek(0)
                # The delivery id is the same for each attempt: a line that a crash left is not written again.
                if any(old.startswith(request.delivery_id + " ") for old in f):
                    return answer(DONE, output="is in the journal already")
                f.write(line)
        except OSError as e:  # a full disk may be emptied: try again, not before 10 seconds are over
            response = answer(FAILED, error=str(e))
            response.retry_after.seconds = 10
            return response
        return answer(DONE, output=line)


def main():
    if os.environ.get("POINTSMAN_PLUGIN") != "pointsman.action.v1":
        sys.exit("This is a plugin of pointsman, which starts it by itself. Try it: pointsman plugins test --no-mtls journal.py")
    journal, calls = Journal(), {}
    for call in ("Describe", "Configure", "Run"):
        calls[call] = grpc.unary_unary_rpc_method_handler(
            getattr(journal, call), MESSAGES[call + "Request"].FromString, MESSAGES[call + "Response"].SerializeToString)
    server = grpc.server(futures.ThreadPoolExecutor(64), options=[
        ("grpc.max_receive_message_length", LIMIT), ("grpc.max_send_message_length", LIMIT)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("pointsman.action.v1.ActionService", calls)])
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "journal")
    server.add_insecure_port("unix:" + socket)
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(30))  # takes no new runs and finishes the open ones
    print(f"1|1|unix|{socket}|grpc", flush=True)
    server.wait_for_termination()


main()
