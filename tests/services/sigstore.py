"""A stand-in for Sigstore on loopback: its certificate authority and its two logs, without a login.

The real one signs for whoever an OpenID provider vouches for, which a test is not. Everything that a
client checks is there and right: certificates, the certificate log's time stamp, inclusion proofs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")


class Key:
    """A key of the authority or of a log."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.public = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.id = hashlib.sha256(self.public).digest()

    def sign(self, content: bytes) -> bytes:
        return self.private.sign(content, ec.ECDSA(hashes.SHA256()))

    def describe(self, address: str) -> dict[str, Any]:
        """The key as a log in a file of trusted keys."""
        key = {"rawBytes": encode(self.public), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
        return {
            "baseUrl": address,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {**key, "validFor": {"start": "2020-01-01T00:00:00Z"}},
            "logId": {"keyId": encode(self.id)},
        }


class Sigstore:
    """The keys, and the answers that are signed with them."""

    def __init__(self) -> None:
        self.authority, self.certificates, self.entries = Key(), Key(), Key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self.root = (
            self._begin(name, self.authority.private.public_key(), days=1)
            .subject_name(name)
            .add_extension(basic, critical=True)
            .add_extension(_usage(key_cert_sign=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.authority.private.public_key()),
                critical=False,
            )
            .sign(self.authority.private, hashes.SHA256())
        )

    def certify(self, request: dict[str, Any], token: str) -> dict[str, Any]:
        """A certificate for the bearer of a token, with the time stamp of the certificates' log."""
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        builder = (
            self._begin(self.root.subject, csr.public_key(), days=0.01)
            .subject_name(x509.Name([]))
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self.authority.private.public_key()
                ),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(claims["sub"])]),
                critical=True,
            )
            .add_extension(
                x509.UnrecognizedExtension(ISSUER, claims["iss"].encode()), critical=False
            )
        )
        before = builder.sign(self.authority.private, hashes.SHA256()).tbs_certificate_bytes
        stamped = builder.add_extension(
            x509.UnrecognizedExtension(TIMESTAMPS, self._stamp(before)), critical=False
        ).sign(self.authority.private, hashes.SHA256())
        chain = [c.public_bytes(Encoding.PEM).decode() for c in (stamped, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def record(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Enter a signature into the log of signatures, which has no other entry."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = hashlib.sha256(base64.b64decode(envelope["payload"])).hexdigest()
        whole = hashlib.sha256(content["envelope"].encode()).hexdigest()
        signed = {
            "signature": envelope["signatures"][0]["sig"],
            "verifier": content["verifiers"][0],
        }
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": whole},
            "payloadHash": {"algorithm": "sha256", "value": payload},
            "signatures": [signed],
        }
        body = canonise({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"stand-in\n1\n{encode(root)}\n"
        mark = encode(self.entries.id[:4] + self.entries.sign(note.encode()))
        entry = {
            "body": encode(body),
            "integratedTime": int(time.time()),
            "logID": self.entries.id.hex(),
            "logIndex": 0,
        }
        proof = {
            "checkpoint": f"{note}\n— stand-in {mark}\n",
            "hashes": [],
            "logIndex": 0,
            "rootHash": root.hex(),
            "treeSize": 1,
        }
        promise = encode(self.entries.sign(canonise(entry)))
        verification = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {"0" * 64: {**entry, "verification": verification}}

    def describe(self, address: str) -> dict[str, Any]:
        """The file that tells clients addresses and keys."""
        valid = {"start": "2020-01-01T00:00:00Z"}
        service = {"url": address, "majorApiVersion": 1, "validFor": valid, "operator": "test"}
        kind = "application/vnd.dev.sigstore"
        return {
            "mediaType": f"{kind}.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": f"{kind}.trustedroot+json;version=0.1",
                "tlogs": [self.entries.describe(address)],
                "ctlogs": [self.certificates.describe(address)],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "test", "commonName": "stand-in"},
                        "uri": address,
                        "certChain": {
                            "certificates": [
                                {"rawBytes": encode(self.root.public_bytes(Encoding.DER))}
                            ]
                        },
                        "validFor": valid,
                    }
                ],
            },
            "signingConfig": {
                "mediaType": f"{kind}.signingconfig.v0.2+json",
                "caUrls": [service],
                "oidcUrls": [service],
                "rekorTlogUrls": [service],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def _begin(self, issuer: x509.Name, key: Any, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=days))
        )

    def _stamp(self, certificate: bytes) -> bytes:
        """RFC 6962's list of one signed time stamp for a certificate without it."""
        now = struct.pack("!Q", int(time.time()) * 1000)
        issuer = hashlib.sha256(self.authority.public).digest()
        entry = issuer + struct.pack("!I", len(certificate))[1:] + certificate
        signature = self.certificates.sign(b"\0\0" + now + b"\0\1" + entry + b"\0\0")
        stamp = b"\0" + self.certificates.id + now + b"\0\0" + b"\4\3" + _measure(signature)
        listed = _measure(_measure(stamp))
        return b"\4" + bytes([len(listed)]) + listed


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def canonise(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def make_token(identity: str, issuer: str) -> str:
    """What an OpenID provider would say of somebody; the stand-in believes it unsigned."""
    now = int(time.time())
    claims = {"iss": issuer, "sub": identity, "aud": "sigstore", "iat": now, "exp": now + 600}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims, {}]
    return ".".join(base64.urlsafe_b64encode(canonise(p)).decode().rstrip("=") for p in parts)


@contextmanager
def running_sigstore(folder: Path) -> Iterator[Path]:
    """The file that names the stand-in's addresses and keys."""
    sigstore = Sigstore()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """What an OpenID provider says of itself, which clients ask though they have a token."""
            self.answer({"authorization_endpoint": self.path, "token_endpoint": self.path})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("signingCert"):
                token = self.headers["Authorization"].removeprefix("Bearer ")
                self.answer(sigstore.certify(request, token))
            else:
                self.answer(sigstore.record(request))

        def answer(self, content: dict[str, Any]) -> None:
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = folder / "sigstore.json"
    file.write_text(json.dumps(sigstore.describe(f"http://127.0.0.1:{server.server_port}")))
    yield file
    server.shutdown()
    server.server_close()


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def _measure(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content
