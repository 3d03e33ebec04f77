"""DingTalk, Feishu and WeCom as their robots answer, behind a proxy: a client that honours HTTPS_PROXY meets them.

Their hosts stand fixed in every client, so the proxy ends the tunnel itself, with a certificate of a CA of its own
(REQUESTS_CA_BUNDLE). They answer HTTP 200 to what they refuse, as the real ones do.
"""

import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN: Final = "a1b2c3d4e5f60718"  # of DingTalk and Feishu
SECRET: Final = "SEC9876543210fedcba"
KEY: Final = "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"
HOSTS: Final = ("oapi.dingtalk.com", "open.feishu.cn", "qyapi.weixin.qq.com")


@dataclass
class Heard:
    """A message that a robot took or refused."""

    host: str
    text: str
    answer: dict[str, Any]


def dingtalk(path: str, body: dict[str, Any], keyword: str) -> tuple[str, dict[str, Any]]:
    query = parse_qs(urlsplit(path).query)
    text = body["text"]["content"]
    if query.get("access_token") != [TOKEN]:
        return text, {"errcode": 300005, "errmsg": "token is not exist"}
    stamp = query.get("timestamp", [""])[0]
    mac = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    # What the plugin quotes, requests quotes once more.
    if base64.b64encode(mac).decode() not in (query.get("sign", [""])[0], _unquoted(query.get("sign", [""])[0])):
        return text, {"errcode": 310000, "errmsg": "sign not match"}
    if keyword not in text:
        return text, {"errcode": 310000, "errmsg": "keywords not in content"}
    return text, {"errcode": 0, "errmsg": "ok"}


def _unquoted(text: str) -> str:
    return parse_qs(f"x={text}").get("x", [""])[0]


def feishu(path: str, body: dict[str, Any], keyword: str) -> tuple[str, dict[str, Any]]:
    text = body["content"]["text"]
    if urlsplit(path).path.rstrip("/").rpartition("/")[2] != TOKEN:
        return text, {"code": 19001, "msg": "param invalid: incoming webhook access token invalid", "data": {}}
    if keyword not in text:
        return text, {"code": 19024, "msg": "Key Words Not Found", "data": {}}
    return text, {"code": 0, "msg": "success", "data": {}, "StatusCode": 0, "StatusMessage": "success"}


def wecom(path: str, body: dict[str, Any], keyword: str) -> tuple[str, dict[str, Any]]:
    text = body["text"]["content"]
    if parse_qs(urlsplit(path).query).get("key") != [KEY]:
        return text, {"errcode": 93000, "errmsg": "invalid webhook url, hint: [1700000000]"}
    if len(text.encode()) > 2048:
        return text, {"errcode": 40058, "errmsg": "text.content exceed max length 2048"}
    if keyword not in text:
        return text, {"errcode": 45009, "errmsg": "api freq out of limit"}
    return text, {"errcode": 0, "errmsg": "ok"}


ROBOTS: Final[dict[str, Callable[[str, dict[str, Any], str], tuple[str, dict[str, Any]]]]] = dict(
    zip(HOSTS, (dingtalk, feishu, wecom), strict=True)
)


@dataclass
class Robots:
    """The proxy. `keyword`: what a text must hold to be taken; `stalls`: answer nothing at all."""

    folder: Path
    keyword: str = ""
    stalls: bool = False
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._make_certificates()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        proxy = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        names = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
        return {**names, "REQUESTS_CA_BUNDLE": str(self.folder / "ca.pem")}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError):
            host = _head(client).split(" ")[1].partition(":")[0]
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if self.stalls:
                client.recv(1)
                threading.Event().wait(60)
            with self._context.wrap_socket(client, server_side=True) as secure:
                head = _head(secure)
                length = int(
                    next(line for line in head.lower().split("\r\n") if "content-length" in line).split(":")[1]
                )
                body = b""
                while len(body) < length:
                    body += secure.recv(65536)
                text, answer = ROBOTS[host](head.split(" ")[1], json.loads(body), self.keyword)
                self.heard.append(Heard(host, text, answer))
                said = json.dumps(answer).encode()
                secure.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(said), said)
                )

    def _make_certificates(self) -> None:
        now = dt.datetime.now(dt.UTC)
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "robots of a test")])
        spans = {"not_valid_before": now - dt.timedelta(days=1), "not_valid_after": now + dt.timedelta(days=1)}

        def builder(name: x509.Name, public: Any) -> x509.CertificateBuilder:
            made = x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(public)
            made = made.serial_number(x509.random_serial_number())
            return made.not_valid_before(spans["not_valid_before"]).not_valid_after(spans["not_valid_after"])

        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        ca = (
            builder(ca_name, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        names = [x509.DNSName(host) for host in HOSTS] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        leaf = (
            builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "robots")]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (self.folder / "ca.pem").write_bytes(ca.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / "leaf.pem").write_bytes(leaf.public_bytes(pem) + private)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.folder / "leaf.pem")


def _head(stream: socket.socket) -> str:
    """Read up to the empty line, byte by byte: what follows belongs to somebody else."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise OSError("the client went away")
        found += byte
    return found.decode()
