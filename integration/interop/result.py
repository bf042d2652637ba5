"""An attestation result read by other people's code: PyJWT, cbor2 and
cryptography.

Reads a JSON object from standard input:
  key   the result key (PEM), as result.pub.pem has it
  jwt   the EAR as a JWT
  cwt   the EAR as a CWT, in hex

Verifies both and prints what they say as JSON. Exit code 1 and a word on
standard error where a signature does not verify.
"""

import json
import sys

import cbor2
import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

ALGORITHMS = {-7: "ES256", -9: "ESP256"}


def open_cwt(key, data):
    item = cbor2.loads(data)
    if item.tag != 18:
        sys.exit("cwt: not a COSE_Sign1")
    protected, unprotected, payload, signature = item.value
    if unprotected:
        sys.exit("cwt: unprotected header")
    header = cbor2.loads(protected)
    # RFC 9052 4.4
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = signature[:32], signature[32:]
    der = utils.encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    try:
        key.verify(der, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        sys.exit("cwt: the signature does not verify")
    return {"alg": ALGORITHMS[header[1]], "kid": header[4].hex()}, cbor2.loads(payload)


def plain(value):
    """For JSON: bytes in hex, keys as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def main():
    ask = json.load(sys.stdin)
    key = serialization.load_pem_public_key(ask["key"].encode())
    try:
        claims = jwt.decode(
            ask["jwt"], ask["key"], algorithms=["ES256"], options={"require": ["exp", "iat"]}
        )
    except jwt.InvalidTokenError as error:
        sys.exit(f"jwt: {error}")
    header, payload = open_cwt(key, bytes.fromhex(ask["cwt"]))
    print(
        json.dumps(
            {
                "jwt": {"header": jwt.get_unverified_header(ask["jwt"]), "claims": claims},
                "cwt": {"header": header, "claims": plain(payload)},
            }
        )
    )


main()
