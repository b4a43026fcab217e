"""What metrics, tasks, languages, baselines and settings are called, in English and in Chinese.

Something that is not here is shown as it is written in the run. This file leaves out sentences.
"""

from __future__ import annotations

from stepwell.studies.report.bilingual import Words

METRICS = {
    "bits_per_byte": Words("bits per byte", "每字节比特数"),
    "perplexity": Words("perplexity", "困惑度"),
    "loss": Words("loss", "损失"),
    "accuracy": Words("accuracy", "准确率"),
    # Labels and numbers
    "macro_f1": Words("macro F1", "宏平均 F1"),
    "micro_f1": Words("micro F1", "微平均 F1"),
    "macro_precision": Words("macro precision", "宏平均精确率"),
    "macro_recall": Words("macro recall", "宏平均召回率"),
    "roc_auc": Words("area under the ROC curve", "ROC 曲线下面积"),
    "calibration_error": Words("calibration error", "校准误差"),
    "mean_squared_error": Words("mean squared error", "均方误差"),
    "mean_absolute_error": Words("mean absolute error", "平均绝对误差"),
    "pearson": Words("Pearson correlation", "皮尔逊相关系数"),
    "spearman": Words("Spearman correlation", "斯皮尔曼相关系数"),
    "r_squared": Words("R²", "R²"),
    # Tags
    "span_f1": Words("span F1", "实体 F1"),
    "span_precision": Words("span precision", "实体精确率"),
    "span_recall": Words("span recall", "实体召回率"),
    "macro_span_f1": Words("macro span F1", "实体宏平均 F1"),
    "token_accuracy": Words("token accuracy", "词元准确率"),
    "sentence_accuracy": Words("sentences all right", "整句正确率"),
    # Texts that are written
    "bleu": Words("BLEU", "BLEU"),
    "chrf": Words("chrF", "chrF"),
    "chrf_plus_plus": Words("chrF++", "chrF++"),
    "ter": Words("TER", "TER"),
    "rouge_1": Words("ROUGE-1", "ROUGE-1"),
    "rouge_2": Words("ROUGE-2", "ROUGE-2"),
    "rouge_l": Words("ROUGE-L", "ROUGE-L"),
    "length_ratio": Words("length ratio", "长度比"),
    "stop_ratio": Words("texts that end by themselves", "自行结束率"),
    "distinct_1_within": Words("distinct words", "不同单词占比"),
    "distinct_2_within": Words("distinct word pairs", "不同二元组占比"),
    "distinct_3_within": Words("distinct word triples", "不同三元组占比"),
    "repeated_4gram_ratio": Words("repeated 4-grams", "重复四元组占比"),
    "variety_gap": Words("distance from the variety of real text", "与真实文本多样性的差距"),
    # Answers
    "f1": Words("F1", "F1"),
    "exact_match": Words("exact match", "完全匹配率"),
    "no_answer_accuracy": Words("right that there is no answer", "无答案判断准确率"),
    "stop_rate": Words("answers that end by themselves", "回答自行结束率"),
    "format_rate": Words("answers of the right form", "回答格式正确率"),
    "win_rate": Words("win rate", "胜率"),
    "judge_agreement": Words("same verdict in both orders", "交换顺序后裁判一致率"),
    # Preferences
    "preference_accuracy": Words("preference accuracy", "偏好准确率"),
    "margin": Words("margin", "分差"),
    "kl": Words("KL from the reference", "与参考模型的 KL 散度"),
    "log_ratio": Words("log ratio to the reference", "与参考模型的对数比"),
    "reward": Words("reward", "奖励"),
    # Search
    "recall_at_1": Words("recall at 1", "前 1 召回率"),
    "recall_at_5": Words("recall at 5", "前 5 召回率"),
    "recall_at_10": Words("recall at 10", "前 10 召回率"),
    "recall_at_100": Words("recall at 100", "前 100 召回率"),
    "ndcg_at_10": Words("nDCG at 10", "nDCG@10"),
    "mrr_at_10": Words("MRR at 10", "MRR@10"),
    "candidates": Words("documents searched", "候选文档数"),
    "repetition": Words("repetition", "重复率"),
}
LOWER_IS_BETTER = frozenset(
    {
        "bits_per_byte",
        "calibration_error",
        "kl",
        "loss",
        "mean_absolute_error",
        "mean_squared_error",
        "perplexity",
        "repeated_4gram_ratio",
        "repetition",
        "ter",
        "variety_gap",
    }
)

TASKS = {
    "language_modeling": Words("language modelling", "语言建模"),
    "generation": Words("text generation", "文本生成"),
    "classification": Words("classification", "文本分类"),
    "tagging": Words("tagging", "序列标注"),
    "translation": Words("translation", "翻译"),
    "summarization": Words("summarization", "摘要"),
    "question_answering": Words("question answering", "问答"),
    "chat": Words("chat", "对话"),
    "preference": Words("learning from preferences", "偏好学习"),
    "embedding": Words("text vectors", "文本向量"),
    "retrieval": Words("search", "检索"),
}

LANGUAGES = {
    "en": Words("English", "英语"),
    "zh": Words("Chinese", "中文"),
    "de": Words("German", "德语"),
    "fr": Words("French", "法语"),
    "es": Words("Spanish", "西班牙语"),
    "it": Words("Italian", "意大利语"),
    "pt": Words("Portuguese", "葡萄牙语"),
    "nl": Words("Dutch", "荷兰语"),
    "ru": Words("Russian", "俄语"),
    "ja": Words("Japanese", "日语"),
    "ko": Words("Korean", "韩语"),
    "ar": Words("Arabic", "阿拉伯语"),
    "other": Words("other", "其他"),
}

BASELINES = {
    "uniform": Words("uniform bytes", "均匀字节"),
    "unigram": Words("unigram", "一元模型"),
    "bigram": Words("bigram", "二元模型"),
    "gzip": Words("gzip", "gzip"),
    "xz": Words("xz", "xz"),
    "kneser_ney_5": Words("Kneser-Ney 5-gram", "Kneser-Ney 五元模型"),
    "kneser_ney_5gram": Words("Kneser-Ney 5-gram", "Kneser-Ney 五元模型"),
    "feed_forward": Words("Bengio's feed-forward model", "Bengio 前馈模型"),
    "majority": Words("always the commonest answer", "总取最常见的答案"),
    "mean": Words("always the mean", "总取平均值"),
    "linear": Words("a linear model over n-grams", "n 元特征的线性模型"),
    "linear_of_pieces": Words("a linear model over word pieces", "词片特征的线性模型"),
    "naive_bayes": Words("a linear model over naive Bayes ratios", "朴素贝叶斯加权的线性模型"),
    "bag": Words("a network over n-grams", "n 元特征的神经网络"),
    "convolution": Words("a convolutional network", "卷积神经网络"),
    "copy": Words("the source copied", "照抄原文"),
    "lead_1": Words("the first sentence", "取第一句"),
    "likely_sentence": Words("the sentence most like the question", "与问题最相近的句子"),
    "bm25": Words("BM25", "BM25"),
    "base_model": Words("the model it began from", "起始模型"),
    "tf_idf": Words("TF-IDF", "TF-IDF"),
    "word_tagger": Words("each word's commonest tag", "每个词最常见的标签"),
    "perceptron": Words("a perceptron over words", "基于词的感知机"),
    "model": Words("the trained model", "训练的模型"),
}
"""Simple models, and what the trained one is called beside them."""

BRIEF_BASELINES = {
    "feed_forward": Words("Bengio's model", "Bengio 模型"),
    "majority": Words("commonest answer", "最常见答案"),
    "linear": Words("linear, n-grams", "线性模型"),
    "linear_of_pieces": Words("linear, pieces", "词片线性模型"),
    "naive_bayes": Words("linear, Bayes", "贝叶斯线性模型"),
    "bag": Words("n-gram network", "n 元网络"),
    "convolution": Words("convolution", "卷积网络"),
    "likely_sentence": Words("likeliest sentence", "最相近的句子"),
    "base_model": Words("before training", "训练前"),
    "word_tagger": Words("commonest tag", "最常见标签"),
    "perceptron": Words("perceptron", "感知机"),
}
"""Names that find room beside a picture."""

STOPS = {
    "target_met": Words("The target was met.", "已达到目标。"),
    "budget_spent": Words("The budget was spent.", "预算已用完。"),
    "nothing_left": Words("Nothing was left that was worth its cost.", "没有剩下值得花费的改进。"),
    "nothing_worth_its_cost": Words("Nothing was left that was worth its cost.", "没有剩下值得花费的改进。"),
    "max_rounds": Words("The number of rounds was reached.", "已达到轮数上限。"),
    "stopped": Words("It was stopped by hand.", "被手动停止。"),
    "interrupted": Words("It was stopped by hand.", "被手动停止。"),
}

SETTINGS = {
    "steps": Words("steps", "步数"),
    "learning_rate": Words("learning rate", "学习率"),
    "adamw_learning_rate": Words("AdamW learning rate", "AdamW 学习率"),
    "weight_decay": Words("weight decay", "权重衰减"),
    "dropout": Words("dropout", "dropout"),
    "global_batch_tokens": Words("batch", "批大小"),
    "num_layers": Words("layers", "层数"),
    "d_model": Words("width", "宽度"),
    "d_ff": Words("MLP width", "MLP 宽度"),
    "num_heads": Words("heads", "注意力头"),
    "vocab_size": Words("vocabulary", "词表"),
    "max_seq_len": Words("context", "上下文长度"),
    "temperature": Words("temperature", "温度"),
    "repetition_penalty": Words("repetition penalty", "重复惩罚"),
    "decay_ratio": Words("decay", "衰减段"),
    "warmup_ratio": Words("warm-up", "预热段"),
    "gradient_clip": Words("gradient clip", "梯度裁剪"),
    "residual_initialization": Words("initialisation of new layers", "新层初始化"),
    "label_smoothing": Words("label smoothing", "标签平滑"),
    # What is made of what a model says
    "members": Words("decided by", "判定者："),
    "prior": Words("label priors", "标签先验"),
    "weights": Words("weights", "权重"),
    "threshold": Words("threshold", "阈值"),
    "margin": Words("least margin of an answer", "给出答案的最小分差"),
    "beam_size": Words("beams", "束宽"),
    "length_penalty": Words("length penalty", "长度惩罚"),
    "num_beams": Words("beams", "束宽"),
    "top_p": Words("top-p", "top-p"),
    "top_k": Words("top-k", "top-k"),
    "min_p": Words("min-p", "min-p"),
    "system": Words("system message", "系统消息"),
    "examples": Words("examples shown first", "示例"),
    "template": Words("template", "模板"),
    "score": Words("answers compared by", "回答比较方式"),
    "reference": Words("reference model", "参考模型"),
    "task.decision.temperature": Words("temperature of the decision", "判定温度"),
}

EVENTS = {
    "rolled_back": Words("rolled back", "回滚"),
    "skipped": Words("skipped", "跳过"),
    "micro_batch_halved": Words("micro-batch halved", "微批减半"),
    "resumed": Words("resumed", "续跑"),
    "shortened": Words("shortened", "缩短"),
}
