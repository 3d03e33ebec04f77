"""Tasks such as packs bring, with the names and arguments that the seeds' APIs start; they answer what they were given.

`TASK_MODULES=tests.acceptance.seed_pack` registers them in the API, in workers and in Python clients.
"""

import time
from typing import Any

from celery import shared_task

from ledger_task import LedgerTask


@shared_task(base=LedgerTask, name="tests.data_tasks.sync_daily_stock_data")
def sync_daily_stock_data(symbols: list[str] | None = None, date: str | None = None) -> dict[str, Any]:
    return {"symbols": symbols, "date": date}


@shared_task(base=LedgerTask, name="tests.analysis_tasks.batch_stock_analysis")
def batch_stock_analysis(symbols: list[str], analysis_config: dict[str, Any]) -> dict[str, Any]:
    return {"symbols": symbols, "config": analysis_config}


@shared_task(base=LedgerTask, name="tests.report_tasks.generate_daily_market_report")
def generate_daily_market_report(date: str | None = None) -> dict[str, Any]:
    return {"date": date}


@shared_task(base=LedgerTask, name="tests.maintenance_tasks.cleanup_old_data")
def cleanup_old_data(days_to_keep: int = 90) -> dict[str, Any]:
    return {"days": days_to_keep}


@shared_task(base=LedgerTask, name="tests.ai_tasks.generate_ai_response", queue="ai_high_priority", time_limit=180)
def generate_ai_response(
    conversation_id: str,
    user_message: str,
    conversation_history: list[dict[str, Any]] | None = None,
    system_prompt: str | None = None,
    temperature: float = 0.7,
    max_tokens: int | None = None,
    user_id: str | None = None,
) -> dict[str, Any]:
    if user_message == "fail":
        raise ValueError("the model said no")
    if user_message.startswith("wait"):
        time.sleep(float(user_message.split()[1]))
    return {"conversation_id": conversation_id, "response": f"{user_message}！", "user_id": user_id}


@shared_task(name="tests.plain")
def plain(number: int) -> int:
    return number + 1
