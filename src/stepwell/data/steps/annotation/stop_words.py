"""Words that carry grammar and hardly any meaning: English and Chinese.

Only closed classes (articles, pronouns, prepositions, particles, auxiliaries, conjunctions), so that no word is missed
that a text is about. This file leaves out other languages; a recipe may name a file of its own.
"""

from __future__ import annotations

_ENGLISH = """
a an the this that these those such
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
herself it its itself they them their theirs themselves one oneself who whom whose which what whoever whatever
and or but nor so yet if then else than because as while until unless although though whether since
of at by for with about against between into through during before after above below to from up down in out on off
over under upon within without toward towards among across along around behind beside besides beyond near via per
am is are was were be been being have has had having do does did doing done will would shall should can could may
might must ought need
not no never there here when where why how again further once only just also too very more most some any all both
each few other another own same much many every either neither even still ever
don't doesn't didn't isn't aren't wasn't weren't haven't hasn't hadn't won't wouldn't shan't shouldn't can't cannot
couldn't mustn't mightn't needn't i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd
she'd we'd they'd i'll you'll he'll she'll we'll they'll that's who's what's here's there's where's let's
s t d ll m re ve n't 's 'm 're 've 'll 'd
"""

_CHINESE = """
的 地 得 之 了 着 过 们 所 等 等等 似的 一样 般 来着 而已 罢了
啊 呀 吗 呢 吧 嘛 啦 哇 哦 喔 哎 唉 嗯 呵 哈 嘿 咦 哟
我 你 您 他 她 它 我们 你们 他们 她们 它们 咱 咱们 自己 自身 本人 大家 别人 人家 某
某些 各 各自 每 每个 另 另外 其 其他 其它
其中 其余 此 彼 本 该 这 这个 这些 这里 这儿 这样 这么 这种 那 那个 那些 那里
那儿 那样 那么 那种 谁 什么 哪 哪个 哪些 哪里
怎么 怎样 怎么样 如何 为何 为什么 多少 几
在 从 自 自从 由 到 向 往 朝 对 对于 关于 至于 于 以 用 把 被 将 给 让 叫 跟 和
与 同 及 以及 或 或者 还是 为 为了 因 因为 由于
所以 因此 因而 于是 按 按照 根据 依照 通过 经过 沿着 除 除了 比 比如 例如 像 如 如同 关乎 凭 趁 当 随着 直到
但 但是 可 可是 然而 不过 而 而且 并 并且 且 尚且 何况 况且 虽 虽然 尽管 即使
即便 哪怕 如果 假如 若 要是 倘若 只要 只有 除非
无论 不论 不管 既 既然 就 才 便 则 即 否则 不然 从而 以便 以免 不但 不仅 不只 不是 乃 乃至 甚至 宁可 与其
是 有 没 没有 不 未 别 勿 莫 无 非 会 能 能够 可以 可能 应 应该 应当 得以 必须 要 须 需
也 还 又 再 都 全 均 只 仅 仅仅 光 很 太 最 更 更加 越 越来越 非常 十分 极 极其 较 比较 相当 稍 稍微 略 几乎
已 已经 曾 曾经 正 正在 在于 刚 刚刚 刚才 马上 立刻 就要 将要 一直 一向 总 总是
老是 经常 常 常常 往往 有时 偶尔 又是 再次
一 一个 一些 一种 一下 一点 一切 一边 一面 一方面 两 个 些 种 里 上 下 中 内 外 前 后 间 旁 边 之间 之后 之前 之中
以上 以下 以内 以外 以前 以后 来 去 起来 下来 出来 过来 上来 进来 回来 下去 出去 过去 上去 进去 回去
"""

ENGLISH = frozenset(_ENGLISH.split())
CHINESE = frozenset(_CHINESE.split())
STOP_WORDS = ENGLISH | CHINESE
"""Both; words are compared in small letters."""
