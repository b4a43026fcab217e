// What the page says, in English and in Chinese, and the switch between them.
// An element with data-say shows that wording, whenever the language changes; data-say-label and
// data-say-placeholder do the same for its name and its placeholder. Values stand in data-values as JSON.

const WORDS = {
  skip: ["To the work", "跳到内容"],
  tabs: ["What to do", "功能"],
  chat: ["Chat", "对话"],
  completion: ["Completion", "续写"],
  tasks: ["Tasks", "任务"],
  settings: ["Settings", "设置"],
  done: ["Done", "完成"],
  theme: ["Light or dark", "浅色或深色"],
  "other language": ["中文", "English"],
  key: ["API key", "API 密钥"],
  "key how": [
    "This server wants a key. It is kept in this tab only, until the tab is closed.",
    "此服务器需要密钥。密钥只保存在当前标签页中，关闭标签页后即清除。",
  ],
  "key use": ["Use this key", "使用此密钥"],
  "chat empty": ["What would you like to ask?", "想问点什么？"],
  "completion empty": ["Begin a text. The model goes on.", "写个开头，模型接着写。"],
  "tasks empty": ["Texts for the model", "交给模型的文本"],
  conversation: ["Conversation", "对话内容"],
  system: ["System message", "系统消息"],
  "system switch": ["System", "系统消息"],
  "system how": ["How the model should behave (optional)", "希望模型如何表现（可不填）"],
  message: ["Your message", "你的消息"],
  "message how": ["Write a message", "输入消息"],
  "prompt how": ["Once upon a time", "很久很久以前"],
  "texts how": ["One text a line", "每行一段文本"],
  keys: ["Ctrl+Enter", "Ctrl+Enter"],
  send: ["Send", "发送"],
  stop: ["Stop", "停止"],
  complete: ["Go on", "续写"],
  ask: ["Ask", "提交"],
  "export": ["Export", "导出"],
  clear: ["Clear", "清空"],
  edit: ["Edit", "编辑"],
  cancel: ["Cancel", "取消"],
  resend: ["Send again", "重新发送"],
  copy: ["Copy", "复制"],
  copied: ["Copied", "已复制"],
  "copy failed": ["Copying is not allowed here.", "此处无法复制。"],
  again: ["Once more", "重新生成"],
  "take over": ["Take over into the text", "并入正文"],
  you: ["You", "你"],
  models: ["Models", "模型"],
  "no models": ["No model on this server can do this.", "此服务器上没有适用的模型。"],
  "model facts": ["reads up to {tokens} tokens", "最多读取 {tokens} 个词元"],
  "side by side": ["Each of them answers, side by side.", "各模型同时回答，并排显示。"],
  "model and task": ["Model and task", "模型与任务"],
  sampling: ["How answers are drawn", "采样方式"],
  probabilities: ["Probabilities", "概率"],
  defaults: ["All as the model wants", "全部恢复默认"],
  auto: ["auto", "默认"],
  temperature: ["Temperature", "温度"],
  "temperature how": ["0 takes the likeliest token; more is bolder.", "0 总取最可能的词元；越大越多变。"],
  top_p: ["Top p", "Top p"],
  "top_p how": ["Draws among the likeliest tokens that sum to p.", "只在概率之和达到 p 的最可能词元中抽取。"],
  top_k: ["Top k", "Top k"],
  "top_k how": ["Draws among the k likeliest tokens.", "只在最可能的 k 个词元中抽取。"],
  min_p: ["Min p", "Min p"],
  "min_p how": ["Leaves out what is less likely than this share of the likeliest.", "排除概率低于最大概率这一比例的词元。"],
  repetition_penalty: ["Repetition penalty", "重复惩罚"],
  "repetition_penalty how": ["Above 1, what was said before becomes less likely.", "大于 1 时，已出现的词元更难再次出现。"],
  max_tokens: ["Longest answer", "最大长度"],
  "max_tokens how": ["In tokens; the answer may end earlier.", "以词元计；回答可能提前结束。"],
  seed: ["Seed", "随机种子"],
  "seed how": ["The same seed draws the same answer.", "种子相同，结果相同。"],
  "stop texts": ["Stop texts", "停止文本"],
  "stop texts how": ["One a line; the answer ends before the first of them. \\n is a new line.", "每行一个；回答在首个停止文本之前结束。\\n 表示换行。"],
  logprobs: ["Show how likely tokens were", "显示词元概率"],
  "logprobs how": ["Point at a word, tap it, or go through them with the arrow keys.", "指向或点按文字，或用方向键逐个查看。"],
  shade: ["Mark unlikely tokens", "标出不太可能的词元"],
  "shade how": ["The less likely, the stronger the mark.", "概率越低，标记越深。"],
  "out of range": ["{name}: a number from {low} to {high}", "{name}：应为 {low} 到 {high} 之间的数"],
  "too low": ["{name}: a number from {low}", "{name}：应为不小于 {low} 的数"],
  "not whole": ["{name}: a whole number", "{name}：应为整数"],
  waiting: ["Reading", "正在读取"],
  "ended length": ["cut at the longest length", "达到最大长度"],
  "ended stopped": ["stopped", "已停止"],
  "ended failed": ["broke off", "中断"],
  tokens: ["{n} tokens", "{n} 个词元"],
  speed: ["{n} tokens/s", "{n} 词元/秒"],
  nothing: ["(nothing: the model ended at once)", "（空：模型立即结束）"],
  finished: ["The answer is finished.", "回答完毕。"],
  "was stopped": ["Stopped.", "已停止。"],
  chosen: ["drawn", "抽中"],
  "fault unreachable": ["The server cannot be reached. Is it running?", "无法连接服务器。它在运行吗？"],
  "fault torn": ["The connection broke off before the answer was finished.", "回答尚未结束，连接中断。"],
  "fault key": ["The server does not take this key.", "服务器不接受此密钥。"],
  "fault no key": ["The server wants a key.", "服务器需要密钥。"],
  "fault busy": ["The server is busy. Try again in a moment.", "服务器繁忙，请稍后再试。"],
  "fault busy for": ["The server is busy. Try again in {seconds} s.", "服务器繁忙，请在 {seconds} 秒后再试。"],
  "fault long": [
    "This is longer than the model can read. Shorten it, or begin anew.",
    "内容超出了模型的读取长度。请缩短，或重新开始。",
  ],
  "fault refused": ["The server refused this.", "服务器拒绝了该请求。"],
  "fault server": ["Something went wrong in the server.", "服务器出错。"],
  "fault strange": ["The server answered in a way that this page does not understand.", "无法理解服务器的答复。"],
  "try again": ["Try again", "重试"],
  classify: ["labels", "分类"],
  tag: ["tags", "标注"],
  translate: ["translation", "翻译"],
  "no tags": ["nothing found", "未发现"],
};

export const language = () => document.documentElement.dataset.language;

/** The wording of that name in the present language, its {values} filled in. */
export function say(name, values = {}) {
  const pair = WORDS[name];
  const text = pair ? pair[language() === "zh" ? 1 : 0] : name;
  return text.replace(/\{(\w+)\}/g, (whole, key) => {
    const value = values[key];
    return typeof value === "number" ? number(value) : value ?? whole;
  });
}

/** A number as people write it in the present language. */
export function number(value, digits = 2) {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
}

/** A probability from 0 to 1 in percent. */
export function percent(value) {
  if (value > 0 && value < 0.0001) return "< 0.01%";
  const digits = value < 0.01 ? 2 : value < 0.9995 ? 1 : 0;
  return new Intl.NumberFormat(language(), { style: "percent", maximumFractionDigits: digits }).format(value);
}

/** Let an element show a wording, in whatever language. */
export function worded(element, name, values = {}) {
  element.dataset.say = name;
  element.dataset.values = JSON.stringify(values);
  element.textContent = say(name, values);
  return element;
}

/** Write all wordings of the page in a language, `en` or `zh`. */
export function speak(chosen) {
  const page = document.documentElement;
  page.dataset.language = chosen;
  page.lang = chosen === "zh" ? "zh-Hans" : "en";
  for (const one of document.querySelectorAll("[data-say]")) {
    one.textContent = say(one.dataset.say, JSON.parse(one.dataset.values || "{}"));
  }
  for (const one of document.querySelectorAll("[data-say-label]")) one.setAttribute("aria-label", say(one.dataset.sayLabel));
  for (const one of document.querySelectorAll("[data-say-placeholder]")) one.placeholder = say(one.dataset.sayPlaceholder);
  document.getElementById("language").lang = chosen === "zh" ? "en" : "zh-Hans";
}
