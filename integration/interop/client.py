#!/usr/bin/python3
"""A Holdfast client made from the .proto files and grpcio alone.

Reads a JSON object from standard input:
  proto        folder that holds holdfast/v1/*.proto
  work         an empty folder for the generated modules
  address      host:port of the verifier
  server_name  the name in its certificate
  server_ca    path of the CA certificate (PEM) to trust
  challenge    RequestChallengeRequest, field by field; bytes in hex

Completes RequestChallenge, then sends an Enroll that answers the challenge
with an invented secret. Prints what came back as JSON.
"""

import json
import pathlib
import subprocess
import sys

import grpc


def generate(proto, work):
    """Message classes, by protoc; stubs are grpc's generic calls."""
    files = sorted(str(path) for path in pathlib.Path(proto).glob("holdfast/v1/*.proto"))
    subprocess.run(["protoc", f"--proto_path={proto}", f"--python_out={work}", *files], check=True)
    sys.path.insert(0, work)
    from holdfast.v1 import enrollment_pb2

    return enrollment_pb2


def main():
    ask = json.load(sys.stdin)
    pb = generate(ask["proto"], ask["work"])
    credentials = grpc.ssl_channel_credentials(pathlib.Path(ask["server_ca"]).read_bytes())
    options = [("grpc.ssl_target_name_override", ask["server_name"])]
    with grpc.secure_channel(ask["address"], credentials, options) as channel:

        def call(method, request, response):
            send = channel.unary_unary(
                f"/holdfast.v1.Enrollment/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )
            return send(request, timeout=20)

        fields = ask["challenge"]
        keys = {name: bytes.fromhex(fields[name]) for name in ("ek_public", "ak_public", "ldevid_public")}
        chain = [bytes.fromhex(der) for der in fields["ek_certificate_chain"]]
        challenge = call(
            "RequestChallenge",
            pb.RequestChallengeRequest(
                **keys, ek_certificate_chain=chain, join_token=bytes.fromhex(fields["join_token"])
            ),
            pb.RequestChallengeResponse,
        )
        answer = {
            "challenge": {
                "nonce": challenge.nonce.hex(),
                "credential_blob": len(challenge.credential_blob),
                "encrypted_secret": len(challenge.encrypted_secret),
                "hash_alg": challenge.pcr_selection.hash_alg,
                "pcr_indices": list(challenge.pcr_selection.pcr_indices),
                "token": len(challenge.token),
                "expires": challenge.expires,
            }
        }
        bad = pb.EnrollRequest(
            **keys, ek_certificate_chain=chain, token=challenge.token, activated_secret=bytes(32)
        )
        try:
            call("Enroll", bad, pb.EnrollResponse)
        except grpc.RpcError as refusal:
            answer["enroll"] = {
                "code": refusal.code().name,
                "details": refusal.details(),
                "metadata": {key: str(value) for key, value in refusal.trailing_metadata() or ()},
            }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
