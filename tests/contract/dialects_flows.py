"""What n8n, Flowise and NexusAI say. Pure."""

import json
from typing import Any

from tests.contract.fake_dialects import (
    ANSWER,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Answer,
    content_of,
    json_answer,
    prepared,
    stopped,
)

EXECUTION = 231
FLOWISE_ACTION = {"id": "a-1", "mapping": {"approve": "Proceed", "reject": "Reject"}, "data": {"input": "批准吗？"}}
WAITS_AT = {"waits_at": "AI"}
NEXUS_ACTION = [{"node_id": "n-2", "node_name": "审批", "outputs": {"draft": "…"}, "human_confirm_info": None}]


def n8n(body: dict[str, Any], fault: str) -> Answer:
    """A webhook that responds when its last node has finished."""
    error = {"error": {"message": "下游失败"}}
    return json_answer(error if fault == "error_in_200" else {"output": content_of(fault)}, fault)


def n8n_stream(body: dict[str, Any], fault: str) -> Answer:
    """A webhook that streams: JSON objects, one a line."""

    def line(kind: str, **more: Any) -> bytes:
        return (json.dumps({"type": kind, **more, "metadata": {"nodeName": "AI"}}, ensure_ascii=False) + "\n").encode()

    pieces = {"list": [content_of("list")], "empty": [""]}.get(fault, [ANSWER[:3], ANSWER[3:]])
    items = [line("item", content=piece) for piece in pieces]
    frames = {
        "error_in_200": [line("begin"), *items, line("error", content="下游失败"), line("end")],
        "no_json": [b"{oops\n", *items, line("end")],
        "wrong_shape": [b'{"type": 7}\n'],
    }
    return Answer("application/json; charset=utf-8", frames.get(fault, [line("begin"), *items, line("end")]))


def n8n_started(body: dict[str, Any], fault: str) -> Answer:
    """A webhook that responds at once, and names its execution."""
    return json_answer({"executionId": EXECUTION}, "ok")


def n8n_execution(body: dict[str, Any], fault: str) -> Answer:
    """`GET /api/v1/executions/{id}`, with its data."""
    execution: dict[str, Any] = {"id": EXECUTION, "status": "success", "finished": True, "waitTill": None}
    data: dict[str, Any] = {"lastNodeExecuted": "AI", "runData": {}}
    match fault:
        case "error_in_200":
            execution["status"] = "error"
            data["error"] = {"message": "下游失败", "name": "NodeApiError"}
        case "requires_action":
            execution |= {"status": "waiting", "finished": False, "waitTill": "3000-01-01T00:00:00.000Z"}
        case _:
            data["runData"] = {"AI": [{"data": {"main": [[{"json": {"output": content_of(fault)}}]]}}]}
    return json_answer({**execution, "data": {"resultData": data}}, fault)


def flowise(body: dict[str, Any], fault: str) -> Answer:
    """A prediction, as a stream or whole."""
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "total_tokens": 18}
    executed = [{"nodeLabel": "LLM", "data": {"output": {"content": ANSWER, "usageMetadata": usage}}}]
    if not body["streaming"]:
        whole = {"text": content_of(fault), "question": "写日报", "chatId": "c", "agentFlowExecutedData": executed}
        if fault == "requires_action":
            whole |= {"text": "", "action": FLOWISE_ACTION}
        failed = {"statusCode": 500, "success": False, "message": "模型崩溃", "stack": {}}
        return json_answer(failed if fault == "error_in_200" else whole, fault)

    def frame(event: str, data: Any) -> bytes:
        return f"message:\ndata:{json.dumps({'event': event, 'data': data}, ensure_ascii=False)}\n\n".encode()

    pieces = {"empty": [""]}.get(fault, [ANSWER[:3], ANSWER[3:]])
    start = [b"message\n\n", frame("start", ""), *(frame("token", piece) for piece in pieces)]
    ending = [frame("metadata", {"chatId": "c"}), frame("usageMetadata", usage), frame("end", "[DONE]")]
    frames = {
        "error_in_200": [*start, frame("error", "模型崩溃"), *ending],
        "requires_action": [frame("start", ""), frame("action", FLOWISE_ACTION), *ending],
        "no_json": [*start, b"message:\ndata:{oops\n\n", *ending],
        "wrong_shape": [*start, b"message:\ndata:[1, 2]\n\n", *ending],
    }
    return Answer("text/event-stream; charset=utf-8", frames.get(fault, [*start, *ending]))


def nexus(data: Any, fault: str) -> Answer:
    return json_answer({"code": 0, "detail": "success", "data": data}, fault)


def nexus_app(body: dict[str, Any], fault: str) -> Answer:
    """`POST /v1/app-api/{id}/run`."""
    if fault == "error_in_200":
        return json_answer({"code": 1, "detail": "模型崩溃", "data": {}}, fault)
    return nexus({"text": content_of(fault)}, fault)


def nexus_login(body: dict[str, Any], fault: str) -> Answer:
    """`POST /v1/auth/login`."""
    return prepared({"access_token": "eyJhbGciOi.J1aWQiOjF9.c2lnbmVk", "token_type": "bearer"})


def nexus_run(body: dict[str, Any], fault: str) -> Answer:
    """`POST /v1/workflow/run`."""
    return nexus({"app_id": body["app_id"], "workflow_id": 7, "app_run_id": 1042}, "ok")


def nexus_log(body: dict[str, Any], fault: str) -> Answer:
    """`POST /v1/workspace/workspace_workflow_log_info`."""
    tokens = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": 18}
    run: dict[str, Any] = {"app_run_id": 1042, "need_human_confirm": 0, "error": None, **tokens}
    nodes: list[dict[str, Any]] = [{"node_id": "n-1", "node_type": "start", "outputs": {"day": "今天"}}]
    match fault:
        case "error_in_200":
            run |= {"status": 3, "error": "模型崩溃", "need_human_confirm": 1, "finished_time": None}
        case "requires_action":
            run |= {"status": 1, "need_human_confirm": 1, "finished_time": None}
            nodes.append({**NEXUS_ACTION[0], "node_type": "human", "need_human_confirm": 1})
        case _:
            run |= {"status": 2, "finished_time": "2026-01-05T08:00:00"}
            nodes.append({"node_id": "n-3", "node_type": "end", "outputs": {"report": content_of(fault)}})
    return nexus({"list": nodes, "app_run_data": [run]}, fault)


DIALECTS = {
    "/n8n/webhook/daily-report": n8n,
    "/n8n/webhook-test/daily-report": n8n_stream,
    "/n8n-poll/webhook/daily-report": n8n_started,
    "/n8n-poll/api/v1/executions/[0-9]+": n8n_execution,
    "/n8n-poll/api/v1/executions/[0-9]+/stop": stopped,
    "/api/v1/prediction/daily-report": flowise,
    "/api/v1/chatmessage/abort/[^/]+/[^/]+": stopped,
    "/v1/app-api/daily-report/run": nexus_app,
    "/v1/auth/login": nexus_login,
    "/v1/workflow/run": nexus_run,
    "/v1/workspace/workspace_workflow_log_info": nexus_log,
}
