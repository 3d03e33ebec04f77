"""Flower's own configuration file: `celery -A tasks.celery_app flower` reads it from the working directory.

Without options Flower would listen on every address with no password. Here it listens on this machine only;
`--address` (or FLOWER_ADDRESS) opens it, and then a password that is none of the usual ones is required. Without a
password Flower shows everything and changes nothing: its REST API answers 401.
"""

import ipaddress
import sys
from typing import Final, NoReturn

from tornado.options import options

from config import SettingsError, get_settings

USUAL_PASSWORDS: Final = {"admin", "admin123", "changeme", "flower", "password", "123456", "12345678"}
SHORTEST_PASSWORD: Final = 8


def is_local(host: str) -> bool:
    """True for localhost and loopback addresses; an empty address means all of them."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_easy(password: str, user: str) -> bool:
    """True for what is tried first by whoever finds the port."""
    return len(password) < SHORTEST_PASSWORD or password.lower() in {*USUAL_PASSWORDS, user.lower()}


def refuse(message: str) -> NoReturn:
    """End Flower as the preflight of the other programs does: one line, exit code 2."""
    sys.stderr.write(f"{message}\n")
    raise SystemExit(2)


try:
    settings = get_settings()
except SettingsError as error:
    refuse(str(error))

# Flower takes the names below (and only those that are its options) as its settings.
port = settings.flower_port
address = options.address or "127.0.0.1"
password = settings.flower_password.get_secret_value()
if password:
    basic_auth = [f"{settings.flower_user}:{password}"]
if not is_local(address):
    if not (password or options.basic_auth or options.auth):
        refuse(f"Flower would be open to everybody on {address}: set FLOWER_PASSWORD, or leave --address out")
    if password and is_easy(password, settings.flower_user):
        refuse(f"FLOWER_PASSWORD is easy to guess, and {address} is open: use {SHORTEST_PASSWORD} or more characters")
