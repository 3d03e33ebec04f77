"""Start the API: python -m api. It listens on API_HOST:API_PORT."""

import argparse
import ipaddress
import logging
import signal
import socket
import sys
from contextlib import suppress

import uvicorn

import preflight
from api.identities import parse_tokens
from config import Settings, SettingsError, get_settings
from logger import setup_logging

STOP_SECONDS = 5  # for requests under way; supervisor's stopwaitsecs is above it
BACKLOG = 2048

logger = logging.getLogger("api")


def main() -> int:
    """Check settings and database, then serve. The broker may be down: `/health/ready` tells. Exit code 2: refused."""
    argparse.ArgumentParser(prog="python -m api", description="Serve the HTTP API on API_HOST:API_PORT.").parse_args()
    settings = check()
    listener = listen(settings)
    setup_logging("api")
    from api.app import app

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=settings.celery_log_level == "DEBUG",
        ws="none",
        http="h11",  # httptools would save a tenth of a millisecond a request, and hold headers of any length
        loop="asyncio",  # the same wherever it runs; uvloop saves nothing that can be measured here
        server_header=False,
        # From anybody else X-Forwarded-For would choose the address that is throttled.
        proxy_headers=bool(settings.api_trusted_proxies),
        forwarded_allow_ips=list(settings.api_trusted_proxies),
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    logger.info("the API listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again once it has stopped
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def check() -> Settings:
    """Return the settings, or end the process with one clear line."""
    try:
        settings = get_settings()
        grants = parse_tokens(settings.api_tokens.get_secret_value())
    except SettingsError as error:
        preflight.fail(str(error))
    for notice in settings.notices():
        logging.getLogger("config").warning(notice)
    if not grants and not is_loopback(settings.api_host):
        preflight.fail(
            f"API_HOST={settings.api_host} opens the API to the network, and API_TOKENS is empty: "
            "set API_TOKENS=<token>:<role>, or API_HOST=127.0.0.1"
        )
    preflight.check_database(settings)
    return settings


def is_loopback(host: str) -> bool:
    """True for what this machine alone can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(settings: Settings) -> socket.socket:
    """Take the port, or end the process and say who may have it."""
    host, port = settings.api_host, settings.api_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        preflight.fail(f"API_HOST={host} API_PORT={port} cannot be listened on: {error.strerror}; set another API_PORT")
    # Connections inherit it; asyncio sets it only where the protocol is named, and without it each answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


if __name__ == "__main__":
    sys.exit(main())
