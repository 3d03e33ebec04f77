"""Words of the market and what they weigh, on VADER's scale of -4 to 4: general dictionaries lack them."""

from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


def _weighed(**groups: str) -> dict[str, float]:
    weights = {"strong": 3.0, "plain": 2.0, "slight": 1.0}
    found = {}
    for group, words in groups.items():
        direction, _, strength = group.partition("_")
        for word in _words(words):
            found[word] = weights[strength] * (1 if direction == "up" else -1)
    return found


CHINESE: Final = _weighed(
    up_strong="涨停 暴涨 大涨 飙升 创新高 历史新高 翻倍 暴增 大增 扭亏为盈 扭亏 井喷 超预期 牛市 封板",
    up_plain=(
        "上涨 上升 走高 走强 拉升 反弹 回升 攀升 增长 增加 提升 改善 盈利 获利 利好 看好 看多 增持 买入 回购 "
        "分红 派息 突破 新高 领涨 强劲 景气 复苏 回暖 中标 签约 获批 受益 优于 高增长 净流入 加仓 上调 预增 "
        "升级 突出 稳健 领先 龙头 热销 畅销 丰收 涨幅 普涨 大单"
    ),
    up_slight="涨 增 升 企稳 平稳 稳定 稳步 积极 乐观 合作 推进 支持 鼓励 机会 机遇 创新 扩产 投产 达成 通过 微涨",
    down_strong=(
        "跌停 暴跌 大跌 崩盘 闪崩 暴雷 爆雷 违约 破产 退市 造假 欺诈 立案 立案调查 熊市 腰斩 巨亏 爆仓 清盘 "
        "资不抵债 跳水 血洗"
    ),
    down_plain=(
        "下跌 下滑 走低 走弱 回落 下降 下挫 减少 亏损 预亏 预减 利空 看空 减持 抛售 卖出 领跌 疲软 低迷 衰退 "
        "萎缩 恶化 处罚 罚款 警示 问询 诉讼 违规 违法 调查 冻结 质押 风险 危机 失败 终止 延期 下调 裁员 停产 "
        "召回 事故 净流出 跌幅 普跌 新低 被查 失信 逾期 减值 套现 拖欠 承压 不及预期 恐慌 制裁"
    ),
    down_slight="跌 降 减 缩水 放缓 震荡 波动 担忧 谨慎 悲观 压力 不确定 观望 微跌 亏 缺口 争议 质疑",
)
NEGATIONS: Final = frozenset(_words("不 没 没有 未 未能 无 无法 并非 并未 尚未 不会 不再 难以 否认 避免 防止 缺乏"))
DEGREES: Final = {
    **dict.fromkeys(_words("大幅 显著 明显 严重 急剧 持续 全面 强势 极 极其 非常 十分 异常 剧烈 加速 大规模"), 1.5),
    **dict.fromkeys(_words("小幅 略 略有 稍 稍微 轻微 有所 温和 微幅 逐步"), 0.6),
}
ENGLISH: Final = _weighed(
    up_strong="soar soars soared soaring surge surges surged surging skyrocket skyrockets skyrocketed bullish",
    up_plain=(
        "rally rallies rallied rallying upgrade upgrades upgraded outperform outperforms outperformed beat beats "
        "rebound rebounds rebounded jump jumps jumped climb climbs climbed gain gains gained buyback dividend "
        "profitable tops topped rise rises rose rising"
    ),
    up_slight="growth grow grows grew expand expands expanded recover recovers recovered overweight",
    down_strong=(
        "plunge plunges plunged plunging crash crashes crashed plummet plummets plummeted bankruptcy bankrupt "
        "default defaults defaulted fraud delisted delisting bearish"
    ),
    down_plain=(
        "slump slumps slumped tumble tumbles tumbled downgrade downgrades downgraded underperform underperforms "
        "miss misses missed selloff layoffs lawsuit probe recall recalls recalled fall falls fell falling drop drops "
        "dropped decline declines declined slide slides slid writedown impairment loss losses"
    ),
    down_slight="slow slows slowed slowdown volatile volatility weak weaker weakness underweight concern concerns",
)
