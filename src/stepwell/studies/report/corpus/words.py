"""What the page of a corpus says, in English and in Chinese.

Both languages go into the page, and a switch shows one of them. This file leaves out names of steps and of what they
find (names.py), and what both kinds of page say (`report/words.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from stepwell.studies.report import words
from stepwell.studies.report.words import Words, filled


def say(name: str, values: Mapping[str, object] | None = None) -> Words:
    """A wording of this page, or of every page."""
    return filled(WORDS[name], values) if name in WORDS else words.say(name, values)


WORDS: dict[str, tuple[str, str]] = {
    "corpus": ("Corpus", "语料"),
    "heading": ("{bytes} of text in {documents} documents", "{documents} 篇文档，共 {bytes} 文本"),
    "heading one": ("{bytes} of text in one document", "1 篇文档，共 {bytes} 文本"),
    "heading none": ("No text was left", "没有留下任何文本"),
    "title": ("{bytes} of text · stepwell", "{bytes} 文本 · stepwell"),
    "is in": ("Its languages: {languages}.", "语言：{languages}。"),
    "share of language": ("{language} {share}", "{language} {share}"),
    "dropped most": (
        "The steps dropped {n} documents, most of them for one reason: {reason} ({count}, {step}).",
        "各步骤共去掉 {n} 篇文档，最主要的原因是：{reason}（{step}，{count} 篇）。",
    ),
    "dropped nothing": ("No step dropped a document.", "没有任何步骤去掉文档。"),
    "has problems": ("Problems while reading: {n}; they stand at the end.", "读取时有 {n} 个问题，列在文末。"),
    "dropped": ("Dropped", "去掉"),
    "changed texts": ("Texts changed", "改动的文本"),
    "by all steps": ("by all steps together", "各步骤合计"),
    "bytes a character": ("{n} bytes each", "每字符 {n} 字节"),
    "left out of": ("{share} of what came", "占输入的 {share}"),
    "train text": ("Training text", "训练文本"),
    "in documents": ("{n} documents", "{n} 篇文档"),
    "steps": ("What each step did", "各步骤做了什么"),
    "steps lead": (
        "From above to below, the way of the text. The bar is what went on, beside the most that there ever was. Time "
        "is work, summed over the workers; speed is that of one worker.",
        "自上而下为文本经过的步骤。条形为留下的文本，以各步骤中的最大值为准。时间为各工作进程之和，速度为单个进程的速度。",
    ),
    "step": ("Step", "步骤"),
    "left": ("Went on", "留下"),
    "came": ("Came", "输入"),
    "time and speed": ("Time", "用时"),
    "a second": ("{n}/s", "{n}/秒"),
    "changes": ("Changed", "改动"),
    "reasons": ("What was dropped, and why", "去掉了什么，为什么"),
    "reasons lead": (
        "Each reason with some of the documents that it took, in the order of the corpus; only their beginnings.",
        "每个原因附若干被去掉的文档（按语料顺序，仅开头部分）。",
    ),
    "unmasked": (
        "What steps before protect show is as it came, with personal data; put protect before them to have it masked.",
        "隐私保护之前的步骤所显示的文本未经打码，可能含个人信息；把 protect 放在它们之前即可打码。",
    ),
    "no reasons": ("Nothing was dropped.", "没有去掉任何文档。"),
    "examples": ("{n} of {count} shown", "显示 {count} 篇中的 {n} 篇"),
    "documents it touched": ("Documents that it dropped or changed", "去掉或改动的文档"),
    "rows": ("{n} rows", "{n} 行"),
    "in all": ("In all", "合计"),
    "sizes": ("Sizes", "规模"),
    "mean size": ("Mean size", "平均大小"),
    "languages lead": (
        "By bytes, measured passage by passage on a sample of up to 500 documents.",
        "按字节计，在至多 500 篇文档的样本上逐段识别。",
    ),
    "no languages": ("No language could be told.", "无法识别语言。"),
    "lengths": ("How long documents are", "文档长度"),
    "lengths lead": (
        "Documents after cutting, all splits together; each bar is {ratio} times as long as the one before it.",
        "切分之后的文档，各划分合计；每一条的长度是前一条的 {ratio} 倍。",
    ),
    "lengths alike": ("Documents after cutting, all splits together.", "切分之后的文档，各划分合计。"),
    "median": ("Median", "中位数"),
    "middle": ("Nine of ten between", "九成介于"),
    "largest": ("Largest", "最大"),
    "document count": ("documents", "文档数"),
    "duplicates section": ("Duplicates", "重复"),
    "no duplicates step": (
        "Only whole documents of the same text were looked for. The steps duplicates and near_duplicates look for "
        "same paragraphs and lines, and for texts that are almost the same.",
        "只查找了全文相同的文档。步骤 duplicates 与 near_duplicates 可查找相同的段落和行，以及几乎相同的文本。",
    ),
    "leakage": ("Leakage", "泄漏"),
    "no leakage step": (
        "Not looked for: the recipe has no step decontaminate. No document stands in two splits, but a passage may.",
        "未查找：配方中没有步骤 decontaminate。没有文档同属两个划分，但其中的段落可能同时出现。",
    ),
    "no leak": ("Looked for, and none found.", "已查找，未发现。"),
    "personal": ("Personal data", "个人信息"),
    "no personal step": (
        "Not looked for: the recipe has no step protect.",
        "未查找：配方中没有步骤 protect。",
    ),
    "no personal found": ("Looked for, and none found.", "已查找，未发现。"),
    "other findings": ("What else the steps found", "各步骤的其他发现"),
    "step dropped": ("Dropped by {step}", "{step}：去掉"),
    "frequent": ("Frequent words", "高频词"),
    "frequent lead": (
        "In {bytes} of training text{part}. The number is the share of all words of the list.",
        "统计 {bytes} 训练文本{part}。数字为在该列表全部词中的占比。",
    ),
    "a sample": (", a sample spread evenly over it", "（均匀抽样）"),
    "no words": ("The training text has no words.", "训练文本中没有词。"),
    "other words": ("Words in letters", "字母文字的词"),
    "chinese words": ("Chinese words", "中文词"),
    "chinese characters": (
        "Chinese characters (words need the library rjieba)",
        "汉字（分词需要 rjieba 库）",
    ),
    "same lines": ("Lines that stand in several documents", "在多篇文档中出现的行"),
    "vocabulary fit": ("How the vocabulary fits", "词表是否合适"),
    "no tokenizer": (
        "Not measured: no tokenizer was given. A run trains one, and its report shows how it fits.",
        "未测量：没有给出分词器。运行时会训练分词器，其报告会显示是否合适。",
    ),
    "fit lead": (
        "Counted in {bytes} of training text{part}. More bytes per token is shorter rows; entries that are hardly ever "
        "seen can hardly be learned.",
        "统计 {bytes} 训练文本{part}。每词元字节数越高，序列越短；几乎不出现的词元很难学好。",
    ),
    "tokens in all": ("Tokens", "词元数"),
    "entries": ("Entries of more than one byte", "多于一字节的词元"),
    "unseen": ("of these never seen", "其中从未出现"),
    "rare": ("of these seen fewer than 10 times", "其中出现不足 10 次"),
    "half": ("Entries that are half of the text", "覆盖一半文本的词元"),
    "bytes per token of": ("Bytes per token, {name}", "每词元字节数（{name}）"),
    "frequent tokens": ("Most frequent tokens", "高频词元"),
    "long tokens": ("Longest tokens", "最长的词元"),
    "labels": ("Labels", "标签"),
    "no labels": (
        "No column of labels: the recipe names none under data.columns, or their values are too many to be classes.",
        "没有标签列：配方的 data.columns 没有列出，或取值太多，不像类别。",
    ),
    "other columns": ("Other columns whose values are few", "其他取值较少的列"),
    "label column": ("Column {name}", "列 {name}"),
    "classes": ("{n} classes; {most} has {ratio} times the documents of {least}.",
                "{n} 个类别；“{most}”的文档数是“{least}”的 {ratio} 倍。"),
    "class": ("Class", "类别"),
    "problems lead": ("What was skipped, replaced or not understood.", "跳过、替换或无法理解的内容。"),
    "footer": (
        "Made by stepwell from the prepared text {key}. Every number was counted in it.",
        "由 stepwell 根据已准备的文本 {key} 生成。所有数字均由此统计。",
    ),
}  # fmt: skip
