"""Names of steps, and of what they drop, change and find, as people use them in English and in Chinese.

One that this file does not know is shown as the step wrote it, with blanks for underscores; so a new step needs no row
here to be readable. This file leaves out the sentences of the page (words.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stepwell.studies.report.names import LANGUAGES
from stepwell.studies.report.words import Words, same

_IDENTIFIER = re.compile("[a-z][a-z0-9_]*")


def step_words(kind: str) -> Words:
    """A step as a person would call it."""
    return STEPS.get(kind) or named(kind)


def named(name: str) -> Words:
    """A reason, a change or a finding as a person would call it."""
    if name in NAMES:
        return NAMES[name]
    for pattern, words in PATTERNS.items():
        if found := re.fullmatch(pattern, name):
            return words(found.group(1))
    plain = name.replace("_", " ") if _IDENTIFIER.fullmatch(name) else name  # a key may be text of the corpus
    return same(clip(plain, 200))


def clip(text: str, letters: int = 400) -> str:
    """A text of bearable length."""
    return text if len(text) <= letters else text[:letters] + " …"


def language_words(code: str) -> Words:
    """A language by its code."""
    return LANGUAGES.get(code, same(clip(code, 40)))


def _in_language(code: str) -> Words:
    language = language_words(code)
    return Words(f"documents in {language.en}", f"{language.zh}文档")


_LEVELS = {"documents": "文档", "paragraphs": "段落", "lines": "行"}

PATTERNS: dict[str, Callable[[str], Words]] = {
    r"documents_in_([a-z]{2,3}|other)": _in_language,
    r"top_(\d+)_gram": lambda n: Words(f"one {n}-gram too often", f"同一 {n} 元组过多"),
    r"duplicate_(\d+)_grams": lambda n: Words(f"repeated {n}-grams", f"重复的 {n} 元组"),
    r"repeated_(documents|paragraphs|lines)": lambda level: Words(f"repeated {level}", f"重复的{_LEVELS[level]}"),
    r"(documents|paragraphs|lines)_cut": lambda level: Words(f"{level} cut out", f"剪去的{_LEVELS[level]}"),
}
"""Names that are made of parts."""

STEPS = {
    "read": Words("read", "读取"),
    "clean": Words("clean", "清洗"),
    "boilerplate": Words("boilerplate", "样板行"),
    "language": Words("language", "语言"),
    "protect": Words("protect", "隐私保护"),
    "quality": Words("quality", "质量"),
    "judge": Words("judge", "质量分类器"),
    "duplicates": Words("duplicates", "精确去重"),
    "near_duplicates": Words("near duplicates", "近似去重"),
    "semantic_duplicates": Words("semantic duplicates", "语义去重"),
    "perplexity": Words("perplexity", "困惑度"),
    "selection": Words("selection", "选择"),
    "cut": Words("cut and split", "切分与划分"),
    "same_pieces": Words("same pieces", "相同片段"),
    "decontaminate": Words("decontaminate", "去污染"),
    "labels": Words("labels", "标签"),
    "augment": Words("augment", "增强"),
    "resample": Words("resample", "重采样"),
    "mix": Words("mix", "混合"),
    "order": Words("order", "排序"),
    "annotate": Words("annotate", "标注"),
}

NAMES = {
    # Dropped
    "empty": Words("empty", "空文本"),
    "same_text": Words("same text as one before", "与之前的文本相同"),
    "same_document": Words("same document as one before", "与之前的文档相同"),
    "only_repeated": Words("nothing but repeated parts", "只有重复内容"),
    "near_duplicate": Words("near duplicate", "近似重复"),
    "says_the_same": Words("says the same", "语义重复"),
    "cosine_percentiles": Words(
        "cosine with the nearest text before it, percentiles", "与此前最近文本的余弦（百分位）"
    ),
    "leak": Words("holds held-out text", "含有留出文本"),
    "only_boilerplate": Words("nothing but boilerplate", "只有样板行"),
    "other_language": Words("other language", "其他语言"),
    "unclear_language": Words("unclear language", "语言不明"),
    "too_short_for_language": Words("too short to tell the language", "太短，无法判断语言"),
    "page_not_readable": Words("page that could not be read", "无法读取的网页"),
    "left_out_of_mixture": Words("left out of the mixture", "混合时舍去"),
    "far_from_target": Words("far from the target", "远离目标文本"),
    "hard_to_predict": Words("hard to predict", "难以预测"),
    "easy_to_predict": Words("easy to predict", "过于容易预测"),
    "no_label": Words("no label", "没有标签"),
    "label_suspect": Words("label in doubt", "标签可疑"),
    "too_few_words": Words("too few words", "词太少"),
    "too_many_words": Words("too many words", "词太多"),
    "short_words": Words("short words", "词太短"),
    "long_words": Words("long words", "词太长"),
    "too_many_hashes": Words("too many hashes", "井号太多"),
    "too_many_ellipses": Words("too many ellipses", "省略号太多"),
    "too_many_bullet_lines": Words("too many bullet lines", "项目符号行太多"),
    "too_many_ellipsis_lines": Words("too many lines with ellipses", "以省略号结尾的行太多"),
    "too_few_alphabetic_words": Words("too few words with letters", "含字母的词太少"),
    "too_few_stop_words": Words("too few stop words", "虚词太少"),
    "duplicate_lines": Words("repeated lines", "重复行"),
    "duplicate_paragraphs": Words("repeated paragraphs", "重复段落"),
    "duplicate_line_characters": Words("much text in repeated lines", "重复行占比过高"),
    "duplicate_paragraph_characters": Words("much text in repeated paragraphs", "重复段落占比过高"),
    "duplicate_ngrams": Words("repeated n-grams", "重复的 n 元组"),
    "top_ngram": Words("one n-gram too often", "同一 n 元组过多"),
    "too_few_sentences": Words("too few sentences", "句子太少"),
    "lorem_ipsum": Words("placeholder text", "占位文字"),
    "curly_bracket": Words("curly brackets", "花括号"),
    "few_ended_lines": Words("few lines end in a full stop", "以句末标点结尾的行太少"),
    "short_lines": Words("short lines", "短行太多"),
    "repeated_paragraphs": Words("repeated paragraphs", "重复的段落"),
    "paragraphs_cut": Words("paragraphs cut out", "删去的段落"),
    "lines_cut": Words("lines cut out", "删去的行"),
    "repeated_lines": Words("repeated lines", "重复行太多"),
    "too_many_line_breaks": Words("too many line breaks", "换行太多"),
    "judged_bad": Words("like the bad examples", "近似坏示例"),
    "line_word_too_long": Words("lines with an endless word", "含超长单词的行"),
    "line_citations": Words("citation marks", "引用标记"),
    "line_not_ended": Words("lines without a full stop", "没有句末标点的行"),
    "line_few_words": Words("lines of few words", "字数过少的行"),
    "line_javascript": Words("lines about JavaScript", "提及 JavaScript 的行"),
    "line_policy": Words("lines about policies and cookies", "隐私政策与 Cookie 声明的行"),
    # Changed
    "mojibake": Words("mojibake", "乱码"),
    "control_characters": Words("control characters", "控制字符"),
    "invisible_characters": Words("invisible characters", "不可见字符"),
    "ligatures": Words("ligatures", "连字"),
    "spaces": Words("spaces", "空格"),
    "width": Words("full and half width", "全角与半角"),
    "chinese": Words("Chinese", "中文"),
    "not_chinese": Words("not Chinese", "非中文"),
    "short": Words("short texts", "短文本"),
    "html": Words("remains of HTML", "HTML 残留"),
    "main_text": Words("main text of HTML", "HTML 正文"),
    "line_repeats": Words("lines that follow themselves", "连续重复的行"),
    "blank_lines": Words("blank lines", "空行"),
    "lines": Words("lines", "行"),
    "paragraphs": Words("paragraphs", "段落"),
    "email": Words("e-mail", "电子邮箱"),
    "phone": Words("phone number", "电话号码"),
    "id_card": Words("ID card", "身份证号"),
    "old_id_card": Words("ID card of 15 digits", "15 位身份证号"),
    "bank_card": Words("bank card", "银行卡号"),
    "iban": Words("IBAN", "IBAN 账号"),
    "ip": Words("IP address", "IP 地址"),
    "secret": Words("key or token", "密钥或令牌"),
    "ssn": Words("social security number", "社会安全号码"),
    "name": Words("name", "名称"),
    # Found
    "documents": Words("documents", "文档"),
    "documents_with_lost_characters": Words("documents with lost characters", "有丢失字符的文档"),
    "documents_with_tags": Words("documents with tags", "含标签的文档"),
    "different_lines": Words("different lines", "不同的行"),
    "clusters": Words("clusters", "簇"),
    "clusters_by_size": Words("clusters by size", "各大小的簇数"),
    "largest_clusters": Words("largest clusters", "最大的簇"),
    "near_held_out": Words("near a held-out text", "与留出文本近似"),
    "not_compared_in_crowds": Words("not compared in crowds", "大群中未比较"),
    "texts": Words("texts", "文本"),
    "masked": Words("where something was masked", "打码的位置"),
    "kind": Words("kind", "种类"),
    "source": Words("source", "来源"),
    "held_out_source": Words("held-out source", "留出来源"),
    "text": Words("text", "文本"),
    "offset": Words("offset", "位置"),
    "length": Words("length", "长度"),
    "training_documents": Words("training documents", "训练文档"),
    "leaking_documents": Words("documents with held-out text", "含留出文本的文档"),
    "leaking_ratio": Words("share of them", "占比"),
    "held_out": Words("held out", "留出"),
    "leaked_documents": Words("of these in training text", "其中出现在训练文本"),
    "leaked_ratio": Words("share", "占比"),
    "leaked_ngrams_ratio": Words("share of n-grams", "n 元组占比"),
    "too_short_documents": Words("too short to tell", "过短无法判断"),
    "benchmark_problems": Words("problems with benchmarks", "基准数据的问题"),
    "ngrams": Words("n-grams", "n 元组"),
    "of": Words("of", "属于"),
    "passage": Words("passage", "段落"),
    "examples": Words("examples", "示例"),
    "validation": Words("validation", "验证"),
    "test": Words("test", "测试"),
    "train": Words("train", "训练"),
    "column": Words("column", "列"),
    "labels": Words("labels", "标签"),
    "label": Words("label", "标签"),
    "classes": Words("classes", "类别"),
    "line": Words("lines", "行"),
    "split": Words("split", "划分"),
    "before": Words("before", "之前"),
    "after": Words("after", "之后"),
    "before_bytes": Words("bytes before", "之前字节"),
    "after_bytes": Words("bytes after", "之后字节"),
    "before_ratio": Words("share before", "之前占比"),
    "wanted_ratio": Words("share wanted", "目标占比"),
    "after_ratio": Words("share after", "之后占比"),
    "epochs": Words("epochs", "遍数"),
    "weight": Words("weight", "权重"),
    "sources": Words("sources", "来源"),
    "capped": Words("at their most epochs", "达到遍数上限"),
    "repeats": Words("repeats", "重复次数"),
    "ungrouped": Words("in no group", "未分组"),
    "imbalance_factor": Words("largest class over smallest", "最大类与最小类之比"),
    "imbalance_factor_before": Words("largest class over smallest, before", "最大类与最小类之比（之前）"),
    "imbalance_factor_after": Words("largest class over smallest, after", "最大类与最小类之比（之后）"),
    "effective_classes": Words("effective number of classes", "有效类别数"),
    "alike_names": Words("names that are almost alike", "相近的类别名"),
    "noise_ratio": Words("labels in doubt", "可疑标签占比"),
    "held_out_noise_ratio": Words("labels in doubt, held out", "可疑标签占比（留出）"),
    "agreement_ratio": Words("agrees with the given label", "与给定标签一致的占比"),
    "suspects": Words("labels in doubt", "可疑标签"),
    "confusions": Words("taken for each other", "易混类别"),
    "worst": Words("the worst", "最可疑者"),
    "given": Words("given", "给定"),
    "likely": Words("likely", "可能"),
    "given_probability": Words("probability of the given one", "给定标签的概率"),
    "likely_probability": Words("probability of the likely one", "可能标签的概率"),
    "too_few_to_judge": Words("too few to judge", "太少，无法判断"),
    "min_bits_per_byte_chinese": Words("bits per byte at least, Chinese", "每字节比特数下限（中文）"),
    "min_bits_per_byte_other": Words("bits per byte at least, others", "每字节比特数下限（其他）"),
    "median_bits_per_byte_chinese": Words("median bits per byte, Chinese", "每字节比特数中位数（中文）"),
    "median_bits_per_byte_other": Words("median bits per byte, others", "每字节比特数中位数（其他）"),
    "max_bits_per_byte_chinese": Words("bits per byte at most, Chinese", "每字节比特数上限（中文）"),
    "max_bits_per_byte_other": Words("bits per byte at most, others", "每字节比特数上限（其他）"),
    "held_out_accuracy": Words("accuracy on held-out examples", "留出示例上的准确率"),
    "good_examples": Words("good examples", "好示例"),
    "bad_examples": Words("bad examples", "坏示例"),
    "examples_in_both": Words("given as good and as bad", "同时作为好与坏的示例"),
    "held_out_good_right": Words("good examples told right", "判对的好示例占比"),
    "held_out_bad_right": Words("bad examples told right", "判对的坏示例占比"),
    "target_bytes": Words("target text", "目标文本"),
    "max_distance": Words("distance at most", "距离上限"),
    "words": Words("words", "词"),
    "ordered": Words("documents put in order", "已排序的文档"),
}
