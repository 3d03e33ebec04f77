"""The assistant pack's two schedules."""

from typing import Final

from packs.schedule import Schedule

TASKS: Final = "packs.assistant.ai_tasks"

SCHEDULES: Final = (
    Schedule(
        entry="cleanup-expired-results",
        task=f"{TASKS}.cleanup_expired_results",
        crontab="0 2 * * *",
        queue="default",
        description="Delete what is older than RUN_RETENTION_DAYS / 清理过期的任务结果",
    ),
    Schedule(
        entry="check-task-health",
        task=f"{TASKS}.check_task_health",
        crontab="*/30 * * * *",
        queue="default",
        timeout=120,
        max_retries=0,
        catch_up="none",
        description="Broker, database, beats, workers, queues and recent runs / 检查任务健康状态",
    ),
)
