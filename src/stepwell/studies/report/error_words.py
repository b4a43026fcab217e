"""What the part of the report about errors says, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from stepwell.studies.report.bilingual import Words, filled


def say(name: str, values: Mapping[str, object] | None = None) -> Words:
    """The wording of that name with its values filled in; a value may be `Words` itself."""
    return filled(ERROR_WORDS[name], values)


ERROR_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Right and wrong", "对与错"),
    "lead": (
        "All {n} validation examples, as the best model of this run answers them.",
        "全部 {n} 个验证样本，由本次运行的最佳模型作答。",
    ),
    "lead some": (
        "{m} of the {n} validation examples were answered by the best model of this run; those are shown.",
        "{n}个验证样本中的 {m} 个由本次运行的最佳模型作答，以下为这些样本。",
    ),
    "classes": ("Label by label", "逐标签"),
    "types": ("Type by type", "逐类型"),
    "classes lead": (
        "The hardest first. Precision is the share of its choices that are right, recall the share of the right ones "
        "that were found, F1 their harmonic mean with its 95 % interval.",
        "最难的排在最前。精确率是所选中正确的占比，召回率是应选中被找到的占比，F1 是两者的调和平均及其 95 % 区间。",
    ),
    "label": ("Label", "标签"),
    "type": ("Type", "类型"),
    "examples": ("Examples", "样本数"),
    "f1": ("F1", "F1"),
    "precision": ("Precision", "精确率"),
    "recall": ("Recall", "召回率"),
    "to": ("{low} to {high}", "{low} 至 {high}"),
    "matrix": ("What is taken for what", "混淆情况"),
    "matrix lead": (
        "A row is what is right, a column what was answered; the stronger the colour, the larger the share of its row.",
        "行是正确标签，列是模型的回答；颜色越浓，占该行的比例越大。",
    ),
    "right is": ("right", "正确"),
    "pairs": ("Commonest mistakes", "最常见的错误"),
    "taken for": ("{true} taken for {chosen}", "{true} 被当作 {chosen}"),
    "missed": ("{true} missed", "{true} 漏掉"),
    "made up": ("{chosen} found where there is none", "把普通文字当作 {chosen}"),
    "times": ("Times", "次数"),
    "share of true": ("Of its kind", "占该类"),
    "mistake": ("Mistake", "错误"),
    "calibration": ("Are its probabilities honest?", "概率是否可信？"),
    "calibration lead": (
        "Answers by how sure the model was, and how many of them were right. A dot on the line is honest, one below it "
        "is too sure of itself; the larger it is, the more answers it stands for.",
        "按模型的把握分组，看其中答对多少。点在线上表示可信，在线下表示过于自信；点越大，代表的回答越多。",
    ),
    "calibration error": ("On average it is off by {value}.", "平均偏差 {value}。"),
    "accuracy of": ("share that was right", "答对的占比"),
    "confidence": ("how sure the model was", "模型的把握"),
    "parts": ("Parts of the data, by {metric}", "各部分数据的{metric}"),
    "by length": ("By length", "按长度"),
    "by language": ("By language", "按语言"),
    "by source": ("By source", "按来源"),
    "part": ("Part", "部分"),
    "value": ("Value", "数值"),
    "characters": ("{low} to {high} characters", "{low} 至 {high} 个字符"),
    "lengths": ("Length of answers, as a share of the right ones", "回答长度与参考长度之比"),
    "length whole": ("All together", "总体"),
    "length median": ("Median", "中位数"),
    "length low": ("A tenth is shorter than", "十分之一短于"),
    "length high": ("A tenth is longer than", "十分之一长于"),
    "worst": ("Worst examples", "最差的样本"),
    "worst lead": (
        "Where the model does worst, by {metric}. Look here first: some are hard, "
        "and some have a wrong answer in the data.",
        "按{metric}排列的最差样本。先看这里：有些确实难，有些是数据本身标错了。",
    ),
    "drawn": ("Other examples", "其他样本"),
    "drawn lead": ("Spread evenly over the rest.", "从其余样本中均匀抽取。"),
    "text": ("text", "文本"),
    "right": ("right", "正确"),
    "said": ("answered", "回答"),
    "found": ("found", "识别"),
    "passage": ("passage", "原文片段"),
    "worse": ("worse", "较差"),
    "probability": ("probability", "概率"),
    "all rows": ("They are in answers.jsonl of the run.", "逐条结果见运行目录中的 answers.jsonl。"),
}
