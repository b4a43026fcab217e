"""What the report says, in English and in Chinese.

Every wording of the page is here, in pairs; both languages go into the page and a switch shows one of them.
Diagnoses, metrics, baselines, stop reasons and recipe paths have names that people use; one that this file does not
know is shown as it is written in the run. This file leaves out where a sentence stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepwell.studies.report.bilingual import Words as Words
from stepwell.studies.report.bilingual import filled as filled
from stepwell.studies.report.bilingual import joined as joined
from stepwell.studies.report.bilingual import paragraph as paragraph
from stepwell.studies.report.bilingual import same as same
from stepwell.studies.report.figures import show_setting
from stepwell.studies.report.names import BASELINES, BRIEF_BASELINES, METRICS, SETTINGS, STOPS

MOST_VALUES = 6
"""Of a list that are written out."""


def say(name: str, values: Mapping[str, object] | None = None) -> Words:
    """The wording of that name with its values filled in; a value may be `Words` itself."""
    return filled(WORDS[name], values)


def metric_words(metric: str) -> Words:
    """A metric's name: `bits per byte`."""
    return METRICS.get(metric, same(metric.replace("_", " ")))


def diagnosis_words(name: str) -> Words:
    """A diagnosis as a person would call it: `still learning`."""
    known = DIAGNOSES.get(name)
    return known[0] if known else same(name.replace("_", " "))


def diagnosis_sentence(name: str, words: str) -> Words:
    """What a diagnosis means: the run's own words in English, the general sentence in Chinese where there is one."""
    known = DIAGNOSES.get(name)
    if known is None:
        return same(words)
    return Words(words or known[1].en, known[1].zh)


def stop_words(reason: str) -> Words:
    """Why the loop ended, as a sentence."""
    return STOPS.get(reason, same(reason.replace("_", " ") if " " not in reason else reason))


def baseline_words(name: str, *, brief: bool = False) -> Words:
    """A baseline's name; `brief` for a picture."""
    if brief and name in BRIEF_BASELINES:
        return BRIEF_BASELINES[name]
    return BASELINES.get(name, same(name.replace("_", " ")))


def change_words(change: object) -> list[Words]:
    """What a round changed: `steps 400 → 800`, one wording for each recipe path.

    Args:
        change: recipe path -> [before, after], as in the journal; anything else reads as no change.
    """
    if not isinstance(change, Mapping):
        return []
    found = []
    for path, pair in change.items():
        before, after = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, pair)
        name = SETTINGS.get(str(path)) or SETTINGS.get(str(path).rpartition(".")[2])
        last = (
            str(path).removeprefix("data.steps.") if str(path).startswith("data.steps.") else str(path).split(".")[-1]
        )
        label = name or same(last.replace(".", " ").replace("_", " "))
        new, old = setting_words(str(path), after), setting_words(str(path), before)
        values = new if before is None else Words(f"{old.en} → {new.en}", f"{old.zh} → {new.zh}")
        found.append(Words(f"{label.en} {values.en}", f"{label.zh} {values.zh}"))
    return found


def setting_words(path: str, value: object) -> Words:
    """A value of the recipe as a person reads it.

    Args:
        path: where it stands; it tells whether names in a list are those of models.
        value: plain.
    """
    if value is None or value == []:
        return Words("none", "无")
    if isinstance(value, bool):
        return Words("on", "开") if value else Words("off", "关")
    if isinstance(value, list) and path.endswith(".members"):
        return members_words([str(one) for one in value])
    if isinstance(value, list) and len(value) > MOST_VALUES:
        return Words(f"{len(value)} values", f"{len(value)} 个值")
    return same(show_setting(value))


def members_words(members: Sequence[str]) -> Words:
    """Models that decide together: `the trained model and a linear model over n-grams`."""
    names = [baseline_words(one) for one in members]
    last = names[-1:]
    english = ", ".join(one.en for one in names[:-1])
    return Words(" and ".join(filter(None, [english, *(one.en for one in last)])), "、".join(one.zh for one in names))


DIAGNOSES: dict[str, tuple[Words, Words]] = {
    "lever": (
        Words("to be tried", "按方案试验"),
        Words("A value that the recipe wants tried.", "方案中指定要试验的取值。"),
    ),
    "first_plan": (
        Words("first plan", "初始方案"),
        Words(
            "The first plan: sizes and rates derived from the data, the budget and a measured probe.",
            "初始方案：规模与学习率由数据、预算和实测探针推出。",
        ),
    ),
    "decision": (
        Words("decided otherwise", "调整判定"),
        Words(
            "What the model says may be decided on otherwise, without training.",
            "同样的模型输出可以用别的方式判定，无需重新训练。",
        ),
    ),
    "underfitting": (
        Words("still learning", "欠拟合"),
        Words(
            "Both losses were still falling at the end: the model could learn more from this text.",
            "结束时训练与验证损失仍在下降：模型还能从这些文本中学到更多。",
        ),
    ),
    "overfitting": (
        Words("learning by heart", "过拟合"),
        Words(
            "The loss on held-out text rose while the training loss went on falling.",
            "训练损失继续下降，而验证损失开始上升。",
        ),
    ),
    "instability": (
        Words("unstable", "训练不稳定"),
        Words("The loss jumped or was not a number; the rate was too bold.", "损失出现尖峰或非数值：学习率过于激进。"),
    ),
    "learning_rate_too_low": (
        Words("learning rate too low", "学习率过低"),
        Words(
            "Lowering the rate at the end brought nothing extra, so there is room for larger steps.",
            "最后降低学习率没有带来额外收益，可以用更大的步长。",
        ),
    ),
    "learning_rate_too_high": (
        Words("learning rate too high", "学习率过高"),
        Words("The loss was restless and settled only once the rate fell.", "损失起伏不定，直到学习率下降后才平稳。"),
    ),
    "too_few_tokens": (
        Words("too few tokens for the size", "相对规模训练量不足"),
        Words("The model is large for all that the budget lets it read.", "相对于预算内能读到的文本，模型偏大。"),
    ),
    "too_many_tokens": (
        Words("too many tokens for the size", "相对规模训练量过多"),
        Words(
            "The model is small for the number of tokens it has read; more of them add little.",
            "相对于读过的词元数，模型偏小，继续训练收益很小。",
        ),
    ),
    "tokenizer_misfit": (
        Words("the tokenizer fits badly", "分词器不合适"),
        Words("Tokens are too short, or many of them are hardly used.", "词元太短，或很多词元几乎用不到。"),
    ),
    "repetition": (
        Words("repetition in samples", "样例重复"),
        Words(
            "Samples repeat themselves; that is a matter of decoding and needs no new training.",
            "样例自我重复；这是解码问题，无需重新训练。",
        ),
    ),
    "converged": (
        Words("settled", "已收敛"),
        Words("The losses have settled; this lever has little left to give.", "损失已趋于平稳，这一手段余地不大。"),
    ),
}

WORDS: dict[str, tuple[str, str]] = {
    # Headline
    "improved": ("From {first} to {last} {metric} in {rounds}", "经过 {rounds}，{metric}从 {first} 到 {last}"),
    "single": ("{last} {metric} after {rounds}", "经过 {rounds}，{metric}为 {last}"),
    "none kept": ("No round has given a model yet that was kept", "还没有任何一轮得到可保留的模型"),
    "not begun": ("No round is finished yet", "还没有完成任何一轮"),
    "one round": ("one round", "1 轮"),
    "rounds": ("{n} rounds", "{n} 轮"),
    "lead bits_per_byte": (
        "For each byte of text that it never trained on, the model needs {value} bits{interval}.",
        "对从未训练过的文本，模型每个字节平均需要 {value} 比特{interval}。",
    ),
    "lead other": (
        "On held-out text its {metric} is {value}{interval}.",
        "在留出文本上，{metric}为 {value}{interval}。",
    ),
    "interval": (" (95 % interval {low} to {high})", "（95 % 区间 {low} 至 {high}）"),
    "lead examples": (
        "On held-out examples its {metric} is {value}{interval}.",
        "在留出样本上，{metric}为 {value}{interval}。",
    ),
    "points fewer": ("That is {points} points less than after its first round.", "比第一轮低 {points} 个百分点。"),
    "points more": ("That is {points} points more than after its first round.", "比第一轮高 {points} 个百分点。"),
    "fewer": ("That is {ratio} less than after its first round.", "比第一轮减少 {ratio}。"),
    "more": ("That is {ratio} more than after its first round.", "比第一轮增加 {ratio}。"),
    "target met": ("The target of {target} is met.", "已达到目标 {target}。"),
    "target missed": (
        "The target of {target} is not met; {distance} is missing.",
        "未达到目标 {target}，还差 {distance}。",
    ),
    "took": ("The whole run took {time}.", "整个运行用时 {time}。"),
    "unfinished": (
        "This run has not come to its end. The page shows what was on disk when it was made.",
        "该运行尚未结束。本页显示生成时磁盘上已有的内容。",
    ),
    "under way": ("Round {round} is under way: step {step}.", "第 {round} 轮正在进行：第 {step} 步。"),
    "unread": ("Some parts could not be read and are left out:", "以下部分无法读取，已略去："),
    # Key figures
    "held-out": ("Held-out {metric}", "留出集{metric}"),
    "test once": ("Test, read once", "测试集，仅读一次"),
    "parameters": ("Parameters", "参数量"),
    "rounds kept": ("Rounds kept", "保留轮数"),
    "n of m": ("{n} of {m}", "{n} / {m}"),
    "at speed": ("{n} tokens a second", "每秒 {n} 词元"),
    "tokens a second": ("tokens a second in training", "训练时每秒词元数"),
    "of the rate": ("of the machine's measured rate", "占本机实测算力"),
    "memory at most": ("memory at most", "内存峰值"),
    "time": ("Time", "用时"),
    "train text": ("Training text", "训练文本"),
    "to": ("{low} to {high}", "{low} 至 {high}"),
    # Sections
    "stair": ("The stair of rounds", "逐轮台阶"),
    "stair lead down": (
        "Each tread is the best {metric} so far, each dot is what a round measured on the same held-out text, "
        "with its 95 % interval. A filled dot was kept and leads a step down. A hollow dot did not beat the best by "
        "more than the noise and was not kept.",
        "每级台阶是迄今最好的{metric}，圆点是该轮在同一份留出文本上的测量值及其 95 % 区间。"
        "实心点被保留，台阶随之下降；空心点没有以超过噪声的幅度胜出，未被保留。",
    ),
    "stair lead up": (
        "Each tread is the best {metric} so far, each dot is what a round measured on the same held-out examples, "
        "with its 95 % interval. A filled dot was kept and leads a step up. A hollow dot did not beat the best by "
        "more than the noise and was not kept.",
        "每级台阶是迄今最好的{metric}，圆点是该轮在同一份留出样本上的测量值及其 95 % 区间。"
        "实心点被保留，台阶随之上升；空心点没有以超过噪声的幅度胜出，未被保留。",
    ),
    "what bits are": (
        "Bits per byte says how well the model foresees text: 8 is knowing nothing, lower is better.",
        "每字节比特数衡量模型预见文本的能力：8 表示一无所知，越低越好。",
    ),
    "baselines": ("For comparison, on the same bytes:", "同样字节上的参照："),
    "baselines examples": ("For comparison, on the same examples:", "同样样本上的参照："),
    "best baseline": (
        "{names} is the best of all here; predict uses it instead of the trained model.",
        "这里最好的是{names}；predict 使用它，而不用训练的模型。",
    ),
    "best baselines": (
        "{names} together are the best of all here; predict uses them instead of the trained model.",
        "这里最好的是{names}的组合；predict 使用它们，而不用训练的模型。",
    ),
    "best together": (
        "The best of all is {names} together; predict uses them all.",
        "最好的是{names}的组合；predict 同时使用它们。",
    ),
    "another ahead": (
        "predict uses {names}, for the least loss; {name} alone has the better {metric}.",
        "predict 使用{names}，其损失最低；单看{metric}，{name}更好。",
    ),
    "another level": (
        "predict uses {names}, for the least loss; {name} alone has the same {metric} but for chance.",
        "predict 使用{names}，其损失最低；单用{name}，{metric}与之相当。",
    ),
    "baseline ahead": (
        "{name} is better here than the trained model, which predict uses: it needs more time or more data.",
        "这里{name}优于训练的模型（predict 使用后者）：模型需要更多时间或数据。",
    ),
    "model ahead": (
        "The trained model is better than all of them, by more than chance; the next best is {name}.",
        "训练的模型优于以上全部参照，差距超出偶然；其次是{name}。",
    ),
    "model level": (
        "The trained model is the best of all, but {name} is so near that it may be chance.",
        "训练的模型最好，但{name}与之接近，差距可能只是偶然。",
    ),
    "off chart": ("(beyond the picture)", "（超出图幅）"),
    "target": ("target", "目标"),
    "better down": ("lower is better", "越低越好"),
    "better up": ("higher is better", "越高越好"),
    "table": ("Round by round", "逐轮记录"),
    "round": ("Round", "轮次"),
    "changed": ("What was changed", "改动"),
    "why": ("Why", "原因"),
    "before": ("Before", "之前"),
    "after": ("After", "之后"),
    "gain": ("Gain", "增益"),
    "kept?": ("Kept", "保留"),
    "seconds": ("Time", "用时"),
    "kept": ("kept", "保留"),
    "not kept": ("not kept", "未保留"),
    "running": ("under way", "进行中"),
    "from round": ("goes on from round {round}", "接第 {round} 轮继续"),
    "from nothing": ("from nothing", "从头训练"),
    "n more": ("and {n} more", "另有 {n} 项"),
    "curves": ("Loss curves", "损失曲线"),
    "curves lead": (
        "All rounds in one picture, numbered where they end. Point at a line or at its number to see it alone.",
        "所有轮次同图，线尾标有轮次。指向曲线或编号可单独查看。",
    ),
    "held-out chart": ("{metric} while training", "训练过程中的{metric}"),
    "loss chart": ("Training loss, smoothed (nats per token)", "训练损失（平滑，nat/词元）"),
    "solid": ("held-out", "留出"),
    "dashed": ("training", "训练"),
    "vocabulary changed": (
        "The vocabulary differs between rounds, so losses per token cannot be compared; bits per byte can.",
        "各轮词表不同，按词元的损失不可比；每字节比特数可比。",
    ),
    "tokens": ("tokens", "词元"),
    "steps": ("steps", "步"),
    "at most": ("Higher values at the beginning lie above the picture.", "开头更高的数值在图幅之上。"),
    "no curves": ("No metrics have been written yet.", "尚无指标记录。"),
    "diagnosis": ("What was seen, and what followed", "诊断与对策"),
    "diagnosis lead": (
        "After each round the loop looks for known patterns in the numbers. "
        "What it finds decides what the next round changes.",
        "每轮之后，闭环在数字中寻找已知模式，据此决定下一轮改什么。",
    ),
    "outcome kept": ("{metric} {before} → {value}, kept.", "{metric} {before} → {value}，保留。"),
    "outcome not kept": (
        "{metric} {value}, against {before} before: not better by more than the noise, not kept.",
        "{metric} {value}，之前为 {before}：提升未超过噪声，未保留。",
    ),
    "outcome first": ("{metric} {value}: the first measured step.", "{metric} {value}：第一次测量。"),
    "outcome first not kept": ("{metric} {value}: not kept.", "{metric} {value}：未保留。"),
    "gain sure": ("Gain {gain}, 95 % interval {low} to {high}.", "增益 {gain}，95 % 区间 {low} 至 {high}。"),
    "afterwards": ("Seen afterwards", "之后观察到"),
    "nothing found": ("Nothing stood out.", "没有发现异常。"),
    "on the way": ("On the way", "途中"),
    "at step": ("step {step}", "第 {step} 步"),
    "train and held-out": ("training {train}, held-out {value}", "训练 {train}，留出 {value}"),
    "samples": ("Samples", "样例"),
    "answers lead": (
        "Validation examples with the answers of the model.",
        "验证样本与模型的回答。",
    ),
    "samples lead": (
        "The prompt is set off in colour; everything after it was written by the model.",
        "彩色部分为提示，其后均为模型所写。",
    ),
    "earlier": ("The same prompt after earlier rounds", "同一提示在此前各轮的续写"),
    "no samples": ("No samples have been written yet.", "尚无样例。"),
    "data": ("The text", "数据"),
    "documents": ("Documents", "文档"),
    "bytes": ("Bytes", "字节"),
    "characters": ("Characters", "字符"),
    "duplicates": ("Duplicates removed", "去重"),
    "split": ("Split", "划分"),
    "share": ("Share", "占比"),
    "token count": ("Tokens", "词元"),
    "source": ("Source", "来源"),
    "sources": ("Sources", "来源"),
    "languages": ("Languages, by bytes", "语言（按字节）"),
    "problems": ("Problems found", "发现的问题"),
    "no problems": ("No problems found.", "未发现问题。"),
    "splits lead": (
        "Split by document through a hash: no document stands on two sides, and none moves when the run is repeated.",
        "按文档哈希划分：没有文档同时出现在两侧，重跑时也不会移动。",
    ),
    "train": ("train", "训练"),
    "validation": ("validation", "验证"),
    "test": ("test", "测试"),
    "tokenizer": ("The tokenizer", "分词器"),
    "vocabulary": ("Vocabulary", "词表大小"),
    "kind": ("Kind", "类型"),
    "bytes per token": ("Bytes per token, {split}", "每词元字节数（{split}）"),
    "unused": ("Tokens hardly used", "几乎未用词元"),
    "longest": ("Its longest tokens", "最长的词元"),
    "compared": ("Tokenizers beside each other", "分词器比较"),
    "compared lead": (
        "Trained on the training text, measured on held-out text. Taken is the one whose tokens stand for most text, "
        "among those that give all text back and of whose entries at most a fifth are rare.",
        "在训练文本上训练，在验证文本上测量。在能完整还原文本且稀有词元不超过五分之一的分词器中，取每词元字节数最高者。",
    ),
    "bytes per token short": ("Bytes per token", "每词元字节数"),
    "bytes per token in": ("in {language}", "{language}"),
    "rare entries": ("Rare entries", "稀有词元"),
    "unknown": ("Unknown", "未知词元"),
    "comes back": ("Given back whole", "完整还原"),
    "use": ("Use the model", "使用模型"),
    "go on": ("Go on", "继续运行"),
    "cmd predict": ("Let it write", "让它续写"),
    "cmd answer": ("Ask it", "让它作答"),
    "cmd answer many": ("Ask it about many texts, one a line", "批量作答，每行一条"),
    "cmd answer questions": ("Ask it, with `question` and `context`", "让它作答（含 question 与 context）"),
    "cmd search": ("Find the nearest of your texts", "在你的文本中查找最相近的"),
    "cmd embed": ("Compare texts by their vectors", "用向量比较文本"),
    "cmd score": ("See the probability of each token", "查看每个词元的概率"),
    "cmd evaluate": ("Measure it on other text", "在其他文本上评测"),
    "cmd more": ("Give it more time, in a run of its own", "给它更多时间（另一次运行）"),
    "cmd report": ("Make this page again", "重新生成本页"),
    "cmd go on": ("Go on where it stopped", "从停下处继续"),
    "where": ("Where and how", "环境与配置"),
    "speed": ("Speed", "速度"),
    "machine": ("Machine", "机器"),
    "environment": ("Software", "软件"),
    "plan": ("Plan", "计划"),
    "recipe": ("Recipe, as resolved", "解析后的配方"),
    "made by": (
        "Made by stepwell from the files of {run}. Every number was measured in that run.",
        "由 stepwell 根据 {run} 中的文件生成。所有数字均在该运行中测得。",
    ),
}
