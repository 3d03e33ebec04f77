"""Plain HTTP: `http` tasks that name a URL, and agents or workflows behind any JSON API.

An `http` task may call only the hosts of HTTP_ALLOWED_HOSTS; agents and workflows only their endpoint's base_url.
A status of 2xx is success unless `error_path` finds an error in the answer. Redirects are refused.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

import httpx

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import failures
from providers.base import CallContext
from providers.content import decode_json, dig, encode_json, excerpt, join_surrogates, json_text, text_of
from providers.http import base_of, exchange, origin, read, request_id
from providers.options import TEXT, Rules, check

_ANSWER_OPTIONS: Final[Rules] = {"result_path": TEXT, "error_path": TEXT}
_REQUEST_OPTIONS: Final[Rules] = {
    "method": frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"}),
    "path": TEXT,
    "body": (dict, list),
}
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
_MISSING: Final = object()

_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_ADDRESSES: Final = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))


class HttpJson:
    """Adapter for everything that has no adapter of its own. Options:

    - `result_path`: where the answer is, such as `data.outputs.text` or `choices.0.text`; default: all of it
    - `error_path`: where an error would be; anything there but null, false, 0, "" and empties is a failure
    - agents and workflows only: `method` (POST), `path` (below the base_url), and `body`, in which a string that is
      exactly `$message`, `$inputs`, `$target`, `$user`, `$conversation_id` or `$run_id` stands for that value. Default:
      `{"agent_id", "message", "user"}` or `{"workflow_id", "inputs", "user"}`.
    """

    name = "http_json"
    kinds = frozenset({"agent", "workflow", "http"})

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        """Raise AgentError CONFIG for an option that such a task does not take."""
        rules = _ANSWER_OPTIONS if kind == "http" else {**_ANSWER_OPTIONS, **_REQUEST_OPTIONS}
        check(options, rules, owner=f"{self.name} ({kind})")

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        """Make one attempt. An empty answer is success for an `http` task, whose result is the status itself."""
        method, url, headers, content = _http(context, request) if request.kind == "http" else _remote(context, request)
        async with exchange(context, request, method, url, headers=headers, content=content) as response:
            text, data = _answer(request, await read(response, context.max_bytes), response, origin(url))
            if not text.strip() and request.kind != "http":
                raise AgentError(ErrorKind.EMPTY, f"{origin(url)} answered {response.status_code} and gave no answer")
            return AgentResult(
                "succeeded",
                text,
                data,
                conversation_id=request.conversation_id,
                http_status=response.status_code,
                request_id=request_id(response, request),
            )

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        """Nothing is known of a remote run here."""
        return False


def check_allowed(url: str, allowed_hosts: Sequence[str]) -> httpx.URL:
    """The parsed URL, if an `http` task may call it. Raises AgentError CONFIG with the reason. Pure.

    An entry is a host (any port), `host:port`, or `*.example.com` for every name below it. Addresses that hand out
    cloud credentials must stand there literally.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise AgentError(ErrorKind.CONFIG, f"this is not a URL: {excerpt(str(url))}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise AgentError(
            ErrorKind.CONFIG, "the url of an http task must begin with http:// or https:// and name a host"
        )
    if parsed.userinfo:
        raise AgentError(ErrorKind.CONFIG, "put credentials into an endpoint or a header, not into the url")
    host = parsed.host.lower().rstrip(".")
    port = parsed.port or {"http": 80, "https": 443}[parsed.scheme]
    entries = {entry.strip().lower() for entry in allowed_hosts}
    spellings = {host, f"[{host}]", parsed.raw_host.decode("ascii").lower()}
    if entries & (spellings | {f"{spelling}:{port}" for spelling in spellings}):
        return parsed
    if _hands_out_credentials(host):
        raise AgentError(
            ErrorKind.CONFIG,
            f"{host} is a link-local or metadata address; it must stand in HTTP_ALLOWED_HOSTS literally",
        )
    if any(entry.startswith("*.") and host.endswith(entry[1:]) for entry in entries):
        return parsed
    listed = ", ".join(sorted(entries)) or "empty"
    raise AgentError(
        ErrorKind.CONFIG, f"{host} is not in HTTP_ALLOWED_HOSTS ({listed}); add it there to allow the call"
    )


def _hands_out_credentials(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in _METADATA_NAMES
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return address.is_link_local or address in _METADATA_ADDRESSES


_Prepared = tuple[str, httpx.URL, Mapping[str, str], bytes | None]


def _http(context: CallContext, request: AgentRequest) -> _Prepared:
    url = check_allowed(request.target, context.allowed_hosts)
    if context.endpoint.api_key and (home := origin(base_of(context.endpoint))) != origin(url):
        raise AgentError(
            ErrorKind.CONFIG,
            f"the key of endpoint {context.endpoint.name!r} belongs to {home}; it is not sent to {origin(url)}",
        )
    method = request.method.upper()
    if request.body is None or (method in _BODILESS and not request.body):
        return method, url, request.headers, None
    typed = any(name.lower() == "content-type" for name in request.headers)
    as_text = isinstance(request.body, str)
    content_type = "text/plain; charset=utf-8" if as_text else "application/json"
    headers = request.headers if typed else {**request.headers, "content-type": content_type}
    return method, url, headers, join_surrogates(request.body).encode() if as_text else encode_json(request.body)


def _remote(context: CallContext, request: AgentRequest) -> _Prepared:
    method = request.options.get("method", "POST")
    url = _below_base(base_of(context.endpoint), request.options.get("path", ""))
    if method in _BODILESS and "body" not in request.options:
        return method, url, {}, None
    values = {
        "$message": request.message,
        "$inputs": dict(request.inputs),
        "$target": request.target,
        "$user": request.user,
        "$conversation_id": request.conversation_id,
        "$run_id": request.run_id,
    }
    default = (
        {"agent_id": "$target", "message": "$message", "user": "$user"}
        if request.kind == "agent"
        else {"workflow_id": "$target", "inputs": "$inputs", "user": "$user"}
    )
    body = _filled(request.options.get("body", default), values)
    return method, url, {"content-type": "application/json"}, encode_json(body)


def _below_base(base: httpx.URL, path: str) -> httpx.URL:
    """The URL of `path`, query included, which can not climb above the endpoint's base_url."""
    if ".." in unquote(path.partition("?")[0]).split("/"):
        raise AgentError(ErrorKind.CONFIG, f"option 'path' must stay below the base_url, not {path!r}")
    if not path:
        return base
    steps, _, query = path.partition("?")
    query = quote(query, safe="=&%+,;:@/?!$'()*~") or base.query.decode()
    return base.copy_with(path=f"{base.path.rstrip('/')}/{steps.lstrip('/')}", query=query.encode() or None)


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    match template:
        case str():
            return values.get(template, template)
        case Mapping():
            return {name: _filled(value, values) for name, value in template.items()}
        case list():
            return [_filled(value, values) for value in template]
        case _:
            return template


def _answer(request: AgentRequest, body: str, response: httpx.Response, source: str) -> tuple[str, Any]:
    """The answer as text and as data. Raises AgentError for an error inside it."""
    data = _parsed(request, body, response, source)
    if fault := dig(data, request.options.get("error_path"), default=None):
        said = (
            fault if isinstance(fault, Mapping) else {"message": fault if isinstance(fault, str) else json_text(fault)}
        )
        raise failures.remote_error(said, json_text(fault), source=source)
    path = request.options.get("result_path")
    found = dig(data, path, default=_MISSING) if path else data
    if found is not _MISSING:
        return text_of(found), found
    if path:
        raise AgentError(
            ErrorKind.PROTOCOL, f"{source}: the answer has nothing at result_path {path!r}; it began: {excerpt(body)}"
        )
    return body.strip(), None


def _parsed(request: AgentRequest, body: str, response: httpx.Response, source: str) -> Any:
    """The body's JSON, or _MISSING where it is text and may be."""
    declared = "json" in response.headers.get("content-type", "").lower()
    required = (declared and request.kind != "http") or not _ANSWER_OPTIONS.keys().isdisjoint(request.options)
    if not body.strip() or not (declared or required or body.lstrip()[0] in '{["'):
        return _MISSING
    try:
        return decode_json(body, source)
    except AgentError:
        if required:
            raise
        return _MISSING
