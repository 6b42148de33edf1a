"""A Remote-Write receiver that verifies signatures with botocore, and moto with authentication on.

It prints one JSON object a line: first where both listen and what moto knows, then what became of
each request. The keys that it takes are those in KEYS, and those of the roles that moto's security
token service has given out."""

import calendar
import http.server
import json
import os
import re
import sys
import threading
import time

import boto3
import moto.settings
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

KEYS = json.loads(os.environ["KEYS"])
REGION = "eu-central-1"
SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
)


def say(**what):
    print(json.dumps(what), flush=True)


def keys_of(access_key):
    """The secret key, the token, and the role's session of an access key."""
    if access_key in KEYS:
        return KEYS[access_key]["secret"], KEYS[access_key].get("token"), None
    for partitions in sts_backends.values():
        for backend in partitions.values():
            for role in backend.assumed_roles:
                if role.access_key_id == access_key:
                    session = f"{role.role_arn} {role.session_name} {role.external_id}"
                    return role.secret_access_key, role.session_token, session
    raise ValueError("unknown key")


def verify(request, body):
    """Computes the signature again, of what has come in. Gives who signed."""
    found = SIGNATURE.fullmatch(request.headers["Authorization"] or "")
    if not found:
        raise ValueError("no signature")
    access_key, day, region, service, names, signature = found.groups()
    if (region, service) != (REGION, "aps"):
        raise ValueError(f"signed for {region}, {service}")
    names = names.split(";")
    secret, token, session = keys_of(access_key)
    required = ["host", "x-amz-date"] + (["x-amz-security-token"] if token else [])
    if names != required:
        raise ValueError(f"signed headers {names}")
    if request.headers.get("X-Amz-Security-Token") != token:
        raise ValueError("another token")
    stamp = request.headers["X-Amz-Date"]
    signed_at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    if not stamp.startswith(day) or abs(time.time() - signed_at) > 300:
        raise ValueError("Signature expired")
    again = AWSRequest(
        method=request.command,
        url=f"http://{request.headers['Host']}{request.path}",
        data=body,
        headers={name: request.headers[name] for name in names},
    )
    again.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(access_key, secret, token), service, region)
    to_sign = signer.string_to_sign(again, signer.canonical_request(again))
    if signer.signature(to_sign, again) != signature:
        raise ValueError("another signature")
    return {"key": access_key, "session": session}


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, answer = 204, b""
            say(path=self.path, **verify(self, body))
        except ValueError as error:
            status, answer = 403, str(error).encode()
            say(path=self.path, refused=str(error))
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def client(service, endpoint):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    endpoint = "http://%s:%s" % server.get_host_and_port()
    iam = client("iam", endpoint)
    anything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [anything]})
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    iam.create_user(UserName="weir")
    iam.put_user_policy(UserName="weir", PolicyName="all", PolicyDocument=policy)
    keys = iam.create_access_key(UserName="weir")["AccessKey"]
    role = iam.create_role(
        RoleName="metrics",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]
    tables = client("dynamodb", endpoint)
    tables.create_table(
        TableName="vehicles",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    item = {"id": {"S": "V1"}, "model": {"S": "Helion"}}
    tables.put_item(TableName="vehicles", Item=item)
    moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    say(
        receiver=receiver.server_address[1],
        moto=endpoint,
        key=keys["AccessKeyId"],
        secret=keys["SecretAccessKey"],
        role=role["Arn"],
    )
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
