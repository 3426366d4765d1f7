"""The content of the generated blocks in pages and reports; `lib/evidence/generated.py` describes the mechanism.

Each public function of this module is a block: it takes the records, the language of the page and the arguments of the
call, and returns Markdown.
"""

from lib.evidence import values

STAGES = {
    "Base": "03_baseline",
    "SFT": "10_sft",
    "DPO": "20_dpo",
    "GRPO dense": "30_grpo-dense",
    "GRPO sparse": "30_grpo-sparse",
    "DPO → GRPO dense": "30_grpo-dense-from-dpo",
    "GRPO dense, easy to hard": "30_grpo-dense-easy_to_hard",
}
COLUMNS = ("contests_test.accepted_at_1", "contests_test.exec_success_rate", "humaneval.accepted_at_1")
COLUMNS += ("mbpp.accepted_at_1",)
HEADS = {
    "en": "| stage | contests test | ran to the end | HumanEval-like | MBPP-like |",
    "zh-CN": "| 阶段 | contests test | 运行到结束 | HumanEval-like | MBPP-like |",
}


def main_table(records: values.Records, language: str) -> str:
    """The main table of the README: a row per stage with a link to its run, mean ± standard deviation over seeds."""
    lines = [HEADS[language], "|---|---|---|---|---|"]
    for label, variant in STAGES.items():
        runs = records.named(f"{variant}-s*")
        link = f"[{label}](artifacts/tiny/{runs[0].name}/{runs[0].path.name})"
        form = "mean_sd" if len(runs) > 1 else ".1p"
        cells = [records.show(f"{variant}-s*", column, form) for column in COLUMNS]
        lines.append(f"| {link} | {' | '.join(cells)} |")
    return "\n".join(lines)


def seeds_table(records: values.Records, language: str, metric: str, seeds: str, *rows: str) -> str:
    """A table of single runs with intervals: a column per seed. A row: `LABEL=RUN,RUN`, with `-` for a missing run."""
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in seeds.split(','))} |", f"|{'---|' * (seeds.count(',') + 2)}"]
    for row in rows:
        label, _, runs = row.rpartition("=")
        lines.append(f"| {label} | {' | '.join(_cell(records, run, metric) for run in runs.split(','))} |")
    return "\n".join(lines)


def _cell(records: values.Records, run: str, metric: str) -> str:
    if run in ("", "-"):
        return "not run" if run else ""
    try:
        return records.show(run, metric, "interval")
    except values.RecordError:
        return "–"
