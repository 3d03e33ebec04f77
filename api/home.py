"""`/`: a page without a token that says what runs here, how it is, and how to ask further. English and Chinese."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.readiness import MENDS, Check, is_ready, verdict
from api.services import Ours

PAGE: Final = Template(Path(__file__).with_name("home.html").read_text(encoding="utf-8"))
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}

ENGLISH: Final[Mapping[str, str]] = {
    "lang": "en",
    "title": "Agent scheduler",
    "summary": "Turns rows of <code>periodic_task</code> into runs, calls agents and workflows when they are due, "
    "and keeps every result in <code>task_run</code>.",
    "checks_title": "Now",
    "ready": "everything works",
    "not ready": "something needs attention",
    "degraded": "held up",
    "ok": "works",
    "failed": "failed",
    "unknown": "unknown",
    "database": "Database",
    "schema": "Schema",
    "broker": "Broker",
    "beat": "Beat",
    "worker": "Workers",
    "locks": "Row locks",
    "queues": "Queues",
    "calendars": "Calendars",
    "ask_title": "Ask",
    "runs": "the latest runs (token)",
    "run": "one run with its answer (token)",
    "tasks": "the tasks (token)",
    "openapi": "this API as an OpenAPI document (token)",
    "health": "these checks as JSON",
    "metrics": "figures for Prometheus",
    "token_title": "A token",
    "token_text": "Ask whoever runs this service. Tokens stand in <code>API_TOKENS</code>, in the environment or in "
    "<code>.env</code>, as <code>token:role</code>, comma-separated; roles are viewer, operator and admin. After "
    "<code>make run</code>, one is in <code>data/embedded/api-token</code>.",
    **{f"mend {name}": mend for name, mend in MENDS.items()},
}
CHINESE: Final[Mapping[str, str]] = {
    "lang": "zh",
    "title": "智能体任务调度器",
    "summary": "把 <code>periodic_task</code> 中的任务按时变成运行，调用智能体和工作流，"
    "结果全部记录在 <code>task_run</code> 中。",
    "checks_title": "当前状态",
    "ready": "一切正常",
    "not ready": "需要处理",
    "degraded": "部分受阻",
    "ok": "正常",
    "failed": "异常",
    "unknown": "未知",
    "database": "数据库",
    "schema": "表结构",
    "broker": "消息队列",
    "beat": "调度进程（Beat）",
    "worker": "工作进程（Worker）",
    "locks": "行锁",
    "queues": "任务队列",
    "calendars": "日历",
    "ask_title": "接口",
    "runs": "最近的运行（需要令牌）",
    "run": "单个运行及其结果（需要令牌）",
    "tasks": "任务列表（需要令牌）",
    "openapi": "本 API 的 OpenAPI 文档（需要令牌）",
    "health": "以上检查的 JSON",
    "metrics": "Prometheus 指标",
    "token_title": "如何取得令牌",
    "token_text": "请向本服务的管理员索取。令牌写在环境变量或 <code>.env</code> 的 <code>API_TOKENS</code> 中，格式为 "
    "<code>令牌:角色</code>，用逗号分隔；角色有 viewer、operator、admin。使用 <code>make run</code> 启动时，"
    "令牌在 <code>data/embedded/api-token</code> 文件中。",
    "mend database": "请启动数据库，或检查 DATABASE_URL。",
    "mend schema": "请执行：make migrate",
    "mend broker": "请启动 Redis 或 Valkey，或检查 CELERY_BROKER_URL、REDIS_URL。在此期间运行会在数据库中等待。",
    "mend beat": "请启动 Beat：python run_beat.py（或 supervisorctl -c supervisord.conf start celery-beat）。"
    "日志在 logs/。",
    "mend worker": "请启动 Worker：python run_worker.py（或 supervisorctl -c supervisord.conf start celery-worker）。"
    "日志在 logs/。",
    "mend locks": "请结束占用行锁的事务（在该会话中 COMMIT 或 ROLLBACK），或 KILL 该会话。详见 /health/ready。",
    "mend queues": "请检查 /health/ready 中列出的 Worker；若没有，请启动一个服务该队列的 Worker。日志在 logs/。",
}
ADDRESSES: Final = {
    "/api/v2/runs?limit=&before=": "runs",
    "/api/v2/runs/{id}": "run",
    "/api/v2/tasks?limit=&after=": "tasks",
    "/openapi.json": "openapi",
    "/health/ready": "health",
    "/metrics": "metrics",
}

router = APIRouter(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
async def home(ours: Ours, request: Request, lang: str = "") -> HTMLResponse:
    """Show the page in the language asked for, else in the browser's."""
    wanted = lang or request.headers.get("accept-language", "")
    words, other = (CHINESE, ENGLISH) if wanted.lower().startswith("zh") else (ENGLISH, CHINESE)
    checks = await ours.readiness.checks()
    page = PAGE.substitute(
        words,
        other_lang=other["lang"],
        other_name="中文" if other is CHINESE else "English",
        standing="ok" if is_ready(checks) else "failed",
        verdict=words[verdict(checks)],
        checks=_rows((words[check.name], _state(check, words)) for check in checks),
        addresses=_rows((f"<code>{escape(path)}</code>", words[key]) for path, key in ADDRESSES.items()),
        base=escape(str(request.base_url).rstrip("/")),
    )
    return HTMLResponse(page, headers=HEADERS)


def _state(check: Check, words: Mapping[str, str]) -> str:
    mend = f" — {escape(words[f'mend {check.name}'])}" if check.mend else ""
    return f'<span class="state {check.state}">{words[check.state]}</span>{mend}'


def _rows(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"<tr><th>{name}</th><td>{told}</td></tr>" for name, told in pairs)
