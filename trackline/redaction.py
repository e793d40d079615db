"""Secrets kept out of what is printed: passwords in addresses, tokens, and what the environment holds."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

HIDDEN = "[hidden]"
SECRET_NAMES = re.compile(
    r"SECRET|PASSWORD|PASSWD|TOKEN(?!IZERS)|CREDENTIAL|PRIVATE_KEY|API_KEY|ACCESS_KEY", re.I
)
SECRET_TEXTS = (
    re.compile(r"(?<=//)[^/@\s'\"]*:[^/@\s'\"]*@()"),  # user:password@ in an address
    re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|access_token|sig)=)[^&\s'\"]+"),
    re.compile(
        r"(Authorization['\"]?\s*[:=]\s*['\"]?(?:Bearer|Basic|AWS4-HMAC-SHA256)\s+)[^'\"\n]+", re.I
    ),
    re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(
        r"()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S
    ),
)


def redact(text: str) -> str:
    """Replace every secret in a text: those of the environment by value, the others by their form."""
    for secret in find_secrets():
        text = text.replace(secret, HIDDEN)
    text = SECRET_TEXTS[0].sub("", text)
    for pattern in SECRET_TEXTS[1:]:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def find_secrets() -> list[str]:
    """The values of environment variables with names like AWS_SECRET_ACCESS_KEY, the longest first."""
    values = {value for name, value in os.environ.items() if SECRET_NAMES.search(name)}
    # what is shorter than eight characters would hide ordinary words, and paths name a file, no secret
    return sorted((v for v in values if len(v) >= 8 and "/" not in v[:1]), key=len, reverse=True)


class RedactedStream:
    """A text stream that writes without secrets; in all else the stream it wraps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redacted_output() -> Iterator[None]:
    """Hide secrets in all that is printed, logged or raised until the end of the block."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = RedactedStream(out), RedactedStream(err)
    sys.excepthook = _print_exception
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def _print_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
