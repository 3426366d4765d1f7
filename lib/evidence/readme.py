"""Contents of the generated blocks in README.md and README.zh-CN.md: results, conclusions, state of the evidence.

Every figure is read from the record of one run, the report over the whole matrix (REPORT).
"""

from typing import Any

from lib.evidence.committed import Committed
from lib.evidence.stale import Staleness
from lib.evidence.values import RecordError, Records
from lib.runs.fingerprint import upstream_names

REPORT = "90_report-matrix-s0"
SETS = {"contests_test": "`contests_test`", "humaneval": "`humaneval` (HumanEval-like)", "mbpp": "`mbpp` (MBPP-like)"}
RUNS = {  # row of the report -> the runs that it is made from
    "Base": "03_baseline-s0",
    "SFT": "10_sft-s*",
    "SFT, best of n": "12_best_of_n-s*",
    "DPO": "20_dpo-s*",
    "DPO, flywheel": "20_dpo-flywheel-s*",
    "GRPO dense": "30_grpo-dense-s*",
    "GRPO sparse": "30_grpo-sparse-s*",
    "DPO → GRPO dense": "30_grpo-dense-from-dpo-s*",
    "GRPO dense, easy to hard": "30_grpo-dense-easy_to_hard-s*",
    "GRPO dense, continued": "30_grpo-dense-continued-s*",
    "GRPO dense → repair, round 1": "40_repair-s*",
    "GRPO dense → repair": "40_repair-s*",
}
TEXTS: dict[str, dict[str, Any]] = {
    "en": {
        "head": "| method | {sets} | seeds | command |",
        "note": "Accepted programs in percent, mean ± standard deviation over the seeds; {counts}. One program per "
        "problem, decoded greedily; best of n submits one of several samples, repair the program of its last "
        "round.{oracle}",
        "oracle": " † selected with the same tests that are used for scoring, so the figure is an upper bound.",
        "count": "{n} problems of `{name}`",
        "methods": {
            "DPO, flywheel": "DPO from the same SFT policy with more pairs: programs that the finished DPO run writes "
            "for train problems and that end in a syntax error or a timeout are further rejected answers.",
            "GRPO dense": "the reward is the share of the tests passed; sparse: 1 if every test passes, else 0.",
            "GRPO dense, easy to hard": "the training problems are ordered by difficulty.",
            "GRPO dense, continued": "the control of repair, GRPO dense trained further without feedback, for at least "
            "as many tokens and minutes as the training for repair.",
        },
        "stale": "**This evidence is stale**: {stale} of {all} runs were executed by earlier commits ({commits}). "
        "Code, parameters or data have changed since; the figures are those of these commits.",
        "fresh": "All {all} runs were executed with the present code, parameters and data.",
    },
    "zh-CN": {
        "head": "| 方法 | {sets} | 种子数 | 命令 |",
        "note": "通过的程序所占百分比，各种子的均值 ± 标准差；{counts}。每题一个贪心解码的程序；"
        "best of n 从多个采样中选一个提交，repair 计最后一轮的程序。{oracle}",
        "oracle": "† 选择时使用的正是评分用的测试，因此该数字是上界。",
        "count": "`{name}` {n} 题",
        "methods": {
            "DPO, flywheel": "从同一个 SFT 策略开始的 DPO，但偏好对更多："
            "已完成的 DPO 运行在训练题上写出的语法错误或超时的程序，也作为被拒绝的答案。",
            "GRPO dense": "奖励是通过的测试所占的比例；sparse：全部测试通过为 1，否则为 0。",
            "GRPO dense, easy to hard": "训练题按难度从易到难排列。",
            "GRPO dense, continued": "修复的对照：GRPO dense 在没有反馈的情况下继续训练，"
            "所用 token 和时间不少于修复训练。",
        },
        "stale": "**这些证据已过期**：{all} 次运行中有 {stale} 次由较早的提交（{commits}）执行。"
        "此后代码、参数或数据有改动；数字属于这些提交。",
        "fresh": "全部 {all} 次运行都由当前的代码、参数和数据得出。",
        "compared": "{b} 对比 {a}：{points:+.1f} 个百分点，95% 区间 [{low:+.1f}, {high:+.1f}]，"
        "{problems} 题，{seeds} 个种子；{reading}。",
        "excludes": "区间不含 0",
        "contains": "区间含 0",
        "verdicts": {"better": "更好", "worse": "更差", "equal": "相当", "open": "未定", "mixed": "矛盾"},
        "verdict": "；结论：{verdict}",
        "quoted": "报告原句：“{sentence}”",
    },
}


def results(records: Records, language: str) -> str:
    """The table (method, figures, command that makes it), what the figures are, and what methods are."""
    text, rows = TEXTS[language], records.named(REPORT)[0].metrics["rows"]
    ordered = [*(row for row in RUNS if row in rows), *(row for row in rows if row not in RUNS)]
    lines = [text["head"].format(sets=" | ".join(SETS.values())), f"|{'---|' * (len(SETS) + 3)}"]
    for row in ordered:
        cells = [_share(rows[row].get(name)) for name in SETS]
        seeds = max(measured["seeds"] for measured in rows[row].values())
        lines.append(f"| {_linked(row, records)} | {' | '.join(cells)} | {seeds} | {_command(row)} |")
    counts = {name: {row[name]["n"] for row in rows.values() if name in row} for name in SETS}
    listed = [text["count"].format(n=" / ".join(map(str, sorted(counts[name]))), name=name) for name in SETS]
    chosen = any(measured.get("oracle") for row in rows.values() for measured in row.values())
    joined = (", " if language == "en" else "，").join(listed)
    explained = [f"- {row}: {what}" for row, what in text["methods"].items() if row in rows]
    note = text["note"].format(counts=joined, oracle=text["oracle"] if chosen else "")
    return "\n".join([*lines, "", note, *([""] if explained else []), *explained])


def conclusions(records: Records, language: str) -> str:
    """A list with an item for each planned comparison: the report's sentence, or its figures in Chinese."""
    text, report = TEXTS[language], records.named(REPORT)[0].metrics
    items = []
    for name, sentence in sorted(report["conclusions"].items(), key=lambda item: _place(item[0])):
        compared = report["comparisons"].get(name)
        if language == "en":
            items.append(f"- {sentence}")
        elif compared:
            reading = text["excludes" if compared["low"] > 0 or compared["high"] < 0 else "contains"]
            if "verdict" in compared:
                reading += text["verdict"].format(verdict=text["verdicts"][compared["verdict"]])
            figures = {key: compared[key] for key in ("a", "b", "points", "low", "high", "problems")}
            items.append("- " + text["compared"].format(**figures, seeds=len(compared["by_seed"]), reading=reading))
        else:
            items.append("- " + text["quoted"].format(sentence=sentence))
    return "\n".join(items)


def state(records: Records, language: str) -> str:
    """Whether the report and the runs that it reads were executed with the present code, and by which commits."""
    text, report = TEXTS[language], records.named(REPORT)[0]
    executed = [
        report,
        *(run for name in sorted(upstream_names(report.info["parameters"])) for run in _runs(records, name)),
    ]
    stale = Staleness({(run.preset, run.name): run for run in executed})
    old = [run for run in executed if stale.of(run)]
    commits = ", ".join(sorted({f"`{(run.info['commit'] or 'no commit')[:8]}`" for run in old}))
    return text["stale" if old else "fresh"].format(stale=len(old), all=len(executed), commits=commits)


def _share(measured: dict | None) -> str:
    if measured is None:
        return "–"
    deviation = measured.get("accepted_at_1_sd")
    spread = f" ± {100 * deviation:.1f}" if deviation is not None and measured["seeds"] > 1 else ""
    return f"{100 * measured['accepted_at_1']:.1f}{spread}{' †' if measured.get('oracle') else ''}"


def _place(comparison: str) -> int:
    """The place of "row against control" in the order of the table."""
    row = comparison.partition(" against ")[0]
    return list(RUNS).index(row) if row in RUNS else len(RUNS)


def _linked(row: str, records: Records) -> str:
    runs = _runs(records, RUNS[row]) if row in RUNS else []
    return f"[{row}](artifacts/{runs[0].preset}/{runs[0].name}/{runs[0].path.name})" if runs else row


def _runs(records: Records, pattern: str) -> list[Committed]:
    try:
        return records.named(pattern)
    except RecordError:
        return []


def _command(row: str) -> str:
    return f"`make matrix PATTERN='{RUNS[row]}'`" if row in RUNS else "–"
