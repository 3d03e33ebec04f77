"""The sentences of `core/why.py`, English and Chinese: one for each cause."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from core.why import Cause

#: Key -> (English, Chinese). A name in braces is a value of the cause; moments are shown in the task's zone.
SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "ran": ("It did run: {state}, due at {scheduled}.", "它运行了：{state}，应在 {scheduled} 运行。"),
    "ran_jitter": (
        "It did run, {seconds} s later: jitter_seconds put it off to {scheduled} ({state}).",
        "它运行了，晚 {seconds} 秒：jitter_seconds 把它推迟到 {scheduled}（{state}）。",
    ),
    "running": ("It is still running; it started at {started}.", "它正在运行，开始于 {started}。"),
    "failed": ("It ran and failed: {error}", "它运行了，但失败了：{error}"),
    "worker_lost": (
        "It started at {started}, and its worker was lost before it ended.",
        "它在 {started} 开始运行，但工作进程在结束前失联。",
    ),
    "cancelled": ("Its run was cancelled: {error}", "这次运行被取消：{error}"),
    "overlap": (
        "It was skipped, since an earlier run of the task was still going on: {error}",
        "被跳过，因为任务的上一次运行还没有结束：{error}",
    ),
    "too_late": (
        "Nobody could fire it in time, and catch_up=none makes up for nothing: {error}",
        "没有及时触发，而 catch_up=none 不补运行：{error}",
    ),
    "replaced": (
        "Nobody could fire it in time, and only the latest of the moments missed was made up for: {error}",
        "没有及时触发，错过的时刻中只补运行最近的一次：{error}",
    ),
    "outside_window": (
        "Nobody could fire it in time, and it was older than catch_up_window_seconds admits: {error}",
        "没有及时触发，且已超过 catch_up_window_seconds：{error}",
    ),
    "skip_missed": (
        "It fell due while no beat ran, and beat was started with --skip-missed.",
        "到期时没有 beat 在运行，而 beat 启动时带了 --skip-missed。",
    ),
    "held_skipped": ("It was skipped by an operator's hold: {error}", "被操作员的暂停令跳过：{error}"),
    "budget": ("It was skipped, since a budget was used up: {error}", "被跳过，因为预算已用完：{error}"),
    "skipped": ("It was skipped: {error}", "被跳过：{error}"),
    "buffered": (
        "Its run waits until an earlier run of the task has ended (overlap).",
        "它在等任务的上一次运行结束（overlap）。",
    ),
    "retrying": ("It has failed and is tried again at {ready}: {error}", "它失败过，将在 {ready} 重试：{error}"),
    "held": ("Its run waits: {error}", "它在等待，被操作员暂停：{error}"),
    "limit": ("Its run waits for a limit: {error}", "它在等待限额：{error}"),
    "budget_waits": ("Its run waits for its budget: {error}", "它在等待预算：{error}"),
    "no_beat": (
        "No beat is alive to fire or send it; the last tick was at {tick}.",
        "没有存活的 beat；最后一次心跳在 {tick}。",
    ),
    "no_worker": (
        "Its run waits in queue {queue}, which no living worker serves.",
        "它在队列 {queue} 中等待，没有存活的工作进程处理该队列。",
    ),
    "queued": (
        "Its run waits in queue {queue} for a free slot; {workers} workers serve it.",
        "它在队列 {queue} 中等待空位；有 {workers} 个工作进程处理该队列。",
    ),
    "created_later": ("The task did not exist yet: it was made at {at}.", "那时还没有这个任务：它建于 {at}。"),
    "deleted": ("The task was deleted at {at} by {actor}.", "任务已在 {at} 被 {actor} 删除。"),
    "disabled": ("The task was switched off then. {reason}", "任务当时已停用。{reason}"),
    "disabled_by": (
        "The task was switched off then: {actor} did that at {at}. {reason}",
        "任务当时已停用：{actor} 在 {at} 停用。{reason}",
    ),
    "broken": ("The row could not run then: {problem}", "那时这一行有错，不能运行：{problem}"),
    "follows": ("It has no moments of its own: it {upstream}.", "它没有自己的时刻：{upstream}。"),
    "before_start": ("Its start_time is {bound}, after that moment.", "它的 start_time 是 {bound}，在那之后。"),
    "after_end": ("Its end_time is {bound}, before that moment.", "它的 end_time 是 {bound}，在那之前。"),
    "max_runs": ("It has made its {max_runs} runs already (max_runs).", "它已经运行了 {max_runs} 次（max_runs）。"),
    "closed": ("{day} is a closed day of the calendar {calendar}.", "{day} 在日历 {calendar} 上休市或放假。"),
    "rolled": (
        "{day} is a closed day of the calendar {calendar}, so it was moved to {to}.",
        "{day} 在日历 {calendar} 上休市或放假，因此移到 {to}。",
    ),
    "outside_session": (
        "That moment is outside the sessions of {calendar}.",
        "那个时刻不在 {calendar} 的交易时段内。",
    ),
    "dst_gap": (
        "That time did not come: the clocks of {zone} were set forward over it (dst_policy {policy}).",
        "那个时间不存在：{zone} 的时钟跳过了它（dst_policy {policy}）。",
    ),
    "edited_later": (
        "Another rule held then, which did not name that moment; {actor} changed it at {at}.",
        "当时是另一条规则，不包含那个时刻；{actor} 在 {at} 改了规则。",
    ),
    "not_a_moment": (
        "That is no moment of its rule; those around it are {before} and {after}.",
        "那不是它规则中的时刻；前后的时刻是 {before} 和 {after}。",
    ),
    "future": ("That moment is still to come: it runs at {at}.", "那个时刻还没到：将在 {at} 运行。"),
    "purged": (
        "The ledger keeps {days} days, so what became of it is no longer known.",
        "台账只保留 {days} 天，所以已经无法得知。",
    ),
    "owed": (
        "It is due and not fired yet: beat is behind, or another session holds the row.",
        "已到期但还没有触发：beat 落后，或另一个会话锁住了这一行。",
    ),
    "no_trace": (
        "The ledger has neither a run nor a reason for that moment; the row may have been changed by hand then.",
        "台账里没有那个时刻的运行，也没有原因；那时这一行可能被手工改过。",
    ),
}


def sentence(cause: Cause, zone: ZoneInfo) -> tuple[str, str]:
    """Say a cause, English and Chinese; moments as the clocks of `zone` show them."""
    english, chinese = SENTENCES[cause.key]
    return _filled(english, cause.values, zone, "never"), _filled(chinese, cause.values, zone, "无")


def _filled(text: str, values: Mapping[str, Any], zone: ZoneInfo, nothing: str) -> str:
    shown = {name: nothing if value is None else _shown(value, zone) for name, value in values.items()}
    return text.format_map({**dict.fromkeys(("at", "actor", "error", "reason"), "?"), **shown}).strip()


def _shown(value: Any, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    return value.isoformat() if isinstance(value, date) else str(value)
